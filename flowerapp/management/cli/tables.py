"""What the CLI shows to people: flows, tasks, programs, history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from flowerapp.drawing import children_done
from flowerapp.management.cli.children import failed_counts, told
from flowerapp.management.cli.documents import parameters_of
from flowerapp.management.cli.output import flow_status, plain, seconds, status_text
from flowerapp.models import Flow, Task
from flowerapp.registry import Program
from flowerapp.states import SATISFIED, Status

NARROW = 100
"""Columns below which a list of flows takes two lines for each."""
_ROW_COLUMNS = (
    "task_exec_seq",
    "program",
    "exec_status",
    "attempt",
    "retries",
    "started_ts",
    "finished_ts",
    "suspended_ts",
    "due_ts",
    "error",
    "progress",
    "children",
    "pending",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is shown of a step in a table."""

    task_exec_seq: int
    program: str
    exec_status: int
    attempt: int
    retries: int
    started_ts: datetime | None
    finished_ts: datetime | None
    suspended_ts: datetime | None
    due_ts: datetime | None
    error: str
    progress: Any
    children: int
    pending: int
    failed_children: int

    @property
    def status(self) -> Status:
        """The state as a ``Status``."""
        return Status(self.exec_status)

    @property
    def children_done(self) -> int:
        """How many of its children have ended."""
        return children_done(self.status, self.children, self.pending)

    @property
    def duration(self) -> float | None:
        """Seconds of the last attempt; None if it was not started."""
        return lasted(
            self.started_ts, self.finished_ts or (self.suspended_ts if self.status is Status.SUSPEND else None)
        )

    @property
    def note(self) -> str:
        """What the state alone does not say."""
        if self.children:
            return told(self.children_done, self.children, self.failed_children)
        if self.status is Status.WAIT and self.due_ts is not None:
            left = (self.due_ts - timezone.now()).total_seconds()
            return (
                f"retry {self.retries} in {seconds(max(0.0, left))}"
                if self.retries
                else f"in {seconds(max(0.0, left))}"
            )
        if self.status is Status.RUNNING and isinstance(self.progress, dict):
            return f"{self.progress.get('done')} of {self.progress.get('total')}"
        return ""


def rows_of(flow_id: str) -> list[Row]:
    """The steps of a flow in order of seq."""
    steps = Task.objects.filter(task_flow_id=flow_id, parent_seq=None).order_by("task_exec_seq")
    found = list(steps.values(*_ROW_COLUMNS))
    failed = failed_counts(flow_id) if any(step["children"] for step in found) else {}
    return [Row(**step, failed_children=failed.get(step["task_exec_seq"], 0)) for step in found]


