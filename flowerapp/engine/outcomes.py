"""What became of an attempt: success, children, a retry, a failure, a time-out, a lost process."""

from __future__ import annotations

import logging
import os
import traceback as tracebacks
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import transaction

from flowerapp import conf, identity, registry, signals, values
from flowerapp.dispatch import Message
from flowerapp.engine import children, hooks
from flowerapp.engine.admission import admit
from flowerapp.engine.children import Child
from flowerapp.engine.links import follow_up
from flowerapp.engine.sending import hand_over
from flowerapp.exceptions import FlowerError, ParkTask, RetryTask, TimeLimitError
from flowerapp.models import Event, Flow, Task
from flowerapp.querysets import Claim, Finished
from flowerapp.querysets.statements import CLAIMED, claim_of
from flowerapp.querysets.steady import steady
from flowerapp.states import Status

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds to go on trying to claim a task or to record an outcome while the database is away; after that the message
is given up for lost, or the task left to rescue."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message's task."""

    finished: bool
    """The task is satisfied, so what the message carries may go on."""
    released: tuple[Message, ...] = ()
    """Tasks that became ready and are to be sent."""


REFUSED = Outcome(finished=False)


class Continuation(Protocol):
    """What goes on, in this process, with one task after another."""

    def wants(self, claim: Claim) -> Sequence[str]:
        """Programs of which it would go on with a task of this one's queue and priority, and without a time limit."""

    def takes(self, before: Claim, claim: Claim) -> None:
        """It is claimed, and to be performed or given back; called at once, for nobody else knows of it."""


class _Nobody:
    def wants(self, claim: Claim) -> Sequence[str]:
        return ()

    def takes(self, before: Claim, claim: Claim) -> None:
        raise NotImplementedError


NOBODY: Continuation = _Nobody()
"""Each task by a message."""
LONGEST_DELAY = 10 * 365 * 86_400.0
"""Seconds; a program that asks for a longer delay, or to be parked for longer, gets this one."""


def finished(claim: Claim, output: str, continuation: Continuation = NOBODY) -> Outcome:
    """Record a success; a late one is refused."""
    place = claim.flow_id, claim.seq
    done = steady(lambda: _finish(claim, output, continuation), PATIENCE)
    if done is not None:
        return _after(claim, done)
    if Task.objects.one(*place).filter(exec_status=Status.FINISH, attempt=claim.attempt).exists():
        # An earlier try was committed, and the connection broke before it could say so.
        following = steady(lambda: Task.objects.claimed_by(*place, identity.worker(), os.getpid()))
        if following is not None:
            continuation.takes(claim, following)
        return Outcome(finished=True, released=_let_go_by(*place))
    logger.warning("late outcome of flow %s task %s attempt %s refused", *place, claim.attempt)
    return REFUSED


def _let_go_by(flow_id: str, seq: int) -> tuple[Message, ...]:
    """Messages for what the finish of a task let go and nobody has begun, as they may not have been sent."""
    let_go = (Task.objects.released_by(flow_id, seq), Task.objects.taken_on_by(flow_id, seq))
    return tuple({message.head.seq: message for tasks in let_go for message in tasks.messages(alone=True)}.values())


def _finish(claim: Claim, output: str, continuation: Continuation) -> Finished | None:
    """In one statement where nobody is told of it; who is told may take long, and keep the next from its start."""
    given = (claim.flow_id, claim.seq, claim.attempt, output)
    child = claim.parent_seq is not None
    if not hooks.heard(claim.task_id, "task_over", "task_all_over", "all_over"):
        programs = () if child or signals.wanted("task_start") else continuation.wants(claim)
        done = Task.objects.finish(*given, child=child, worker=identity.worker(), pid=os.getpid(), programs=programs)
        if done is not None and done.claimed is not None:
            continuation.takes(claim, done.claimed)
        return done
    with transaction.atomic():
        done = Task.objects.finish(*given, child=child)
        if done is not None:
            names = ["task_over", *([] if child else ["task_all_over"]), *(["all_over"] if done.ended else [])]
            hooks.record(claim.task_id, claim.flow_id, claim.seq, names, attempt=claim.attempt)
        return done


def _after(claim: Claim, done: Finished) -> Outcome:
    """What follows a success; its slot goes to the next."""
    released = steady(lambda: follow_up(claim.flow_id, claim.task_id, done))
    if claim.pool:
        steady(lambda: admit({claim.pool}))
    return Outcome(finished=True, released=released)


def _unfinished(claim: Claim, led_to: Finished) -> Outcome:
    """What follows an attempt that ended otherwise; the next that was left over to it comes in its place."""
    released = _after(claim, led_to).released
    following = steady(lambda: Task.objects.take_next(claim.flow_id, claim.seq))
    return Outcome(finished=False, released=(*released, *following))


