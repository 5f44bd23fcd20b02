"""One start of a task, and its outcome. A program never runs inside a transaction of ours."""

from __future__ import annotations

import logging
import os
import time
import traceback as tracebacks
from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from flowerapp import conf, identity, registry, values
from flowerapp.context import Context
from flowerapp.dispatch import Message
from flowerapp.engine.links import settle
from flowerapp.exceptions import FlowerError, ParkTask, RetryTask, TimeLimitError
from flowerapp.models import Event, Flow, Task, Worker
from flowerapp.querysets import Claim, Finished
from flowerapp.querysets.steady import steady
from flowerapp.states import Status

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds to go on trying to claim a task or to record an outcome while the database is away; after that the message
is given up for lost, or the task left to rescue."""
SIGN_PAUSE = 0.2
"""Seconds between looks whether the worker has given a sign of life again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message's task."""

    finished: bool
    """The task is satisfied, so what the message carries may go on."""
    released: tuple[Message, ...] = ()
    """Tasks that became ready and are to be sent."""


REFUSED = Outcome(finished=False)
LONGEST_DELAY = 10 * 365 * 86_400.0
"""Seconds; a program that asks for a longer delay, or to be parked for longer, gets this one."""


def run(flow_id: str, seq: int, worker: str) -> Outcome:
    """Look at a task: claim it for this process of ``worker``, run its program and record the outcome.

    Where there is nothing to claim, it does what ``look_again`` says.
    """
    claim = _claim(flow_id, seq, worker)
    if claim is None and _overdue(worker):
        claim = _claim_when_seen(flow_id, seq, worker)
    if claim is None:
        return steady(lambda: look_again(flow_id, seq), PATIENCE)
    return _performer(claim)


def _claim(flow_id: str, seq: int, worker: str) -> Claim | None:
    return steady(lambda: Task.objects.claim(flow_id, seq, worker, os.getpid()), PATIENCE)


def _overdue(worker: str) -> bool:
    lease = conf.get().LEASE_SECONDS
    return steady(lambda: Worker.objects.overdue(lease).filter(pk=worker).exists(), PATIENCE)


def _claim_when_seen(flow_id: str, seq: int, worker: str) -> Claim | None:
    """Claim once the worker, which was stopped or asleep, has given a sign of life again."""
    deadline = time.monotonic() + PATIENCE
    while _overdue(worker):
        if time.monotonic() > deadline:
            logger.warning("worker %s gives no sign of life: flow %s task %s is left to others", worker, flow_id, seq)
            return None
        time.sleep(SIGN_PAUSE)
    return _claim(flow_id, seq, worker)


def perform(claim: Claim) -> Outcome:
    """Run the program of a claim in this process, and record the outcome."""
    try:
        output = _call(claim)
    except (Exception, SystemExit, CancelledError) as error:
        return _interrupted(claim) if _told_to_end() else failed(claim, error)
    return finished(claim, output)


def _interrupted(claim: Claim) -> Outcome:
    """This process was told to end, so the error is not the program's: another process may start the task."""
    reason = "its process was told to end"
    return lost(claim.flow_id, claim.seq, reason, worker=identity.worker(), pid=os.getpid())


def _never() -> bool:
    return False


_told_to_end: Callable[[], bool] = _never


def use_end_notice(told_to_end: Callable[[], bool]) -> None:
    """Let ``told_to_end`` say whether this process has been told to end, which interrupts the program it runs."""
    global _told_to_end
    _told_to_end = told_to_end


_performer: Callable[[Claim], Outcome] = perform


def use_performer(performer: Callable[[Claim], Outcome]) -> None:
    """Let ``performer`` run the programs of this process's claims, wherever it likes, and record the outcomes."""
    global _performer
    _performer = performer


def _call(claim: Claim) -> str:
    """Run the program; the JSON text of what it returned."""
    output = registry.get(claim.program).call(claim.parameters, Context(claim))
    return values.dumps({} if output is None else output, f"output of program {claim.program}")


def finished(claim: Claim, output: str) -> Outcome:
    """Record a success; a late one is refused."""
    place = claim.flow_id, claim.seq
    done = steady(lambda: Task.objects.finish(*place, claim.attempt, output), PATIENCE)
    if done is not None:
        return _after(claim.flow_id, done)
    if Task.objects.one(*place).filter(exec_status=Status.FINISH, attempt=claim.attempt).exists():
        # An earlier try was committed, and the connection broke before it could say so.
        return Outcome(finished=True, released=tuple(Task.objects.released_by(*place).messages(alone=True)))
    logger.warning("late outcome of flow %s task %s attempt %s refused", *place, claim.attempt)
    return REFUSED


def _after(flow_id: str, done: Finished) -> Outcome:
    if done.may_be_stuck:
        settle(flow_id)
    return Outcome(finished=True, released=done.released)


