"""One flow for people: what failed and what to type next, then everything else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flowerapp.management.cli.display import Text
from flowerapp.management.cli.follow import unserved_sentence
from flowerapp.management.cli.output import Output, flow_status, plain
from flowerapp.management.cli.tables import Row, moment, most_urgent, pairs_view, rest, rows_of, table, tasks_table
from flowerapp.models import Flow, Task
from flowerapp.selectors import approvals, counts, flows, history, task_logs
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import duration
from flowerapp.selectors.naming import child_label
from flowerapp.selectors.next_steps import NextStep, next_steps
from flowerapp.selectors.shown import shown
from flowerapp.selectors.status_style import HELD, flow_style
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status

COMMAND = "python manage.py flow"
MOST_TASKS = 200
"""Tasks that are listed; JSON has more of them."""
MOST_LINES = 50
"""Lines of history and of log that are listed, the newest."""
MOST_FAILED = 5
"""Failed tasks that are shown one by one."""


def print_flow(flow: Flow, out: Output, *, traceback: bool) -> None:
    """Print a flow: the failed tasks first, then tasks, history and log."""
    flow, numbers = shown(flow), counts.of_flow(flow)
    status = flow_status(flow, numbers, out.out)
    out.result(Text.assemble((f"Flow {flow.pk}", "bold"), f"  workflow {plain(flow.task_id)}  ", status))
    out.result(pairs_view(_facts(flow, numbers)))
    failed = failed_tasks(flow)
    for task in [*failed, *flows.tolerated_failures(flow.pk)[:MOST_FAILED]]:
        _print_failure(task, out, traceback=traceback)
    for line in [*command_lines(flow, failed), *_approval_lines(flow)]:
        out.line(Text(f"  {line}"))
    for queue in flows.unserved_queues(flow):
        out.line(Text(f"! {unserved_sentence(queue)}", style="bold yellow"))
    _print_tasks(flow, out)
    print_history(out, task_flow=flow)
    _print_logs(flow, out)


def _print_tasks(flow: Flow, out: Output) -> None:
    rows = rows_of(flow.pk)
    listed = most_urgent(rows, MOST_TASKS)
    _heading(out, "Tasks")
    out.result(tasks_table(listed, out.out, _waits(listed)))
    if left := rest(rows, listed):
        out.result(Text(left, style="dim"))


def _waits(rows: Sequence[Row]) -> dict[int, str]:
    """Why steps wait, by seq."""
    reasons = wait_reasons([row.task for row in rows])
    return {row.task.task_exec_seq: reasons[row.task.pk] for row in rows if row.task.pk in reasons}


def _facts(flow: Flow, numbers: Counts) -> dict[str, Any]:
    by = f" by {flow.registered_by}" if flow.registered_by else ""
    return {
        "tasks": numbers.text,
        "registered": f"{moment(flow.registered_ts)}{by}",
        "started": moment(flow.started_ts),
        "ended": moment(flow.finished_ts),
        "stopped": moment(flow.suspended_ts) if flow.status is Status.SUSPEND else "",
        "duration": duration(flow),
        "priority": str(flow.task_priority) if flow.task_priority else "",
        "input": short_json(flow.input) if flow.input != {} else "",
    }


def short_json(value: Any, most: int = 400) -> str:
    """JSON text, cut after ``most`` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[:most] + "…"


def failed_tasks(flow: Flow) -> list[Task]:
    """The failed tasks, the one that failed first in front; a few at most."""
    return flows.first_in_front(flow, flows.failures(flow)[:MOST_FAILED])


def _print_failure(task: Task, out: Output, *, traceback: bool) -> None:
    out.result("")
    out.result(failure_text(task))
    out.result(pairs_view({"  parameters": short_json(task.parameters) if task.parameters else ""}))
    if traceback and task.traceback:
        out.result(Text(plain(task.traceback).rstrip(), style="dim"))


def failure_text(task: Task) -> Text:
    """Which task failed, and its error."""
    attempts = f" at attempt {task.attempt}" if task.attempt > 1 else ""
    child = f" ({child_label(task)})" if task.parent_seq is not None else ""
    tolerated = "" if task.failed else ", tolerated"
    title = f"Task {plain(task.title)}{plain(child)} failed{attempts}{tolerated}"
    text = Text(title, style="bold red")
    return text.append(f"\n  {plain(task.error).strip()}".replace("\n", "\n  "), style="not bold red")


def command_lines(flow: Flow, failed: Sequence[Task]) -> list[str]:
    """What may be typed now to continue a flow that is held or has failed, each with its purpose."""
    return [f"{COMMAND} {_command(flow, step)}    # {plain(step.purpose)}" for step in next_steps(flow, failed)]


def _approval_lines(flow: Flow) -> list[str]:
    """What may be typed to decide what the flow asks, with the title of each question."""
    asked = [] if flow.ended else approvals.open_of_flow(flow.pk)[:MOST_FAILED]
    decide = "approve {} {}    # or reject: {}"
    return [f"{COMMAND} {decide.format(flow.pk, approval.task_exec_seq, plain(approval.title))}" for approval in asked]


def _command(flow: Flow, step: NextStep) -> str:
    seq = step.task.task_exec_seq if step.task else None
    commands = {
        "resume": f"resume {flow.pk}",
        "rerun": f"rerun {flow.pk}",
        "change": f"rerun {flow.pk} --set {seq}.{plain(step.parameter)}=…",
        "skip": f"skip {flow.pk} {seq}",
        "traceback": f"show {flow.pk} --traceback",
    }
    return commands[step.verb]


def _heading(out: Output, text: str) -> None:
    out.result(Text(f"\n{text}", style="bold"))


def print_history(out: Output, **of: Any) -> None:
    """Print the latest history entries; ``of`` names flow and task."""
    entries = history.latest_entries(MOST_LINES, **of)
    if not entries:
        return
    _heading(out, "History")
    listing = table("When", "Task", "What", "Attempt", "Worker", "Who", "Why", right=("Attempt",))
    titles = history.task_titles(entry for entry, _ in entries)
    for entry, worker in reversed(entries):
        attempt = "" if entry.attempt is None else str(entry.attempt)
        what = (
            moment(entry.ts),
            plain(titles[entry.task_exec_seq]),
            entry.verb,
            attempt,
            plain(worker),
            plain(entry.actor),
        )
        listing.add_row(*what, plain(entry.reason).partition("\n")[0])
    out.result(listing)


def _print_logs(flow: Flow, out: Output) -> None:
    lines = task_logs.latest(MOST_LINES, task_logs.lines(flow.pk))
    if not lines:
        return
    _heading(out, "Log")
    for line in lines:
        out.line(Text(task_logs.text_of(line)))


def print_end(flow: Flow, out: Output) -> None:
    """On stderr: how the flow ended, with what result, or which task failed, and what to type next."""
    if flow.status is Status.FINISH:
        _print_results(flow, out)
        return
    if flow.status is Status.IGNORE:
        out.note(f"flow {flow.pk} was cancelled")
        return
    failed = failed_tasks(flow)
    for task in failed:
        out.err.print(failure_text(task))
    out.note(f"flow {flow.pk} {'is held by a user' if flow_style(flow) is HELD else 'has failed'}; next:")
    for line in command_lines(flow, failed):
        out.note(f"  {line}")


def _print_results(flow: Flow, out: Output) -> None:
    """The flow's output and the state that its programs shared; JSON has them anyway."""
    if out.as_json:
        return
    out.note(f"output  {flows.output_text(flow, short_json)}")
    if flow.state != {}:
        out.note(f"state   {short_json(shown(flow).state)}")
