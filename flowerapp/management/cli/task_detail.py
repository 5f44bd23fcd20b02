"""One task for people: its error and what to type next, then everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowerapp.engine import context
from flowerapp.management.cli import detail
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.follow import unserved_sentence
from flowerapp.management.cli.output import Output, plain, status_text
from flowerapp.management.cli.tables import moment, pairs_view
from flowerapp.models import Flow, Task
from flowerapp.selectors import counts, flows, naming, queues, tasks, workers
from flowerapp.selectors.next_steps import task_verbs
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status

MOST_CHARACTERS = 2000
"""Of a JSON value that is printed; ``--json`` has it whole."""
MOST_CHILDREN = 5
"""Failed children that are shown one by one."""
MOST_NAMED = 20
"""Tasks before it that are named."""


def print_task(flow: Flow, task: Task, out: Output, *, traceback: bool) -> None:
    """Print a task: what failed first, then its times, values, children and history."""
    children = counts.of_children(flow.pk, [task.task_exec_seq] if task.children else []).get(task.task_exec_seq)
    note = children.children_text if children else tasks.note(task)
    status = status_text(tasks.style_of(task), out.out, note)
    title = f"Task {task.task_exec_seq} {plain(tasks.program_text(task))}"
    out.result(Text.assemble((title, "bold"), f"  flow {flow.pk}  workflow {plain(flow.task_id)}  ", status))
    _print_error(task, out, traceback=traceback)
    out.result(pairs_view(_facts(task)))
    out.result(pairs_view(_values(task)))
    for child in _failed_children(task):
        out.result(detail.failure_text(child))
    for line in _next_lines(flow, task):
        out.line(Text(f"  {line}"))
    _print_unserved(flow, task, out)
    detail.print_history(out, task_flow_id=flow.pk, task_exec_seq=task.task_exec_seq)


def _print_error(task: Task, out: Output, *, traceback: bool) -> None:
    if task.error:
        style = "red" if task.failed else ""
        out.result(Text(f"  {plain(task.error).strip()}".replace("\n", "\n  "), style=style))
    if traceback and task.traceback:
        out.result(Text(plain(task.traceback).rstrip(), style="dim"))


def _facts(task: Task) -> dict[str, Any]:
    before = task.depends_on[:MOST_NAMED]
    named = naming.titles(task.task_flow_id, [*before, task.parent_seq])
    return {
        "waits": wait_reasons([task]).get(task.pk, ""),
        "step": task.name or (str(task.task_seq) if task.task_seq != task.task_exec_seq else ""),
        "child of": _child_of(task, named),
        "depends on": ", ".join([*(plain(named[seq]) for seq in before), *_rest(task.depends_on)]),
        "attempts": f"{task.attempt} (retries {task.retries}, lost workers {task.rescues}, run {task.run})",
        "worker": workers.name_and_process(task),
        "queue": tasks.queue_of(task) if task.program else "",
        "pool": task.pool,
        "condition": task.when,
        "cache": tasks.cache_text(task),
        "output from": tasks.source_text(task),
        "priority": str(task.task_priority) if task.task_priority else "",
        "registered": moment(task.registered_ts),
        tasks.due_name(task).lower(): moment(task.due_ts),
        "started": moment(task.started_ts),
        "suspended": moment(task.suspended_ts) if task.failed else "",
        "ended": moment(task.finished_ts),
        "duration": tasks.duration_of(task),
    }


def _rest(depends_on: Sequence[int]) -> list[str]:
    left = len(depends_on) - MOST_NAMED
    return [f"and {left:,} more"] if left > 0 else []


def _child_of(task: Task, named: Mapping[int | None, str]) -> str:
    if task.parent_seq is None:
        return ""
    return f"task {plain(named[task.parent_seq])}, id {detail.short_json(task.child_id, 40)}"


def _values(task: Task) -> dict[str, str]:
    """Parameters, input and output as JSON, each cut after ``MOST_CHARACTERS``."""
    task_input = context.shown_input(task)
    text = (
        detail.short_json(task_input.value, MOST_CHARACTERS)
        if task_input.is_known
        else "not known before its tasks ended"
    )
    return {
        "parameters": detail.short_json(task.parameters, MOST_CHARACTERS) if task.parameters else "",
        "input": f"{task_input.size:,} bytes, too large to be shown" if task_input.size else text,
        "output": "" if task.output is None else detail.short_json(task.output, MOST_CHARACTERS),
    }


def _failed_children(task: Task) -> list[Task]:
    """The first failed children, those that the task tolerates among them."""
    if not task.children:
        return []
    return list(flows.failed_children(task)[:MOST_CHILDREN])


def _next_lines(flow: Flow, task: Task) -> list[str]:
    """What may be typed now to continue with this task, each with its purpose."""
    lines = detail.command_lines(flow, [task] if task.failed else [])
    if "wake" in task_verbs(task):
        lines.append(f"{detail.COMMAND} wake {flow.pk} {task.task_exec_seq}    # end its wait now")
    if task.status is not Status.WAIT and "rerun-from" in task_verbs(task):
        rerun = f"{detail.COMMAND} rerun {flow.pk} --from {task.task_exec_seq}"
        lines.append(f"{rerun}    # start it and all that follows it again")
    return lines


def _print_unserved(flow: Flow, task: Task, out: Output) -> None:
    """The command that serves the task's queue, if the task is ready and no worker serves it."""
    ready = task.status is Status.WAIT and not task.pending
    if ready and tasks.queue_of(task) in queues.unserved(flow.pk):
        out.line(Text(f"! {plain(unserved_sentence(tasks.queue_of(task)))}", style="bold yellow"))
