"""What each ``flow`` subcommand does about flows: one read or one engine call, and its result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from flowerapp import engine
from flowerapp.exceptions import InvalidError
from flowerapp.management.cli import arguments, detail, documents, follow, many, run_many, tables, task_detail
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output, flow_status, plain
from flowerapp.models import Flow, Task
from flowerapp.querysets.waiting import must_not_be_in_transaction
from flowerapp.selectors import counts, tasks
from flowerapp.selectors.flows import short_flows
from flowerapp.selectors.status_words import filter_of
from flowerapp.states import Status

Options = dict[str, Any]
DONE, ENDED_OTHERWISE = 0, 1
"""Exit codes."""
MOST_LISTED = 20
"""Flows in a list for which no number is wanted."""


def run(out: Output, options: Options) -> int:
    """Register a flow, and wait for it with --wait or --follow; or many with --many."""
    if options["workflow"] is None and options["text"] is None:
        raise InvalidError("give the name of a workflow, a file of the arrow language, or -e TEXT")
    if options["many"] is not None and options["text"] is None:
        run_many.run(out, options)
        return DONE
    _must_be_able_to_wait(options)
    flow = _registered(options)
    if not flow.created:
        out.note(_already_running(flow))
    out.line(Text(flow.pk))
    return _end(flow, out, options, created=flow.created)


def _registered(options: Options) -> Flow:
    """A flow of a workflow, or of a text."""
    if options["text"] is not None or options["workflow"].endswith(arguments.TEXT_SUFFIXES):
        from flowerapp.management.cli import texts  # its parsers take long to import

        return texts.register(options)
    return engine.register(
        options["workflow"],
        input=arguments.read_input(options["input"]),
        priority=options["priority"],
        entrance=arguments.step(options["entrance"]),
        parameters=arguments.steps(options["set"]),
        actor=arguments.actor(),
    )


def _already_running(flow: Flow) -> str:
    """Since when the open flow of a unique workflow runs or waits."""
    since = flow.started_ts or flow.registered_ts
    how = "running" if flow.started_ts else "registered and waiting for its first start"
    return f"already {how} since {tables.moment(since)}: flow {flow.pk} of workflow {flow.task_id!r}"


def rerun(out: Output, options: Options) -> int:
    """Put tasks back to Wait; wait for the flow with --wait or --follow."""
    verb = functools.partial(
        engine.rerun,
        from_seq=options["from"],
        all_tasks=options["all"],
        parameters=arguments.steps(options["set"]),
        refresh=options["refresh"],
        actor=arguments.actor(),
        why=options["why"],
    )
    if many.is_single(options["flows"]):
        return _rerun_one(verb, out, options)
    if options["wait"] or options["follow"]:
        raise InvalidError("--wait and --follow take one flow; see the others with `flow list` or `flow follow ID`")
    return many.apply(verb, options["flows"], out)


def _rerun_one(verb: Callable[[str], Flow], out: Output, options: Options) -> int:
    _must_be_able_to_wait(options)
    flow_id = _only(options["flows"])
    before = tables.rows_of(flow_id) if options["follow"] else []
    flow = verb(flow_id)
    out.line(Text(flow.pk))
    return _end(flow, out, options, before)


def follow_flow(out: Output, options: Options) -> int:
    """Show a flow until it ends or cannot continue without a person, task by task."""
    flow = arguments.find_flow(options["flow"])
    before = [row for row in tables.rows_of(flow.pk) if row.task.status not in {Status.RUNNING, Status.SUSPEND}]
    return _end(flow, out, options | {"wait": False, "follow": True}, before)


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
    if options["form"] == "ids":
        return _list_ids(selected, options["limit"] or many.MOST_IDS, out)
    listed = list(selected[: options["limit"] or MOST_LISTED])
    if out.as_json:
        out.document(documents.flow_documents(listed))
    else:
        out.result(tables.flows_view(listed, out.out))
    return DONE


def _list_ids(selected: Any, limit: int, out: Output) -> int:
    """One id a line, for a pipe; a note says so if there are more."""
    flow_ids = list(selected.values_list("pk", flat=True)[: limit + 1])
    out.raw("".join(f"{flow_id}\n" for flow_id in flow_ids[:limit]))
    if len(flow_ids) > limit:
        out.note(f"there are more than {limit:,} flows; --limit N lists more of them")
    return DONE


def show(out: Output, options: Options) -> int:
    """One flow."""
    flow = arguments.find_flow(options["flow"])
    if out.as_json:
        out.document(documents.whole_document(flow))
    else:
        detail.print_flow(flow, out, traceback=options["with_traceback"])
    return DONE


def show_task(out: Output, options: Options) -> int:
    """One task."""
    flow = arguments.find_flow(options["flow"])
    read = tasks.whole_task(flow.pk, options["seq"])
    if out.as_json:
        out.document(documents.whole_task_document(read))
    else:
        task_detail.print_task(flow, read, out, traceback=options["with_traceback"])
    return DONE


def _verb_on_flow(verb: Callable[..., Flow]) -> Callable[[Output, Options], int]:
    def call(out: Output, options: Options) -> int:
        return on_each(functools.partial(verb, actor=arguments.actor(), why=options["why"]), options["flows"], out)

    return call


def on_each(verb: Callable[[str], Flow], texts: Sequence[str], out: Output) -> int:
    """Call the verb on one flow and print its state, or on several and print a result for each."""
    if many.is_single(texts):
        return print_state(verb(_only(texts)), out)
    return many.apply(verb, texts, out)


def _only(texts: Sequence[str]) -> str:
    """The id of the one flow that is named."""
    return str(arguments.find_flow(texts[0]).pk)


def print_state(flow: Flow, out: Output) -> int:
    """Print a flow's id and state."""
    if out.as_json:
        out.document(documents.flow_document(flow))
        return DONE
    status = flow_status(flow, counts.of_flow(flow), out.out)
    out.result(Text(f"{flow.pk}  ", overflow="fold").append(status))
    return DONE


suspend = _verb_on_flow(engine.suspend)
resume = _verb_on_flow(engine.resume)
cancel = _verb_on_flow(engine.cancel)


def skip(out: Output, options: Options) -> int:
    """Skip a task, of each flow that is named."""

    def verb(flow_id: str) -> Flow:
        return engine.skip(flow_id, options["seq"], actor=arguments.actor(), why=options["why"])

    return on_each(verb, options["flows"], out)


def wake(out: Output, options: Options) -> int:
    """End the wait of a task, of each flow that is named."""
    output = arguments.read_input(options["output"], "--output")

    def verb(flow_id: str) -> Flow:
        return engine.wake(flow_id, options["seq"], output=output, actor=arguments.actor(), why=options["why"])

    return on_each(verb, options["flows"], out)


def change(out: Output, options: Options) -> int:
    """Change a task that is not running, of each flow that is named."""
    texts, seq, parameters = arguments.task_of_flows(options["words"])
    if not parameters and options["priority"] is None and options["queue"] is None:
        raise InvalidError("nothing to change; give KEY=VALUE, --priority or --queue")

    def verb(flow_id: str) -> Task:
        return engine.change(
            flow_id,
            seq,
            parameters=parameters or None,
            priority=options["priority"],
            queue=options["queue"],
            actor=arguments.actor(),
            why=options["why"],
        )

    if many.is_single(texts):
        return _print_changed(verb(_only(texts)), out)
    return many.apply(lambda flow_id: verb(flow_id).task_flow, texts, out)


def _print_changed(task: Task, out: Output) -> int:
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