def look_again(flow_id: str, seq: int) -> Outcome:
    """For a message that claimed nothing: if its task is satisfied, send what waits for it and was not sent lately.

    Not sent lately, because two copies of each message of a chain would otherwise become four, eight, sixteen.
    """
    waiting = Task.objects.released_by(flow_id, seq) & Task.objects.silent(conf.get().RESEND_AFTER)
    with transaction.atomic():
        messages = waiting.messages(alone=True)
        if messages:
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=[m.head.seq for m in messages]).mark_sent()
    return Outcome(finished=False, released=tuple(messages))


def failed(claim: Claim, error: BaseException, patience: float = PATIENCE) -> Outcome:
    """Record that an attempt ended by an error: a retry if the program's policy has one left, else a failure.

    ``patience`` is the seconds to go on trying while the database is away.
    """
    if isinstance(error, ParkTask):
        return _parked(claim, error)
    text = values.text("".join(tracebacks.format_exception(error)))
    delay = _retry_delay(claim, error)
    message = _message_of(error)
    moved = steady(lambda: _record_error(claim, message, text, delay), patience)
    if moved and delay is None:
        settle(claim.flow_id)
    elif not moved:
        logger.warning("late error of flow %s task %s attempt %s refused", claim.flow_id, claim.seq, claim.attempt)
    return REFUSED


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
    return REFUSED


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST_DELAY)


def _record_error(claim: Claim, message: str, text: str, delay: float | None) -> int:
    place = claim.flow_id, claim.seq
    with transaction.atomic():
        if delay is None:
            moved = Task.objects.fail(*place, claim.attempt, message, text)
        else:
            moved = Task.objects.retry(*place, claim.attempt, delay, message, text)
        if moved and delay is None:
            Flow.objects.point_to_failure(*place)
        if moved:
            verb = "fail" if delay is None else "retry"
            told = {} if delay is None else {"delay": round(delay, 3)}
            facts: dict[str, Any] = {"attempt": claim.attempt, "worker": identity.worker(), "actor": "program"}
            Event.objects.record(verb, *place, **facts, reason=message, details=told)
    return moved


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
    purpose is not ``counted``. If the task had finished, what it released is sent.
    """
    return steady(lambda: _lost(flow_id, seq, reason, worker, pid, counted))


def _lost(flow_id: str, seq: int, reason: str, worker: str, pid: int | None, counted: bool) -> Outcome:
    with transaction.atomic():
        task = Task.objects.select_for_update().filter(worker=worker).one(flow_id, seq).first()
        if task is None or (pid is not None and task.pid != pid):
            return REFUSED
        if task.status is not Status.RUNNING:
            return Outcome(finished=False, released=tuple(Task.objects.released_by(flow_id, seq).messages(alone=True)))
        given_up = counted and task.rescues >= conf.get().MAX_RESCUES
        if given_up:
            reason = f"{reason}; its worker was lost {task.rescues + 1} times, so it is not started again"
            Task.objects.fail(flow_id, seq, task.attempt, reason, "")
            Flow.objects.point_to_failure(flow_id, seq)
        else:
            Task.objects.rescue(flow_id, seq, task.attempt, counted=counted)
        verb = "fail" if given_up else "rescue"
        Event.objects.record(verb, flow_id, seq, attempt=task.attempt, worker=worker, actor="watcher", reason=reason)
    if given_up:
        settle(flow_id)
    messages = Task.objects.filter(task_exec_seq=seq, task_flow_id=flow_id).startable().messages(alone=True)
    return Outcome(finished=False, released=tuple(messages))


def timed_out(flow_id: str, seq: int, seconds: float, *, worker: str, pid: int | None = None) -> Outcome:
    """The process that ran a task was killed at its time limit: retry or suspend it."""
    claim = steady(lambda: _running(flow_id, seq, worker, pid))
    return failed(claim, TimeLimitError(f"timed out after {seconds:g} s"), patience=0) if claim else REFUSED


def refused(flow_id: str, seq: int, worker: str, reason: str) -> Outcome:
    """A worker cannot run this task: suspend it with the reason."""
    claim = Task.objects.claim(flow_id, seq, worker, os.getpid())
    return failed(claim, FlowerError(reason)) if claim else REFUSED


def _running(flow_id: str, seq: int, worker: str, pid: int | None) -> Claim | None:
    """The attempt that this process runs."""
    task = Task.objects.one(flow_id, seq).filter(exec_status=Status.RUNNING, worker=worker).first()
    if task is None or (pid is not None and task.pid != pid):
        return None
    names = ("task_id", "task_seq", "program", "parameters", "attempt", "retries", "run")
    options = ("max_retries", "retry_delay", "time_limit")
    return Claim(flow_id=flow_id, seq=seq, **{name: getattr(task, name) for name in names + options})
