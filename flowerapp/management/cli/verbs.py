"""What each ``flow`` subcommand does: one read or one engine call, and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowerapp import drawing, engine, registry
from flowerapp.core.graph import CycleError
from flowerapp.drawing import Node
from flowerapp.exceptions import InvalidError, UnknownTaskError, UnknownWorkflowError
from flowerapp.management.cli import arguments, detail, documents, follow, logs, run_many, tables, tokens
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output, flow_status, plain
from flowerapp.models import Flow, TaskDefinition
from flowerapp.querysets.waiting import must_not_be_in_transaction
from flowerapp.selectors import counts, graphs
from flowerapp.selectors import pools as pool_reads
from flowerapp.selectors import programs as program_reads
from flowerapp.selectors.flows import short_flows, shown_flows
from flowerapp.selectors.status_words import filter_of
from flowerapp.selectors.workflows import with_descriptions
from flowerapp.states import Status

Options = dict[str, Any]
DONE, ENDED_OTHERWISE, WRONG_USAGE = 0, 1, 2
"""Exit codes."""


def run(out: Output, options: Options) -> int:
    """Register a flow, and wait for it with --wait or --follow; or many with --many."""
    if options["many"] is not None:
        run_many.run(out, options)
        return DONE
    _must_be_able_to_wait(options)
    flow = engine.register(
        options["workflow"],
        input=arguments.read_input(options["input"]),
        priority=options["priority"],
        entrance=arguments.step(options["entrance"]),
        parameters=arguments.steps(options["set"]),
        actor=arguments.actor(),
    )
    if not flow.created:
        out.note(_already_running(flow))
    out.line(Text(flow.pk))
    return _end(flow, out, options, created=flow.created)


def _already_running(flow: Flow) -> str:
    """Since when the open flow of a unique workflow runs or waits."""
    since = flow.started_ts or flow.registered_ts
    how = "running" if flow.started_ts else "registered and waiting for its first start"
    return f"already {how} since {tables.moment(since)}: flow {flow.pk} of workflow {flow.task_id!r}"


def rerun(out: Output, options: Options) -> int:
    """Put tasks back to Wait; wait for the flow with --wait or --follow."""
    _must_be_able_to_wait(options)
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
    return _end(flow, out, options, before)


def _must_be_able_to_wait(options: Options) -> None:
    """Raise WaitInTransactionError before anything is written, if the command is to wait and cannot."""
    if options["wait"] or options["follow"]:
        must_not_be_in_transaction("the flow")


def _end(flow: Flow, out: Output, options: Options, before: Sequence[tables.Row] = (), **facts: Any) -> int:
    """Wait if wanted, print the JSON document with ``facts`` beside it, and return the exit code."""
    code = DONE
    if options["wait"] or options["follow"]:
        try:
            flow = follow.wait(flow.pk, out, follow=options["follow"], before=before)
        except KeyboardInterrupt:
            follow.close_interrupted()
            out.note(f"detached: flow {flow.pk} continues; see it with: {detail.COMMAND} show {flow.pk}")
        else:
            detail.print_end(flow, out)
            code = DONE if flow.status is Status.FINISH else ENDED_OTHERWISE
    if out.as_json:
        waited = options["wait"] or options["follow"]
        document = documents.whole_document(flow) if waited else documents.flow_document(flow)
        out.document(document | facts)
    return code


def list_flows(out: Output, options: Options) -> int:
    """The newest flows."""
    selected = short_flows("input").order_by("-registered_ts", "-task_flow_id")
    if options["workflow"] is not None:
        selected = selected.filter(task_id=options["workflow"])
    if options["status"] is not None:
        selected = selected.filter(filter_of(options["status"]))
    listed = list(selected[: options["limit"]])
    out.document(documents.flow_documents(listed) if out.as_json else None)
    if not out.as_json:
        out.result(tables.flows_view(listed, out.out))
    return DONE


def show(out: Output, options: Options) -> int:
    """One flow."""
    flow = arguments.find_flow(options["flow"])
    if out.as_json:
        out.document(documents.whole_document(flow))
    else:
        detail.print_flow(flow, out, traceback=options["with_traceback"])
    return DONE


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
    """Graph and title: of the flow of that id, the workflow of that name, or the flow whose id begins so."""
    flow = shown_flows().filter(pk=name).first()
    plan = None if flow else TaskDefinition.objects.plan(name)
    if plan is not None:
        if around is not None and around not in plan.edges:
            raise UnknownTaskError(f"workflow {name!r} has no step {around}")
        steps = [Node(seq=node.seq, label=node.program, name=node.name) for node in plan.nodes]
        edges = {node.seq: list(node.depends_on) for node in plan.nodes}
        return (steps, edges, drawing.View(around=around)), f"Workflow {name}"
    if flow is None and not arguments.matching(name):
        raise UnknownWorkflowError(f"there is no workflow and no flow {name!r}; see `flow workflows` and `flow list`")
    flow = flow or arguments.find_flow(name)
    read, view = graphs.graph_of(flow.pk, around)
    return (*drawing.of_steps(read), view), f"Flow {flow.pk} of workflow {flow.task_id}"


def programs(out: Output, options: Options) -> int:
    """All programs."""
    registered = registry.programs()
    if out.as_json:
        out.document([program_reads.document(program) for program in registered])
    else:
        out.result(tables.programs_view(registered))
    return DONE


def pools(out: Output, options: Options) -> int:
    """All pools."""
    listed = [documents.pool_document(pool) for pool in pool_reads.with_use()]
    out.document(listed)
    listing = tables.table("Pool", "Slots", "Held", "Waiting", "Description", right=("Slots", "Held", "Waiting"))
    for pool in listed:
        numbers = (f"{pool[name]:,}" for name in ("slots", "held", "waiting"))
        listing.add_row(plain(pool["name"]), *numbers, plain(pool["description"]).partition("\n")[0])
    out.result(listing if listed else "no pools")
    return DONE


def workflows(out: Output, options: Options) -> int:
    """All workflows."""
    listed = with_descriptions(TaskDefinition.objects.workflows())
    out.document(listed)
    listing = tables.table("Workflow", "Steps", "Description", right=("Steps",))
    for row in listed:
        listing.add_row(plain(row["task_id"]), str(row["steps"]), plain(row["description"]).partition("\n")[0])
    out.result(listing if listed else "no workflows")
    return DONE


def _verb_on_flow(verb: Callable[..., Flow]) -> Callable[[Output, Options], int]:
    def call(out: Output, options: Options) -> int:
        flow_id = arguments.find_flow(options["flow"]).pk
        return _print_state(verb(flow_id, actor=arguments.actor(), why=options["why"]), out)

    return call


def _print_state(flow: Flow, out: Output) -> int:
    if out.as_json:
        out.document(documents.flow_document(flow))
        return DONE
    status = flow_status(flow, counts.of_flow(flow.pk), out.out)
    out.result(Text(f"{flow.pk}  ", overflow="fold").append(status))
    return DONE


suspend = _verb_on_flow(engine.suspend)
resume = _verb_on_flow(engine.resume)
cancel = _verb_on_flow(engine.cancel)


def skip(out: Output, options: Options) -> int:
    """Skip a task."""
    flow_id = arguments.find_flow(options["flow"]).pk
    return _print_state(engine.skip(flow_id, options["seq"], actor=arguments.actor(), why=options["why"]), out)


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
        "parameters": detail.short_json(document["parameters"]),
        "priority": str(task.task_priority),
        "queue": task.queue,
    }
    out.result(Text(f"Task {plain(task.title)}", style="bold"))
    out.result(tables.pairs_view({f"  {name}": value for name, value in shown.items()}))
    return DONE


VERBS: dict[str, Callable[[Output, Options], int]] = {
    "run": run,
    "list": list_flows,
    "show": show,
    "logs": logs.logs,
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
    "token": tokens.token,
}
