"""The graph of a flow for littleflow's routes: that of its text, or one made from its tasks."""

from __future__ import annotations

from typing import Any

from flowerapp.api.errors import RefusedError
from flowerapp.core import answers
from flowerapp.core.gates import GATES
from flowerapp.models import Flow
from flowerapp.selectors import arrow_flows
from flowerapp.selectors.shown import shown_value
from flowerapp.workflows import arrow

MOST_EDGES = 50_000
"""Most edges of a diagram, which would be larger than an answer with more."""
_COLUMNS = ("parameters", "merge", "when")


def compiled_form(flow: Flow) -> dict[str, Any]:
    """The compiled form, masked; raises InvalidError or RefusedError where it is too large."""
    form = arrow.compiled_form(graph_of(flow))
    form["T"] = shown_value(form["T"], flow)
    _check_size(flow, answers.size_of(form))
    return form


def diagram(flow: Flow, *, vertical: bool) -> str:
    """A diagram for Mermaid, masked; raises as ``compiled_form`` does."""
    graph = graph_of(flow)
    if len(graph.edges) > MOST_EDGES:
        raise RefusedError(f"flow {flow.pk} has {len(graph.edges):,} edges; a diagram has at most {MOST_EDGES:,}")
    beside = arrow.compiled_form(graph)["T"]
    text: str = shown_value([beside, arrow.diagram(graph, vertical=vertical)], flow)[1]
    _check_size(flow, len(text.encode()))
    return text


def _check_size(flow: Flow, size: int) -> None:
    if size > answers.MOST_BYTES:
        raise RefusedError(
            f"the graph of flow {flow.pk} is {size:,} bytes; an answer has at most {answers.MOST_BYTES:,}"
        )


def graph_of(flow: Flow) -> arrow.Graph:
    """The graph of a flow; raises InvalidError for one that is too large."""
    if flow.source:
        arrow_flows.nodes_of(flow)
        return arrow.graph_of_source(flow.source)
    _check_size(flow, arrow_flows.size_of_parameters(flow))
    return arrow.Graph(steps=tuple(map(_step, arrow_flows.nodes_of(flow, *_COLUMNS)[1:])))


def _step(node: arrow_flows.Node) -> arrow.Step:
    """A task as a step; the end of the flow has none."""
    depends_on = () if node.before == (arrow.FLOW_START,) else node.before
    task = node.task
    if task is None:
        return arrow.Step(index=node.index, kind=arrow.Kind.END, depends_on=depends_on)
    program = task.remote or task.program
    name = task.label or (f"step:{task.task_seq}" if program in GATES or not program else program)
    return arrow.Step(
        index=node.index,
        kind=arrow.Kind.TASK,
        name=name,
        base=program or name,
        parameters=task.parameters,
        merge=task.merge,
        guard=task.when,
        depends_on=depends_on,
    )
