"""What each ``flow`` subcommand does: one look or one engine call, and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.text import Text

from flowerapp import drawing, engine, graph, registry
from flowerapp.drawing import Node
from flowerapp.exceptions import InvalidError, UnknownWorkflowError
from flowerapp.management.cli import arguments, documents, follow, tables
from flowerapp.management.cli import show as showing
from flowerapp.management.cli.output import Output, flow_status, plain
from flowerapp.models import Flow, Pool, TaskDefinition, Workflow
from flowerapp.states import Status

Options = dict[str, Any]
DONE, ENDED_OTHERWISE, WRONG_USAGE = 0, 1, 2
"""Exit codes."""


def run(out: Output, options: Options) -> int:
    """Register a flow; wait for it if asked to."""
    flow = engine.register(
        options["workflow"],
        input=arguments.read_input(options["input"]),
        priority=options["priority"],
        entrance=arguments.step(options["entrance"]),
        parameters=arguments.steps(options["set"]),
        actor=arguments.actor(),
    )
    if not flow.created:
        out.note(_already(flow))
    out.line(Text(flow.pk))
    return _go_on(flow, out, options, created=flow.created)


def _already(flow: Flow) -> str:
    """Since when the flow of a unique workflow goes on."""
    since = flow.started_ts or flow.registered_ts
    how = "running" if flow.started_ts else "registered and waiting for its first start"
    return f"already {how} since {tables.moment(since)}: flow {flow.pk} of workflow {flow.task_id!r}"


def rerun(out: Output, options: Options) -> int:
    """Put tasks back to Wait; wait for the flow if asked to."""
    flow_id = arguments.find_flow(options["flow"]).pk
    before = tables.rows_of(flow_id) if options["follow"] else []
    flow = engine.rerun(
        flow_id,
        from_seq=options["from"],
        all_tasks=options["all"],
        parameters=arguments.steps(options["set"]),
        refresh=options["refresh"],
        actor=arguments.actor(),
        why=options["why"],
    )
    out.line(Text(flow.pk))
    return _go_on(flow, out, options, before)


def _go_on(flow: Flow, out: Output, options: Options, before: Sequence[tables.Row] = (), **facts: Any) -> int:
    """Wait if asked to, print the JSON document with ``facts`` beside it, and return the exit code."""
    code = DONE
    if options["wait"] or options["follow"]:
        try:
            flow = follow.wait(flow.pk, out, follow=options["follow"], before=before)
        except KeyboardInterrupt:
            follow.close_interrupted()
            out.note(f"detached: flow {flow.pk} goes on; see it with: {showing.COMMAND} show {flow.pk}")
        else:
            showing.tell_end(flow, out)
            code = DONE if flow.status is Status.FINISH else ENDED_OTHERWISE
    if out.as_json:
        waited = options["wait"] or options["follow"]
        document = documents.whole_document(flow) if waited else documents.flow_document(flow)
        out.document(document | facts)
    return code


def list_flows(out: Output, options: Options) -> int:
    """The newest flows."""
    flows = Flow.objects.order_by("-registered_ts", "-task_flow_id")
    if options["workflow"] is not None:
        flows = flows.filter(task_id=options["workflow"])
    if options["status"] is not None:
        flows = flows.filter(exec_status=arguments.status(options["status"]))
    found = list(flows[: options["limit"]])
    out.document([documents.flow_document(flow) for flow in found])
    if not out.as_json:
        out.result(tables.flows_view(found, out.out))
    return DONE


def show(out: Output, options: Options) -> int:
    """One flow."""
    flow = arguments.find_flow(options["flow"])
    if out.as_json:
        out.document(documents.whole_document(flow))
    else:
        showing.show(flow, out, traceback=options["with_traceback"])
    return DONE


def draw(out: Output, options: Options) -> int:
    """The graph of a flow or a workflow."""
    nodes, edges, title = _graph(options["name"])
    try:
        text = _drawing(options["format"], nodes, edges, title, out)
    except graph.CycleError as error:
        raise InvalidError(f"{title}: steps depend on each other in a circle: {error}") from None
    out.raw(text)
    return DONE


def _drawing(form: str, nodes: list[Node], edges: graph.Edges, title: str, out: Output) -> str:
    if form == "json":
        out.as_json = True
        out.document(drawing.as_json(nodes, edges))
        return ""
    if form == "svg":
        return drawing.svg(nodes, edges, title)
    return drawing.mermaid(nodes, edges) if form == "mermaid" else drawing.ascii(nodes, edges, unicode=out.unicode)


def _graph(name: str) -> tuple[list[Node], dict[int, list[int]], str]:
    """Nodes, edges and title: of the flow of that id, the workflow of that name, or the flow whose id begins so."""
    flow = Flow.objects.filter(pk=name).first()
    plan = None if flow else TaskDefinition.objects.plan(name)
    if plan is not None:
        steps = [Node(seq=node.seq, label=node.program) for node in plan.nodes]
        return steps, {node.seq: list(node.depends_on) for node in plan.nodes}, f"Workflow {name}"
    if flow is None and not arguments.matching(name):
        raise UnknownWorkflowError(f"there is no workflow and no flow {name!r}; see `flow workflows` and `flow list`")
    flow = flow or arguments.find_flow(name)
    rows = flow.tasks.filter(parent_seq=None).order_by("task_exec_seq").values_list(*drawing.STEP_COLUMNS)
    return *drawing.of_steps(rows), f"Flow {flow.pk} of workflow {flow.task_id}"


def programs(out: Output, options: Options) -> int:
    """All programs."""
    known = registry.programs()
    if out.as_json:
        out.document([documents.program_document(each) for each in known])
    else:
        out.result(tables.programs_view(known))
    return DONE


def pools(out: Output, options: Options) -> int:
    """All pools."""
    found = [documents.pool_document(pool) for pool in Pool.objects.order_by("name")]
    out.document(found)
    listing = tables.table("Pool", "Slots", "Held", "Waiting", "Description", right=("Slots", "Held", "Waiting"))
    for each in found:
        numbers = (f"{each[name]:,}" for name in ("slots", "held", "waiting"))
        listing.add_row(plain(each["name"]), *numbers, plain(each["description"]).partition("\n")[0])
    out.result(listing if found else "no pools")
    return DONE


def workflows(out: Output, options: Options) -> int:
    """All workflows."""
    described = dict(Workflow.objects.values_list("task_id", "description"))
    found = [
        {"task_id": each["task_id"], "description": described.get(each["task_id"], ""), "steps": each["steps"]}
        for each in TaskDefinition.objects.workflows()
    ]
    out.document(found)
    listing = tables.table("Workflow", "Steps", "Description", right=("Steps",))
    for each in found:
        listing.add_row(plain(each["task_id"]), str(each["steps"]), plain(each["description"]).partition("\n")[0])
    out.result(listing if found else "no workflows")
    return DONE


def _of_flow(verb: Callable[..., Flow]) -> Callable[[Output, Options], int]:
    def call(out: Output, options: Options) -> int:
        flow_id = arguments.find_flow(options["flow"]).pk
        return _told(verb(flow_id, actor=arguments.actor(), why=options["why"]), out)

    return call


def _told(flow: Flow, out: Output) -> int:
    out.document(documents.flow_document(flow) if out.as_json else None)
    out.result(Text(f"{flow.pk}  ", overflow="fold").append(flow_status(flow, out.out)))
    return DONE


suspend = _of_flow(engine.suspend)
resume = _of_flow(engine.resume)
cancel = _of_flow(engine.cancel)


def skip(out: Output, options: Options) -> int:
    """Pass a task over."""
    flow_id = arguments.find_flow(options["flow"]).pk
    return _told(engine.skip(flow_id, options["seq"], actor=arguments.actor(), why=options["why"]), out)


def change(out: Output, options: Options) -> int:
    """Change a task that is not running."""
    parameters = arguments.pairs(options["pairs"])
    if not parameters and options["priority"] is None and options["queue"] is None:
        raise InvalidError("nothing to change; give KEY=VALUE, --priority or --queue")
    task = engine.change(
        arguments.find_flow(options["flow"]).pk,
        options["seq"],
        parameters=parameters or None,
        priority=options["priority"],
        queue=options["queue"],
        actor=arguments.actor(),
        why=options["why"],
    )
    (document,) = documents.task_documents([task])
    out.document(document)
    shown = {
        "parameters": showing.short_json(document["parameters"]),
        "priority": str(task.task_priority),
        "queue": task.queue,
    }
    out.result(Text(f"Task {task.task_exec_seq} {plain(task.program)}", style="bold"))
    out.result(tables.pairs_view({f"  {name}": value for name, value in shown.items()}))
    return DONE


VERBS: dict[str, Callable[[Output, Options], int]] = {
    "run": run,
    "list": list_flows,
    "show": show,
    "graph": draw,
    "workflows": workflows,
    "pools": pools,
    "programs": programs,
    "suspend": suspend,
    "resume": resume,
    "cancel": cancel,
    "skip": skip,
    "set": change,
    "rerun": rerun,
}
