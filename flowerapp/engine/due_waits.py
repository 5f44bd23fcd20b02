"""Waits that no process has ended in time: those that are due, and those that a process that died has left."""

from __future__ import annotations

from flowerapp.core import values
from flowerapp.core.gates import APPROVAL, COUNTDOWN, EVENT
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import checked_why
from flowerapp.engine import decisions, latches, propagation, waits
from flowerapp.engine.dispatching import send
from flowerapp.exceptions import StateConflictError, UnknownLatchError
from flowerapp.models import Event, Flow, HistoryEntry, Latch, LatchHold, Task, Wait
from flowerapp.querysets import Completion
from flowerapp.querysets.db import atomic, each_isolated, retry_on_disconnect
from flowerapp.querysets.finish_many import MOST_AT_ONCE
from flowerapp.selectors.durations import spelled

MOST = 5_000
"""Waits that one run of the duty ends."""
LEFT = 2.0
"""Seconds after which a row of ``kr_wait`` counts as left behind by its process."""
EXPIRING = frozenset({EVENT, COUNTDOWN, APPROVAL})
"""Programs of waits whose time is a time-out, as nothing else has come."""


def end_due() -> int:
    """End the waits whose time has come; their number.

    Those for an event or a latch fail then, and an approval takes its default.
    """
    count = 0
    while count < MOST:
        due = Task.objects.due_waits().values_list("pk", "program", "task_flow_id", "task_exec_seq", "task_id")
        page = list(due[:MOST_AT_ONCE])
        ended = propagation.end_waits({pk: None for pk, program, *_ in page if program not in EXPIRING})
        ended += each_isolated(
            [row for row in page if row[1] in EXPIRING], lambda row: expire(TaskRef(*row[2:4]), row[4])
        )
        count += ended
        if len(page) < MOST_AT_ONCE or not ended:
            break
    return count


def expire(ref: TaskRef, task_id: str) -> int:
    """End a wait whose time-out has passed, which most do by failing; 1 if it has not ended otherwise."""
    completion = _expire(ref)
    if completion is None:
        return 0
    send(propagation.propagate(ref.flow_id, task_id, completion))
    return 1


@retry_on_disconnect()
@atomic()
def _expire(ref: TaskRef) -> Completion | None:
    task = Task.objects.due_waits().at(ref).select_for_update(of=("self",)).defer("output", "traceback").first()
    if task is None:
        return None
    return decisions.expire(task) if task.program == APPROVAL else waits.fail(task, _missed(task))


def _missed(task: Task) -> str:
    wait = Wait.objects.filter(task_flow_id=task.task_flow_id, task_exec_seq=task.task_exec_seq).first()
    seconds = (task.due_ts - task.started_ts).total_seconds() if task.due_ts and task.started_ts else 0.0
    what = (
        "its end" if wait is None else f"event {wait.event!r}" if wait.event else f"latch {wait.latch!r} to be at zero"
    )
    return f"waited {spelled(seconds)} for {what}, its timeout; it did not come"


def take_up_left() -> int:
    """Do what processes that died have left: look back for new waits, and end those whose latch came to zero."""
    rows = list(Wait.objects.left_behind(LEFT)[:MOST_AT_ONCE])
    opened = {row.latch for row in rows if row.latch}
    count = each_isolated([row.pk for row in rows if row.event], propagation.look_back)
    return count + each_isolated(sorted(opened), propagation.end_countdowns)


def give_back_held() -> int:
    """Take away what flows still hold that were cancelled or deleted; the number of latches that came to zero."""
    holds = list(LatchHold.objects.of_ended().order_by("id")[:MOST_AT_ONCE])
    return give_back_of({hold.task_flow_id for hold in holds}) if holds else 0


def give_back_of(flow_ids: set[str]) -> int:
    """Take away what these flows hold, and end what waits for that; the number of latches that came to zero."""
    opened = _give_back(sorted(flow_ids))
    for latch in opened:
        propagation.end_countdowns(latch)
    return len(opened)


@retry_on_disconnect()
@atomic()
def _give_back(flow_ids: list[str]) -> list[str]:
    return latches.give_back([hold for flow_id in flow_ids for hold in latches.holds_of(flow_id)])


def release_latch(name: str, *, flow_id: str | None = None, actor: str = "", why: str = "") -> int:
    """Take away all counts of a latch, or those of one flow, and end what waits for it if it is at zero; their number.

    The histories of the flows that held it say so. Raises UnknownLatchError for one that is not held, and
    StateConflictError if the flow does not hold it.
    """
    reason = checked_why(why)
    with atomic():
        if not values.storable(name) or Latch.objects.lock(name) is None:
            raise UnknownLatchError(f"there is no latch {name[:256]!r}; one exists while it is held")
        holds = list(LatchHold.objects.of_latch(name, flow_id))
        if flow_id is not None and not holds:
            raise StateConflictError(f"flow {flow_id[:256]} does not hold latch {name!r}")
        opened = latches.give_back(holds)
        for hold in holds:
            _record_release(hold, actor, reason)
    for latch in opened:
        propagation.end_countdowns(latch)
    return len(holds)


def _record_release(hold: LatchHold, actor: str, reason: str) -> None:
    """In the history of the flow that held it, if that is still there."""
    if Flow.objects.filter(pk=hold.task_flow_id).exists():
        ref, details = (hold.task_flow_id, hold.task_exec_seq), {"latch": hold.latch_id}
        HistoryEntry.objects.record("release", *ref, actor=actor, reason=reason, details=details)


def prune_events(days: float, limit: int) -> int:
    """Delete events that came over ``days`` ago; at most ``limit``. Their number."""
    old = list(Event.objects.older(days).values_list("pk", flat=True)[:limit])
    return Event.objects.filter(pk__in=old).delete()[0] if old else 0
