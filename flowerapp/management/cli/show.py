"""One flow for people: what failed and what to type next, then everything else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from flowerapp import engine, queues, values
from flowerapp.management.cli.children import passed_over
from flowerapp.management.cli.documents import output_of
from flowerapp.management.cli.follow import unserved_sentence
from flowerapp.management.cli.output import Output, flow_status, plain, seconds
from flowerapp.management.cli.tables import (
    Row,
    flow_duration,
    moment,
    pairs_view,
    rest,
    rows_of,
    shown,
    table,
    tasks_table,
)
from flowerapp.models import Event, Flow, Log, Task, Worker
from flowerapp.states import Status

COMMAND = "python manage.py flow"
MOST_TASKS = 200
"""Tasks that are listed; JSON has them all."""
MOST_LINES = 50
"""Lines of history and of log that are listed, the newest."""
MOST_FAILED = 5
"""Failed tasks that are told one by one."""


def show(flow: Flow, out: Output, *, traceback: bool) -> None:
    """Print a flow: the failed tasks first, then tasks, history and log."""
    out.result(
        Text.assemble((f"Flow {flow.pk}", "bold"), f"  workflow {plain(flow.task_id)}  ", flow_status(flow, out.out))
    )
    out.result(pairs_view(_facts(flow)))
    for task in [*failed_tasks(flow), *passed_over(flow.pk)[:MOST_FAILED]]:
        _show_failure(task, out, traceback=traceback)
    for line in next_steps(flow):
        out.line(Text(f"  {line}"))
    for queue in queues.unserved(flow.pk):
        out.line(Text(f"! {unserved_sentence(queue)}", style="bold yellow"))
    rows = rows_of(flow.pk)
    listed = shown(rows, MOST_TASKS)
    _heading(out, "Tasks")
    out.result(tasks_table(listed, out.out, _waits(flow, listed)))
    if left := rest(rows, listed):
        out.result(Text(left, style="dim"))
    _show_history(flow, out)
    _show_logs(flow, out)


def _waits(flow: Flow, rows: Sequence[Row]) -> dict[int, str]:
    """Why steps wait, by seq."""
    waiting = [row.task_exec_seq for row in rows if row.status is Status.WAIT]
    tasks = list(flow.tasks.filter(task_exec_seq__in=waiting).defer("parameters", "output", "traceback"))
    reasons = engine.why_wait(tasks)
    return {task.task_exec_seq: reasons[task.pk] for task in tasks if task.pk in reasons}


def _facts(flow: Flow) -> dict[str, Any]:
    by = f" by {flow.registered_by}" if flow.registered_by else ""
    return {
        "registered": f"{moment(flow.registered_ts)}{by}",
        "started": moment(flow.started_ts),
        "ended": moment(flow.finished_ts),
        "suspended": moment(flow.suspended_ts) if flow.status is Status.SUSPEND else "",
        "duration": seconds(flow_duration(flow)),
        "priority": str(flow.task_priority) if flow.task_priority else "",
        "input": short_json(values.masked(flow.input)) if flow.input != {} else "",
    }


def short_json(value: Any, most: int = 400) -> str:
    """JSON text, cut after ``most`` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[:most] + "…"


def failed_tasks(flow: Flow) -> list[Task]:
    """The failed tasks, the one that failed first in front; a few at most."""
    failed = Task.objects.filter(task_flow=flow, exec_status=Status.SUSPEND)
    found = failed.order_by("suspended_ts", "task_exec_seq")[:MOST_FAILED]
    return sorted(found, key=lambda task: task.task_exec_seq != flow.failed_seq)


def _show_failure(task: Task, out: Output, *, traceback: bool) -> None:
    out.result("")
    out.result(failure_text(task))
    out.result(pairs_view({"  parameters": short_json(values.masked(task.parameters)) if task.parameters else ""}))
    if traceback and task.traceback:
        out.result(Text(plain(task.traceback).rstrip(), style="dim"))


def failure_text(task: Task) -> Text:
    """Which task failed, and its error."""
    attempts = f" at attempt {task.attempt}" if task.attempt > 1 else ""
    child = "" if task.parent_seq is None else f" (child {short_json(task.child_id, 40)} of task {task.parent_seq})"
    over = "" if task.failed else " and was passed over"
    title = f"Task {task.task_exec_seq} {plain(task.program)}{plain(child)} failed{attempts}{over}"
    text = Text(title, style="bold red")
    return text.append(f"\n  {plain(task.error).strip()}".replace("\n", "\n  "), style="not bold red")


def next_steps(flow: Flow) -> list[str]:
    """What may be typed now to get a suspended flow going, with what it does."""
    steps = []
    if flow.held:
        steps.append((f"{COMMAND} resume {flow.pk}", "let it go on"))
    if failed := failed_tasks(flow):
        seq = failed[0].task_exec_seq
        key = next(iter(failed[0].parameters), None) if isinstance(failed[0].parameters, dict) else None
        steps.append((f"{COMMAND} rerun {flow.pk}", "start what failed again"))
        if key is not None:
            steps.append((f"{COMMAND} rerun {flow.pk} --set {seq}.{plain(key)}=…", "with a parameter mended"))
        steps.append((f"{COMMAND} skip {flow.pk} {seq}", "pass it over"))
        steps.append((f"{COMMAND} show {flow.pk} --traceback", "see where it failed"))
    return [f"{command}    # {what}" for command, what in steps]


def _heading(out: Output, text: str) -> None:
    out.result(Text(f"\n{text}", style="bold"))


def _show_history(flow: Flow, out: Output) -> None:
    events = list(Event.objects.filter(task_flow=flow).order_by("-id")[:MOST_LINES])
    if not events:
        return
    _heading(out, "History")
    workers = Worker.objects.names(event.worker for event in events)
    listing = table("When", "Task", "What", "Attempt", "Worker", "Who", "Why", right=("Task", "Attempt"))
    for event in reversed(events):
        seq = "" if event.task_exec_seq is None else str(event.task_exec_seq)
        attempt = "" if event.attempt is None else str(event.attempt)
        what = (moment(event.ts), seq, event.verb, attempt, plain(workers.get(event.worker, "")), plain(event.actor))
        listing.add_row(*what, plain(event.reason).partition("\n")[0])
    out.result(listing)


def _show_logs(flow: Flow, out: Output) -> None:
    lines = list(Log.objects.filter(task_flow=flow).order_by("-id")[:MOST_LINES])
    if not lines:
        return
    _heading(out, "Log")
    for line in reversed(lines):
        out.result(Text(f"{moment(line.ts)}  task {line.task_exec_seq}  {plain(line.message)}"))


def tell_end(flow: Flow, out: Output) -> None:
    """On stderr: how the flow ended, with what result, or which task failed, and what to type next."""
    if flow.status is Status.FINISH:
        _tell_results(flow, out)
        return
    if flow.status is Status.IGNORE:
        out.note(f"flow {flow.pk} was cancelled")
        return
    for task in failed_tasks(flow):
        out.err.print(failure_text(task))
    out.note(f"flow {flow.pk} is suspended" + ("" if flow.failed_seq is not None else " by a person") + "; next:")
    for line in next_steps(flow):
        out.note(f"  {line}")


def _tell_results(flow: Flow, out: Output) -> None:
    """The flow's output and the state that its programs shared; JSON has them anyway."""
    if out.as_json:
        return
    out.note(f"output  {short_json(output_of(flow))}")
    if flow.state != {}:
        out.note(f"state   {short_json(values.masked(flow.state))}")
