"""``flow graph``: the graph of a workflow or a flow."""

from __future__ import annotations

from typing import Any

from flowerapp import drawing
from flowerapp.core.graph import CycleError
from flowerapp.drawing import Node
from flowerapp.exceptions import InvalidError, UnknownTaskError, UnknownWorkflowError
from flowerapp.management.cli import arguments
from flowerapp.management.cli.output import Output
from flowerapp.models import TaskDefinition
from flowerapp.selectors import graphs
from flowerapp.selectors.flow_ids import id_of
from flowerapp.selectors.flows import shown_flows

Options = dict[str, Any]
DONE = 0


def draw(out: Output, options: Options) -> int:
    """The graph of a flow or a workflow."""
    picture, title = _graph(options["name"], options["around"])
    try:
        text = _drawing(options["format"], picture, title, out)
    except CycleError as error:
        raise InvalidError(f"{title}: steps depend on each other in a cycle: {error}") from None
    out.raw(text)
    return DONE


_Graph = tuple[list[Node], dict[int, list[int]], drawing.View]


def _drawing(form: str, picture: _Graph, title: str, out: Output) -> str:
    nodes, edges, view = picture
    if form == "json":
        out.as_json = True
        out.document(drawing.as_json(nodes, edges, view))
        return ""
    if form == "svg":
        return drawing.svg(nodes, edges, title, view)
    if form == "mermaid":
        return drawing.mermaid(nodes, edges, view)
    return drawing.ascii(nodes, edges, unicode=out.unicode, view=view)


def _graph(name: str, around: int | None) -> tuple[_Graph, str]:
    """Graph and title: of a file, the flow of that id, the workflow of that name, or the flow whose id begins so."""
    if name.endswith(arguments.TEXT_SUFFIXES):
        from flowerapp.management.cli import texts

        return (*texts.drawn(name), drawing.View(around=around)), name
    flow_id = id_of(name)
    flow = shown_flows().filter(pk=flow_id).first()
    plan = None if flow else TaskDefinition.objects.plan(name)
    if plan is not None:
        if around is not None and around not in plan.edges:
            raise UnknownTaskError(f"workflow {name!r} has no step {around}")
        steps = [Node(seq=node.seq, label=node.program, name=node.name) for node in plan.nodes]
        edges = {node.seq: list(node.depends_on) for node in plan.nodes}
        return (steps, edges, drawing.View(around=around)), f"Workflow {name}"
    if flow is None and not arguments.matching(flow_id):
        raise UnknownWorkflowError(f"there is no workflow and no flow {name!r}; see `flow workflows` and `flow list`")
    flow = flow or arguments.find_flow(name)
    read, view = graphs.graph_of(flow.pk, around)
    return (*drawing.of_steps(read), view), f"Flow {flow.pk} of workflow {flow.task_id}"
