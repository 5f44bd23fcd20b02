"""Waiting for a flow in front of a user: redrawn on a terminal, a line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowerapp.management.cli.display import Drawable, Group, Text
from flowerapp.management.cli.output import Output, flow_status, plain
from flowerapp.management.cli.tables import Row, most_urgent, rest, rows_of, tasks_table
from flowerapp.models import Flow
from flowerapp.querysets import clock
from flowerapp.querysets.db import connection
from flowerapp.querysets.waiting import must_not_be_in_transaction
from flowerapp.selectors import counts, queues, tasks, times, workers
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import duration
from flowerapp.selectors.flows import get_flow
from flowerapp.states import OPEN, Status

SHORTEST_PAUSE = 0.2
"""Seconds between two looks."""
LONGEST_PAUSE = 5.0
NOTICE_SECONDS = 2.0
"""Seconds between two looks for missing workers."""
AROUND = 5
"""Lines of a live display beside its tasks."""


def wait(flow_id: str, out: Output, *, follow: bool, before: Sequence[Row] = ()) -> Flow:
    """Wait until the flow has ended or cannot continue without a person; with ``follow`` task by task.

    ``before`` are tasks whose present state needs no line. Ctrl-C raises KeyboardInterrupt; the flow continues.
    Raises WaitInTransactionError.
    """
    notices = _Notices(flow_id, out)
    with _view(out, follow=follow, before=before) as show:
        while True:
            begun = time.monotonic()
            flow = get_flow(flow_id)
            show(flow)
            if flow.ended or flow.status is Status.SUSPEND:
                return flow
            must_not_be_in_transaction(f"flow {flow_id}")
            notices.look()
            spent = time.monotonic() - begun
            time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, 4 * spent)))


@contextmanager
def _view(out: Output, *, follow: bool, before: Sequence[Row]) -> Iterator[Callable[[Flow], None]]:
    if not out.live:
        yield _TaskLines(out, before) if follow else _FlowLines(out)
        return
    from flowerapp.management.cli.terminal import redrawn

    view = tasks_view if follow else _line_view
    where: Any = out.err
    with redrawn(where) as draw:
        yield lambda flow: draw(view(flow, out))


def tasks_view(flow: Flow, out: Output) -> Drawable:
    """The steps that matter most now, and the state of the flow below."""
    rows = rows_of(flow.pk)
    listed = most_urgent(rows, max(3, out.err.height - AROUND))
    footer = Text(rest(rows, listed), style="dim")
    summary = _summary(flow, out, counts.of_flow(flow))
    return Group(tasks_table(listed, out.err), *([footer] if footer else []), summary)


def _line_view(flow: Flow, out: Output) -> Drawable:
    running = tasks.shown_tasks(flow.pk).filter(exec_status=Status.RUNNING).order_by("task_exec_seq")
    names = ", ".join(plain(task.title) for task in running.only(*tasks.ROW_COLUMNS)[:3])
    return _summary(flow, out, counts.of_flow(flow)).append(f"  {names}" if names else "")


def _summary(flow: Flow, out: Output, numbers: Counts) -> Text:
    text = flow_status(flow, numbers, out.err)
    return text.append(f"  {numbers.tasks_text}  {duration(flow)}".rstrip(), style="default")


class _FlowLines:
    """A line when the flow's state changes, and about every tenth of its tasks."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._last: tuple[Status, int] | None = None

    def __call__(self, flow: Flow) -> None:
        """Print what changed."""
        numbers = counts.of_flow(flow)
        now = (flow.status, 10 * numbers.done // max(1, numbers.total))
        if now != self._last:
            self._last = now
            self._out.err.print(_stamped(_summary(flow, self._out, numbers)), soft_wrap=True)


class _TaskLines:
    """A line for each step whose state changed, and about every tenth of its children."""

    def __init__(self, out: Output, before: Sequence[Row]) -> None:
        self._out = out
        self._last = {row.task.task_exec_seq: _state(row) for row in before}
        self._flow_status: Status | None = None

    def __call__(self, flow: Flow) -> None:
        """Print what changed."""
        for row in rows_of(flow.pk):
            task, state = row.task, _state(row)
            changed = state != self._last.get(task.task_exec_seq)
            if changed and (task.status is not Status.WAIT or task.due_ts is not None or task.children):
                self._print(self._line(row))
            self._last[task.task_exec_seq] = state
        if flow.status is not self._flow_status:
            self._flow_status = flow.status
            self._print(Text("flow ").append(flow_status(flow, counts.of_flow(flow), self._out.err)))

    def _print(self, text: Text) -> None:
        self._out.err.print(_stamped(text), soft_wrap=True)

    def _line(self, row: Row) -> Text:
        task = row.task
        facts = [
            f"attempt {task.attempt}" if task.attempt > 1 else "",
            "" if task.status in {Status.WAIT, Status.RUNNING} else tasks.duration_of(task),
            plain(task.error).partition("\n")[0] if task.status in OPEN else "",
        ]
        text = Text(f"{plain(task.mention)} ").append(row.status(self._out.err))
        return text.append("".join(f"  {fact}" for fact in facts if fact), style="default")


def _state(row: Row) -> tuple[int, int, int, int]:
    tenths = 1 + 10 * row.children.done // row.children.total if row.children else 0
    return row.task.exec_status, row.task.attempt, row.task.retries, tenths


def _stamped(text: Text) -> Text:
    return Text(f"{times.local(clock.about_now()):%H:%M:%S}" + "  ").append(text)


class _Notices:
    """Notes that no worker is running, or serves a queue, each printed once."""

    def __init__(self, flow_id: str, out: Output) -> None:
        self._flow_id = flow_id
        self._out = out
        self._next = time.monotonic() + NOTICE_SECONDS
        self._printed: set[str] = set()

    def look(self) -> None:
        """Look every few seconds."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + NOTICE_SECONDS
        if not workers.alive().exists():
            self._print("", f"no worker is running; start one with: {workers.start_command()}")
            return
        for queue in queues.unserved(self._flow_id):
            self._print(queue, unserved_sentence(queue))

    def _print(self, key: str, sentence: str) -> None:
        if key not in self._printed:
            self._printed.add(key)
            self._out.note(sentence, style="yellow")


def unserved_sentence(queue: str) -> str:
    """What to do about a queue that no worker serves."""
    if not workers.alive().exists():
        return f"tasks wait in queue {queue!r}, and no worker is running; start one with: {workers.start_command()}"
    return f"tasks wait in queue {queue!r}, which no worker serves; start one with: {workers.start_command(queue)}"


def close_interrupted() -> None:
    """Drop the database connection that Ctrl-C may have left in the middle of a statement."""
    connection().close()
