"""Waiting for a flow before people's eyes: redrawn on a terminal, a line per change elsewhere."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.utils import timezone
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from flowerapp import conf, dispatch, engine, queues
from flowerapp.management.cli.output import Output, flow_status, plain, seconds, status_text
from flowerapp.management.cli.tables import Row, flow_duration, rest, rows_of, shown, tasks_table
from flowerapp.models import Flow, Task, Worker
from flowerapp.states import OPEN, SATISFIED, Status

SHORTEST_PAUSE = 0.2
"""Seconds between two looks."""
LONGEST_PAUSE = 5.0
PATIENCE = 2.0
"""Seconds before missing workers are told."""
AROUND = 5
"""Lines of a live display beside its tasks."""


def wait(flow_id: str, out: Output, *, follow: bool, before: Sequence[Row] = ()) -> Flow:
    """Wait until the flow has ended or cannot go on without a person; with ``follow`` task by task.

    ``before`` are tasks whose state is known already. Ctrl-C raises KeyboardInterrupt; the flow goes on.
    """
    notices = _Notices(flow_id, out)
    with _view(out, follow=follow, before=before) as show:
        while True:
            begun = time.monotonic()
            flow = engine.get_flow(flow_id)
            show(flow)
            if flow.ended or flow.status is Status.SUSPEND:
                return flow
            notices.look()
            spent = time.monotonic() - begun
            time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, 4 * spent)))


@contextmanager
def _view(out: Output, *, follow: bool, before: Sequence[Row]) -> Iterator[Callable[[Flow], None]]:
    if not out.live:
        yield _TaskLines(out, before) if follow else _FlowLines(out)
        return
    picture = _tasks_picture if follow else _line_picture
    with Live(console=out.err, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield lambda flow: live.update(picture(flow, out), refresh=True)


def _tasks_picture(flow: Flow, out: Output) -> RenderableType:
    rows = rows_of(flow.pk)
    listed = shown(rows, max(3, out.err.height - AROUND))
    footer = Text(rest(rows, listed), style="dim")
    return Group(
        tasks_table(listed, out.err), *([footer] if footer else []), _summary(flow, out, _task_counts(flow.pk))
    )


def _line_picture(flow: Flow, out: Output) -> RenderableType:
    counts = _task_counts(flow.pk)
    running = Task.objects.filter(task_flow_id=flow.pk, exec_status=Status.RUNNING).order_by("task_exec_seq")
    names = ", ".join(f"{seq} {plain(program)}" for seq, program in running.values_list("task_exec_seq", "program")[:3])
    return _summary(flow, out, counts).append(f"  {names}" if names else "")


def _task_counts(flow_id: str) -> Counter[Status]:
    rows = Task.objects.filter(task_flow_id=flow_id).order_by().values("exec_status").annotate(count=Count("pk"))
    return Counter({Status(row["exec_status"]): row["count"] for row in rows})


def _summary(flow: Flow, out: Output, counts: Counter[Status]) -> Text:
    done = sum(counts[each] for each in SATISFIED)
    text = flow_status(flow, out.err)
    return text.append(
        f"  {done:,} of {sum(counts.values()):,} tasks done  {seconds(flow_duration(flow))}".rstrip(), style="default"
    )


class _FlowLines:
    """A line when the flow's state changes, and about every tenth of its tasks."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._last: tuple[Status, int] | None = None

    def __call__(self, flow: Flow) -> None:
        """Tell what changed."""
        counts = _task_counts(flow.pk)
        done = sum(counts[each] for each in SATISFIED)
        now = (flow.status, 10 * done // max(1, sum(counts.values())))
        if now != self._last:
            self._last = now
            self._out.err.print(_stamped(_summary(flow, self._out, counts)), soft_wrap=True)


class _TaskLines:
    """A line for each step whose state changed, and about every tenth of its children."""

    def __init__(self, out: Output, before: Sequence[Row]) -> None:
        self._out = out
        self._last = {row.task_exec_seq: _state(row) for row in before}
        self._state: Status | None = None

    def __call__(self, flow: Flow) -> None:
        """Tell what changed."""
        for row in rows_of(flow.pk):
            changed = _state(row) != self._last.get(row.task_exec_seq)
            if changed and (row.status is not Status.WAIT or row.due_ts is not None or row.children):
                self._print(self._line(row))
            self._last[row.task_exec_seq] = _state(row)
        if flow.status is not self._state:
            self._state = flow.status
            self._print(Text("flow ").append(flow_status(flow, self._out.err)))

    def _print(self, text: Text) -> None:
        self._out.err.print(_stamped(text), soft_wrap=True)

    def _line(self, row: Row) -> Text:
        text = Text(f"task {row.task_exec_seq} {plain(row.program)} ").append(
            status_text(row.status, self._out.err, row.note)
        )
        facts = [f"attempt {row.attempt}" if row.attempt > 1 else ""]
        if row.status not in {Status.WAIT, Status.RUNNING}:
            facts.append(seconds(row.duration))
        if row.status in OPEN and row.error:
            facts.append(plain(row.error).partition("\n")[0])
        return text.append("".join(f"  {fact}" for fact in facts if fact), style="default")


def _state(row: Row) -> tuple[int, int, int, int]:
    tenths = 1 + 10 * row.children_done // row.children if row.children else 0
    return row.exec_status, row.attempt, row.retries, tenths


def _stamped(text: Text) -> Text:
    return Text(timezone.localtime().strftime("%H:%M:%S") + "  ").append(text)


class _Notices:
    """Tells once that nobody works, and once for each queue that nobody serves."""

    def __init__(self, flow_id: str, out: Output) -> None:
        self._flow_id = flow_id
        self._out = out
        self._next = time.monotonic() + PATIENCE
        self._told: set[str] = set()

    def look(self) -> None:
        """Look every few seconds."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PATIENCE
        if not Worker.objects.living(conf.get().LEASE_SECONDS).exists():
            self._tell("", f"no worker is running; start one with: {worker_command()}")
            return
        for queue in queues.unserved(self._flow_id):
            self._tell(queue, unserved_sentence(queue))

    def _tell(self, key: str, sentence: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._out.note(sentence, style="yellow")


def worker_command() -> str:
    """How to start a worker of this project."""
    if not dispatch.connected():
        return "python manage.py standalone"
    module = os.environ.get("DJANGO_SETTINGS_MODULE") or getattr(settings, "SETTINGS_MODULE", "") or "project"
    return f"celery -A {module.partition('.')[0]} worker"


def unserved_sentence(queue: str) -> str:
    """What to do about a queue that nobody serves."""
    if not Worker.objects.living(conf.get().LEASE_SECONDS).exists():
        return f"tasks wait in queue {queue!r}, and no worker is running; start one with: {worker_command()}"
    return f"tasks wait in queue {queue!r}, which no worker serves; start one with: {worker_command()} -Q {queue}"


def close_interrupted() -> None:
    """Drop the database connection that Ctrl-C may have left in the middle of a statement."""
    connection.close()