def lasted(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds between two times, up to now without an end; None without a start."""
    return None if start is None else max(0.0, ((end or timezone.now()) - start).total_seconds())


def moment(when: datetime | None) -> str:
    """A time of the project's time zone."""
    return "" if when is None else timezone.localtime(when).strftime("%Y-%m-%d %H:%M:%S")


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table in the CLI's looks."""
    result = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in columns:
        result.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return result


def tasks_table(rows: Iterable[Row], console: Console, waits: Mapping[int, str] | None = None) -> Table:
    """Tasks with state, duration and attempts, and by seq why they wait where there is something to tell."""
    result = table("Task", "Program", "Status", "Duration", "Attempt", right=("Task", "Duration", "Attempt"))
    if waits:
        result.add_column("Waits", overflow="fold")
    for row in rows:
        duration = seconds(row.duration) if row.status is not Status.WAIT else ""
        state = status_text(row.status, console, row.note)
        why = [plain(waits.get(row.task_exec_seq, ""))] if waits else []
        result.add_row(str(row.task_exec_seq), plain(row.program), state, duration, str(row.attempt or ""), *why)
    return result


def shown(rows: Sequence[Row], most: int) -> list[Row]:
    """At most ``most`` of the tasks: failed, running, then what ended last and what comes next, in order of seq."""
    if len(rows) <= most:
        return list(rows)
    ranks = {Status.SUSPEND: 0, Status.RUNNING: 1, Status.WAIT: 2, Status.FINISH: 3, Status.IGNORE: 4}

    def urgency(row: Row) -> tuple[int, int]:
        ended = row.status in SATISFIED
        return ranks[row.status], -row.task_exec_seq if ended else row.task_exec_seq

    return sorted(sorted(rows, key=urgency)[: max(1, most)], key=lambda row: row.task_exec_seq)


def rest(rows: Sequence[Row], listed: Sequence[Row]) -> str:
    """``… 480 more tasks: 470 Wait, 10 Finish``; empty if none is left out."""
    if len(listed) == len(rows):
        return ""
    counts = Counter(row.status for row in rows)
    counts.subtract(row.status for row in listed)
    states = ", ".join(f"{count:,} {status.label}" for status, count in sorted(counts.items()) if count)
    return f"… {len(rows) - len(listed):,} more tasks: {states}"


def flows_view(flows: Sequence[Flow], console: Console) -> RenderableType:
    """A list of flows; on a narrow terminal two lines for each."""
    if not flows:
        return Text("no flows")
    done = _done([flow.pk for flow in flows])
    if console.width < NARROW:
        return Group(*(_flow_lines(flow, done.get(flow.pk, ""), console) for flow in flows))
    result = table("Flow", "Workflow", "Status", "Tasks", "Registered", "Duration", right=("Tasks", "Duration"))
    result.columns[0].no_wrap = True
    for flow in flows:
        result.add_row(
            flow.pk,
            plain(flow.task_id),
            flow_status(flow, console),
            done.get(flow.pk, ""),
            moment(flow.registered_ts),
            seconds(flow_duration(flow)),
        )
    return result


def flow_duration(flow: Flow) -> float | None:
    """Seconds from the flow's first start to its end, to its suspension, or until now."""
    return lasted(flow.started_ts, flow.finished_ts or (flow.suspended_ts if flow.status is Status.SUSPEND else None))


def _flow_lines(flow: Flow, done: str, console: Console) -> Text:
    state = flow_status(flow, console)
    parts = (f"  {plain(flow.task_id)}", f"{done} tasks", moment(flow.registered_ts), seconds(flow_duration(flow)))
    return Text(flow.pk, overflow="fold").append("\n  ").append(state).append("  ".join(filter(None, parts)))


def _done(flow_ids: Sequence[str]) -> dict[str, str]:
    """``2/3`` for each flow: tasks that are satisfied, and all."""
    counts = (
        Task.objects.filter(task_flow_id__in=flow_ids)
        .order_by()
        .values("task_flow_id")
        .annotate(total=Count("pk"), done=Count("pk", filter=Q(exec_status__in=SATISFIED)))
    )
    return {each["task_flow_id"]: f"{each['done']}/{each['total']}" for each in counts}


def programs_view(programs: Iterable[Program]) -> RenderableType:
    """Programs, each with its parameters and retry policy."""
    return Group(*(_program_lines(program) for program in programs))


def _program_lines(program: Program) -> Text:
    text = Text(plain(program.name), style="bold")
    if program.description:
        text.append(f"\n    {plain(program.description)}", style="not bold")
    for each in parameters_of(program):
        default = "needed" if each["required"] else f"{json.dumps(each['default'], ensure_ascii=False)} by default"
        text.append(f"\n    {plain(each['name'])}: {each['type']}, {default}", style="not bold")
    text.append(f"\n    {retry_sentence(program)}\n", style="dim not bold")
    return text


def retry_sentence(program: Program) -> str:
    """A program's retry policy for people."""
    if not program.autoretry_for:
        return "no retries"
    errors = ", ".join(each.__name__ for each in program.autoretry_for)
    times = "retried without end" if program.max_retries is None else f"up to {program.max_retries} retries"
    if program.retry_backoff:
        first, longest = max(1, int(program.retry_backoff)), program.retry_backoff_max
        delay = f"after {first} s, twice as long each time, {longest:g} s at most"
    else:
        delay = f"after {program.default_retry_delay:g} s"
    return f"{times} on {errors}, {delay}"


def pairs_view(pairs: Mapping[str, RenderableType | str | None]) -> Table:
    """Names and values in two columns; empty values are left out."""
    result = Table.grid(padding=(0, 2))
    result.add_column(style="dim", no_wrap=True)
    result.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, ""):
            result.add_row(name, plain(value) if isinstance(value, str) else value)
    return result
