"""``flow inspect``: a flow as littleflow's vectors show it, with a number for each node of its graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowerapp.management.cli import arguments
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output
from flowerapp.selectors import arrow_documents, arrow_flows
from flowerapp.selectors.arrow_documents import Trace
from flowerapp.selectors.arrow_flows import ACCUMULATED_VECTOR, ACTIVE_VECTOR

Options = dict[str, Any]
DONE = 0


def inspect(out: Output, options: Options) -> int:
    """The state and the vectors of a flow, with --all also their changes; raises InvalidValueError for a large one."""
    flow = arguments.find_flow(options["flow"])
    nodes = arrow_flows.nodes_of(flow)
    document = arrow_documents.state(flow, nodes)
    traces: dict[str, Trace] = {}
    if options["all"]:
        traces = {vector: arrow_documents.trace(nodes, vector) for vector in arrow_documents.VECTORS}
        document["trace"] = {vector: trace.rows for vector, trace in traces.items()}
    out.document(document)
    out.line(Text(document["state"]))
    for vector in (ACCUMULATED_VECTOR, ACTIVE_VECTOR):
        _print(vector, document[vector], traces.get(vector), out)
    return DONE


def _print(vector: str, present: list[int], trace: Trace | None, out: Output) -> None:
    """The changes of a vector, the oldest first, then the vector as it is now."""
    for time, deltas in reversed(trace.rows if trace else []):
        out.line(Text(f"{vector} {_numbers(deltas)} {time}"))
    if trace and not trace.complete:
        out.note(f"older changes of {vector} are left out, because all together would be too large")
    out.line(Text(f"{vector} {_numbers(present)}"))


def _numbers(numbers: Iterable[int]) -> str:
    return f"[{' '.join(f'{number:2}' for number in numbers)}]"
