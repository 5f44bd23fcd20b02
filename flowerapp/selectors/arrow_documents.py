"""The state and the trace of a flow as littleflow's clients read them, each no larger than an answer may be."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowerapp.core import answers
from flowerapp.models import Flow
from flowerapp.selectors import arrow_flows
from flowerapp.selectors.arrow_flows import ACCUMULATED_VECTOR, ACTIVE_VECTOR, Change, Node

VECTORS = (ACTIVE_VECTOR, ACCUMULATED_VECTOR)


def state(flow: Flow, nodes: list[Node]) -> dict[str, Any]:
    """State, vectors, failures if there are any, and outputs, the largest of them null where all do not fit."""
    document: dict[str, Any] = {
        "state": arrow_flows.state_of(flow).value,
        **{vector: arrow_flows.present(nodes, vector) for vector in VECTORS},
    }
    if any(failures := arrow_flows.failures(nodes)):
        document["failures"] = failures
    room = answers.MOST_BYTES - answers.size_of(document)
    return document | {"output": _fitted(arrow_flows.outputs_of(flow, nodes, room), room)}


def _fitted(outputs: list[Any], room: int) -> list[Any]:
    """The outputs, the largest of them null where all do not fit."""
    sizes = [answers.size_of(output) + 1 for output in outputs]
    total = sum(sizes)
    for index in sorted(range(len(outputs)), key=sizes.__getitem__, reverse=True):
        if total <= room:
            break
        outputs[index], total = None, total - sizes[index] + len("null,")
    return outputs


class Trace(NamedTuple):
    """The changes of a vector."""

    rows: list[list[Any]]
    """``[time, changes]``, the newest first, as far as they fit into an answer."""
    complete: bool
    """Whether these are all."""


def trace(nodes: list[Node], vector: str) -> Trace:
    """The changes of ``S`` or ``A``."""
    rows: list[list[Any]] = []
    room = answers.MOST_BYTES
    for row in map(_row, arrow_flows.changes(nodes, vector)):
        room -= answers.size_of(row) + 1
        if room < 0:
            return Trace(rows, complete=False)
        rows.append(row)
    return Trace(rows, complete=True)


def _row(change: Change) -> list[Any]:
    return [change.ts.isoformat().replace("+00:00", "Z"), change.deltas]