def added_children(claim: Claim, added: Sequence[Child]) -> Outcome:
    """The program has added children: they come first."""

    def record() -> Finished | None:
        with transaction.atomic():
            led_to = children.add(claim, added)
            if led_to is not None:
                hooks.record(claim.task_id, claim.flow_id, claim.seq, ["task_over"], attempt=claim.attempt)
            return led_to

    try:
        led_to = steady(record, PATIENCE)
    except FlowerError as error:
        return went_wrong(claim, error, PATIENCE)
    if led_to is None:
        logger.warning("late children of flow %s task %s attempt %s refused", claim.flow_id, claim.seq, claim.attempt)
        return REFUSED
    outcome = _unfinished(claim, led_to)
    hand_over(claim.flow_id)
    return outcome


def failed(claim: Claim, error: BaseException, patience: float = PATIENCE) -> Outcome:
    """Record that an attempt ended by an error: a retry if the program's policy has one left, else a failure.

    ``patience`` is the seconds to go on trying while the database is away. For processes that do not run programs.
    """
    outcome = went_wrong(claim, error, patience)
    if hooks.heard(claim.task_id, "task_exit", "task_timeout", "task_failed"):
        hooks.have_told(claim.flow_id)
    return outcome


def went_wrong(claim: Claim, error: BaseException, patience: float = PATIENCE) -> Outcome:
    """The same for the process that ran the program, which tells by itself."""
    if isinstance(error, ParkTask):
        return _parked(claim, error)
    text = values.text("".join(tracebacks.format_exception(error)))
    delay = _retry_delay(claim, error)
    moved = steady(lambda: _record_error(claim, error, text, delay), patience)
    if not moved:
        logger.warning("late error of flow %s task %s attempt %s refused", claim.flow_id, claim.seq, claim.attempt)
        return REFUSED
    return _unfinished(claim, moved)


def _parked(claim: Claim, wish: ParkTask) -> Outcome:
    """Let an attempt wait without holding a worker."""
    place = claim.flow_id, claim.seq
    seconds = None if wish.seconds is None else _bounded(wish.seconds)

    def record() -> None:
        with transaction.atomic():
            if Task.objects.park(*place, claim.attempt, seconds):
                Event.objects.record(
                    "park",
                    *place,
                    attempt=claim.attempt,
                    worker=identity.worker(),
                    actor="program",
                    reason=str(wish),
                    details={"seconds": seconds},
                )

    steady(record, PATIENCE)
    return _unfinished(claim, Finished())


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST_DELAY)


def _record_error(claim: Claim, error: BaseException, text: str, delay: float | None) -> Finished | None:
    """Record an attempt's error, and what that led to; None if this attempt is no longer the one that runs."""
    place = claim.flow_id, claim.seq
    message = _message_of(error)
    names = ["task_timeout" if _ran_out_of_time(error) else "task_exit"]
    facts: dict[str, Any] = {"attempt": claim.attempt, "worker": identity.worker(), "actor": "program"}
    with transaction.atomic():
        if delay is None:
            names.append("task_failed")
            led_to = fail_for_good(*place, claim.attempt, claim.parent_seq, message, text)
        else:
            retried = Task.objects.retry(*place, claim.attempt, delay, message, text)
            led_to = Finished() if retried else None
        if led_to is not None:
            told = {} if delay is None else {"delay": round(delay, 3)}
            Event.objects.record("fail" if delay is None else "retry", *place, **facts, reason=message, details=told)
            hooks.record(claim.task_id, *place, names, attempt=claim.attempt, error=message)
    return led_to


def fail_for_good(
    flow_id: str, seq: int, attempt: int, parent_seq: int | None, error: str, text: str
) -> Finished | None:
    """Fail a task whose retries are spent; with a child, its parent too, or it is passed over. In a transaction.

    None if this attempt is no longer the one that runs.
    """
    parent = None
    if parent_seq is not None:
        if not Task.objects.one(flow_id, parent_seq).values_list("exit_on_failed", flat=True).get():
            return Task.objects.pass_over(flow_id, seq, attempt, error, text)
        parent = Task.objects.family(flow_id, parent_seq)[-1]
    if not Task.objects.fail(flow_id, seq, attempt, error, text):
        return None
    if parent is not None:
        index = Task.objects.one(flow_id, seq).values_list("child_index", flat=True).get()
        children.fail_parent(parent, f"child {index} (task {seq}) failed: {error}")
    Flow.objects.point_to_failure(flow_id, seq)
    return Finished(may_be_stuck=True)


def _ran_out_of_time(error: BaseException) -> bool:
    """Whether it was a limit that ended the attempt: ours, or Celery's soft one, which has no name here but its own."""
    return isinstance(error, TimeLimitError) or type(error).__name__ == "SoftTimeLimitExceeded"


