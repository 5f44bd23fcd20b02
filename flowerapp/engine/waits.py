"""Waits: steps that hold no worker, no connection and no message until their time, event, latch or person has come.

A wait is parked from the beginning, as a gate is. Propagation begins it here once what it depends on is satisfied. Its
row then has ``started_ts``, and ``due_ts`` if a time ends it; a row of ``kr_wait`` names the event or the latch. When
it ends, its input is its output, unless an event or a person gives another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowerapp import signals
from flowerapp.core import masking, waits
from flowerapp.core.gates import ACQUIRE, APPROVAL, COUNTDOWN, DELAY, EVENT, RELEASE
from flowerapp.engine import approvals, hooks, latches
from flowerapp.engine.masks import secrets_of
from flowerapp.exceptions import FlowerError
from flowerapp.models import Flow, HistoryEntry, Task, Wait
from flowerapp.querysets import Completion
from flowerapp.querysets.finish_many import Ended

NO_TIME = 0.0
"""Seconds of a wait that ends as it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """How a wait begins."""

    seconds: float | None = None
    """Until it ends or fails; None where no time ends it."""
    opened: str = ""
    """A latch that has come to zero by it."""
    looks_back: int | None = None
    """Key of its row in ``kr_wait``, for which earlier events are to be looked through."""


def begin(task: Task, value: Any) -> Completion | None:
    """Begin a wait that is ready, whose input is ``value``. In a transaction, with the row locked.

    None if it is not ready any more.
    """
    ends_surely = task.program in (ACQUIRE, RELEASE)
    if ends_surely:
        Task.objects.lock_dependents(task)
    try:
        beginning = BEGINNINGS[task.program](task, value)
    except FlowerError as error:
        return fail(task, str(error))
    if not Task.objects.begin_wait(task.ref, beginning.seconds):
        return None
    at_once = beginning.seconds is not None and beginning.seconds <= NO_TIME
    if at_once and not ends_surely:
        Task.objects.lock_dependents(task)
    _record_beginning(task)
    completion = finish({task.pk: None}).followed.get(task.task_flow_id) if at_once else None
    return replace(completion or Completion(), opened=beginning.opened, looks_back=beginning.looks_back)


def _record_beginning(task: Task) -> None:
    began = Flow.objects.begin_waiting([task.task_flow_id])
    if hooks.record(task.task_id, task.ref, [*(["start_flow"] if began else []), "task_start"]):
        hooks.deliver_on_commit(task.task_flow_id)


def _delay(task: Task, value: Any) -> Beginning:
    return Beginning(seconds=waits.delay_of(task.parameters, value))


def _event(task: Task, value: Any) -> Beginning:
    wanted = waits.event_wait(task.parameters, value)
    wait = Wait.objects.create(
        task_flow_id=task.task_flow_id,
        task_exec_seq=task.task_exec_seq,
        event=wanted.event,
        match=wanted.match,
        anchor=waits.anchor_of(wanted.match),
        receipt=wanted.receipt,
        since_ts=None if wanted.any_time else task.task_flow.registered_ts,
    )
    return Beginning(seconds=wanted.timeout, looks_back=wait.pk)


def _acquire(task: Task, value: Any) -> Beginning:
    opened = latches.acquire(waits.latch_name(task.parameters, value), task.ref)
    return Beginning(seconds=NO_TIME, opened=opened)


def _release(task: Task, value: Any) -> Beginning:
    opened = latches.release(waits.latch_name(task.parameters, value), task.ref)
    return Beginning(seconds=NO_TIME, opened=opened)


def _countdown(task: Task, value: Any) -> Beginning:
    name, timeout = waits.latch_name(task.parameters, value), waits.timeout_of(task.parameters, value)
    if not latches.is_held(name):
        return Beginning(seconds=NO_TIME)
    Wait.objects.create(task_flow_id=task.task_flow_id, task_exec_seq=task.task_exec_seq, latch=name, looked=True)
    return Beginning(seconds=timeout)


def _approval(task: Task, value: Any) -> Beginning:
    return Beginning(seconds=approvals.begin(task, task.parameters, value))


BEGINNINGS: dict[str, Callable[[Task, Any], Beginning]] = {
    DELAY: _delay,
    EVENT: _event,
    ACQUIRE: _acquire,
    RELEASE: _release,
    COUNTDOWN: _countdown,
    APPROVAL: _approval,
}
"""By program, what begins a step of it; raises FlowerError for parameters that are wrong."""


@dataclass(frozen=True, slots=True)
class EndedWaits:
    """Waits that ended in one transaction."""

    ended: Sequence[Ended]
    followed: Mapping[str, Completion]
    """By flow, what that led to."""


def finish(outputs: Mapping[int, Any], *, patient: bool = False) -> EndedWaits:
    """End waits that have begun; ``outputs`` has an output by the key of each, or None for its input.

    In a transaction. Those that have ended are left out, and those whose rows another process has locked, unless it is
    ``patient``. The caller gives what it returns to ``propagation.follow_waits``.
    """
    ended, followed = Task.objects.finish_waits(outputs, patient=patient)
    Wait.objects.forget([wait.ref for wait in ended if wait.program in (EVENT, COUNTDOWN)])
    for ref in [wait.ref for wait in ended if wait.program == APPROVAL]:
        approvals.close(ref.flow_id, [ref.seq])
    for wait in ended:
        all_over = ["all_over"] if followed[wait.ref.flow_id].ended and not wait.dependents else []
        if signals.has_listeners(wait.task_id, "task_over", "task_all_over", "all_over") and hooks.record(
            wait.task_id, wait.ref, ["task_over", "task_all_over", *all_over]
        ):
            hooks.deliver_on_commit(wait.ref.flow_id)
    return EndedWaits(ended, followed)


def fail(task: Task, error: str) -> Completion | None:
    """Suspend a wait with the reason. In a transaction, with the row locked; None if it has ended."""
    error = masking.masked(error, secrets_of(*task.ref))
    if not Task.objects.give_up(task.ref, error):
        return None
    Wait.objects.forget([task.ref])
    if task.program == APPROVAL:
        approvals.close(task.task_flow_id, [task.task_exec_seq])
    HistoryEntry.objects.record("fail", *task.ref, actor="engine", reason=error)
    if hooks.record(task.task_id, task.ref, ["task_failed"], error=error):
        hooks.deliver_on_commit(task.task_flow_id)
    Flow.objects.point_to_failure(*task.ref)
    return Completion(may_be_stuck=True)


def begin_delays(tasks: Sequence[tuple[int, str, Mapping[str, Any]]]) -> list[int]:
    """Begin delays that are ready and need no input to tell how long: the keys of those that end at once.

    Of each its key, flow and parameters. In a transaction.
    """
    alike: dict[float, list[int]] = {}
    for key, _, parameters in tasks:
        if (seconds := waits.constant_delay(parameters)) is not None:
            alike.setdefault(seconds, []).append(key)
    for seconds, keys in alike.items():
        Task.objects.begin_delays(keys, seconds)
    Flow.objects.begin_waiting(
        {flow_id for _, flow_id, parameters in tasks if waits.constant_delay(parameters) is not None}
    )
    return alike.get(NO_TIME, [])