def _message_of(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = values.text(error).strip()
    except Exception:  # a message that cannot be made must not hide the error
        text = "its message cannot be shown"
    return text if text and isinstance(error, FlowerError) else f"{name}: {text}" if text else name


def _retry_delay(claim: Claim, error: BaseException) -> float | None:
    """Seconds until the next start, or None if there is to be none."""
    try:
        program = registry.get(claim.program)
    except FlowerError:
        return None
    limit = program.max_retries if claim.max_retries is None else claim.max_retries
    given = claim.max_retries is not None
    timed_out = isinstance(error, TimeLimitError) and (given or bool(program.autoretry_for))
    if not (timed_out or program.retries_on(error, limit_given=given)):
        return None
    if limit is not None and claim.retries >= limit:
        return None
    if isinstance(error, RetryTask) and error.delay is not None:
        return _bounded(error.delay)
    return claim.retry_delay if claim.retry_delay is not None else program.delay(claim.retries)


def lost(flow_id: str, seq: int, reason: str, *, worker: str, pid: int | None = None, counted: bool = True) -> Outcome:
    """The process that ran a task is gone: send the task again, or suspend it when that has happened too often.

    ``worker`` and ``pid`` name the process; an attempt of another one is left alone. A process that was stopped on
    purpose is not ``counted``. If the task had finished, what it released is sent; if it had not begun, it is itself.
    """
    return steady(lambda: _lost(flow_id, seq, reason, worker, pid, counted))


def _lost(flow_id: str, seq: int, reason: str, worker: str, pid: int | None, counted: bool) -> Outcome:
    with transaction.atomic():
        hooks.give_back(flow_id, worker, pid)
        _lock_family(flow_id, seq)
        task = Task.objects.select_for_update().filter(worker=worker).one(flow_id, seq).first()
        if task is None or (pid is not None and task.pid != pid) or task.status is not Status.RUNNING:
            itself = Task.objects.one(flow_id, seq).startable().messages(alone=True)
            return Outcome(finished=False, released=(*itself, *_let_go_by(flow_id, seq)))
        if counted and task.rescues >= conf.get().MAX_RESCUES:
            reason = f"{reason}; its worker was lost {task.rescues + 1} times, so it is not started again"
            verb, names = "fail", ["task_exit", "task_failed"]
            led_to = fail_for_good(flow_id, seq, task.attempt, task.parent_seq, reason, "") or Finished()
        else:
            verb, names, led_to = "rescue", ["task_exit"], Finished()
            Task.objects.rescue(flow_id, seq, task.attempt, counted=counted)
        Event.objects.record(verb, flow_id, seq, attempt=task.attempt, worker=worker, actor="watcher", reason=reason)
        if hooks.record(task.task_id, flow_id, seq, names, attempt=task.attempt, error=reason):
            hooks.have_told(flow_id)
    released = list(follow_up(flow_id, task.task_id, led_to))
    if task.pool:
        admit({task.pool})
    released += Task.objects.filter(task_exec_seq=seq, task_flow_id=flow_id).startable().messages(alone=True)
    return Outcome(finished=False, released=tuple(released))


def _lock_family(flow_id: str, seq: int) -> None:
    """Lock the siblings and the parent of a child that is not to be rescued any more, before its own row."""
    spent = Task.objects.one(flow_id, seq).filter(rescues__gte=conf.get().MAX_RESCUES, parent_seq__isnull=False)
    for parent_seq in spent.values_list("parent_seq", flat=True):
        Task.objects.family(flow_id, parent_seq)


def timed_out(flow_id: str, seq: int, seconds: float, *, worker: str, pid: int | None = None) -> Outcome:
    """The process that ran a task was killed at its time limit: retry or suspend it."""
    claim = steady(lambda: _running(flow_id, seq, worker, pid))
    if claim is None:
        return REFUSED
    return failed(claim, TimeLimitError(f"timed out after {seconds:g} s"), patience=0)


def refused(flow_id: str, seq: int, worker: str, reason: str) -> Outcome:
    """A worker cannot run this task: suspend it with the reason."""
    claim = Task.objects.claim(flow_id, seq, worker, os.getpid())
    return failed(claim, FlowerError(reason)) if claim else REFUSED


def _running(flow_id: str, seq: int, worker: str, pid: int | None) -> Claim | None:
    """The attempt that this process runs."""
    task = Task.objects.one(flow_id, seq).filter(exec_status=Status.RUNNING, worker=worker).first()
    if task is None or (pid is not None and task.pid != pid):
        return None
    return claim_of(flow_id, seq, False, *[getattr(task, name) for name in CLAIMED])
