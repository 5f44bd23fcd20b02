"""Records how an attempt ended: success, children, parked, a retry, a failure, or a process that was lost.

Each way an attempt can end is a ``Result``; ``record`` writes it in one transaction with its history and its events.
``propagation`` does what follows.
"""

from __future__ import annotations

import logging
import traceback as tracebacks
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import transaction

from flowerapp import conf, registry, signals
from flowerapp.core import executor, identity, values
from flowerapp.core.identity import Process
from flowerapp.core.messages import Message, TaskRef
from flowerapp.engine import children, hooks
from flowerapp.engine.children import Child
from flowerapp.exceptions import FlowerError, ParkTask, RetryTask, TimeLimitError
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.querysets import Claim, Completion, Success
from flowerapp.querysets.db import retry_on_disconnect
from flowerapp.states import Status

logger = logging.getLogger(__name__)

DB_RETRY_SECONDS = 30.0
"""Seconds to try to claim a task or to record its result while the database is unreachable; after that the message is
given up for lost, or the task left to rescue."""
_patiently = retry_on_disconnect(DB_RETRY_SECONDS)
LONGEST_DELAY = 10 * 365 * 86_400.0
"""Seconds; a program that asks for a longer delay, or to be parked for longer, gets this one."""


class Continuation(Protocol):
    """What continues, in this process, with one task after another."""

    def candidates(self, claim: Claim) -> Sequence[str]:
        """Names of the programs that it may continue with, in a task of the same queue and priority without a limit."""

    def accept(self, before: Claim, claim: Claim) -> None:
        """Take a claimed task, to perform it or give it back; called at once, as no other process knows of it."""


class _NoContinuation:
    def candidates(self, claim: Claim) -> Sequence[str]:
        return ()

    def accept(self, before: Claim, claim: Claim) -> None:
        raise NotImplementedError


NO_CONTINUATION: Continuation = _NoContinuation()
"""Never continues: every task gets a message."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The program returned."""

    output: str
    """JSON text."""


@dataclass(frozen=True, slots=True)
class WithChildren:
    """The program returned, and has added children: they come first."""

    children: Sequence[Child]


@dataclass(frozen=True, slots=True)
class Parked:
    """The program waits without a worker."""

    seconds: float | None
    """None until it is woken."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Errored:
    """The program ended by an error, or was killed."""

    message: str
    traceback: str
    timed_out: bool
    delay: float | None
    """Seconds until the next start; None where no retry is left."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The process was asked to stop, so another one may start the task."""


Result = Succeeded | WithChildren | Parked | Errored | Interrupted


@dataclass(frozen=True, slots=True)
class Recorded:
    """A result as the database took it."""

    completion: Completion | None
    """What it led to; None where the attempt is no longer the one that runs, or was recorded before."""
    satisfied: bool = False
    """The task is Finish."""
    messages: tuple[Message, ...] = ()
    """Further messages to send."""

    @property
    def followed(self) -> bool:
        """Whether the next deferred task must be sent now: the attempt did not finish, and its task is not sent again.

        A finish takes the next deferred task by itself.
        """
        return self.completion is not None and not self.satisfied and not self.messages


LATE = Recorded(None)
"""The attempt is no longer the one that runs: nothing was written."""


def record(claim: Claim, result: Result, continuation: Continuation = NO_CONTINUATION) -> Recorded:
    """Write how an attempt ended; tries for ``DB_RETRY_SECONDS`` while the database is unreachable."""
    match result:
        case Succeeded():
            recorded = record_success(claim, result, continuation)
        case WithChildren():
            recorded = record_children(claim, result)
        case Parked():
            recorded = record_parked(claim, result)
        case Errored():
            recorded = _patiently(record_error)(claim, result)
        case Interrupted():
            recorded = record_loss(claim.ref, "its process was asked to stop", identity.process())
    if recorded is LATE:
        logger.warning("late result of %s attempt %s refused", claim.ref, claim.attempt)
    return recorded


def record_success(claim: Claim, result: Succeeded, continuation: Continuation) -> Recorded:
    """Record a success, which may claim the next task for this process."""
    completion = _finish(claim, result.output, continuation)
    if completion is not None:
        return Recorded(completion, satisfied=True)
    if Task.objects.at(claim.ref).filter(exec_status=Status.FINISH, attempt=claim.attempt).exists():
        return _recorded_before(claim, continuation)
    return LATE


@_patiently
def _finish(claim: Claim, output: str, continuation: Continuation) -> Completion | None:
    """In one statement where the events have no listeners; listeners may take long, and would delay the next task."""
    success = Success(ref=claim.ref, attempt=claim.attempt, output=output, child=claim.parent_seq is not None)
    if not signals.has_listeners(claim.task_id, "task_over", "task_all_over", "all_over"):
        return _finish_and_claim(claim, success, continuation)
    with transaction.atomic():
        completion = Task.objects.finish(success)
        if completion is not None:
            hooks.record(claim.task_id, claim.ref, _events(success, completion), attempt=claim.attempt)
        return completion


def _finish_and_claim(claim: Claim, success: Success, continuation: Continuation) -> Completion | None:
    may_claim = not success.child and not signals.has_listeners(None, "task_start")
    candidates = continuation.candidates(claim) if may_claim else ()
    completion = Task.objects.finish(success.by(identity.process(), candidates))
    if completion is not None and completion.claimed is not None:
        continuation.accept(claim, completion.claimed)
    return completion


def _events(success: Success, completion: Completion) -> list[str]:
    return ["task_over", *([] if success.child else ["task_all_over"]), *(["all_over"] if completion.ended else [])]


def _recorded_before(claim: Claim, continuation: Continuation) -> Recorded:
    """An earlier try was committed, and the connection broke before the answer arrived."""
    following = _claimed_by_finish(claim.ref)
    if following is not None:
        continuation.accept(claim, following)
    return Recorded(None, satisfied=True, messages=_sent_by_finish(claim.ref))


@retry_on_disconnect()
def _claimed_by_finish(ref: TaskRef) -> Claim | None:
    return Task.objects.claimed_by(ref, identity.process())


def _sent_by_finish(ref: TaskRef) -> tuple[Message, ...]:
    """Messages for what the finish of a task took on to send and no worker has begun: they may not have been sent."""
    taken_up = (Task.objects.released_by(ref), Task.objects.taken_up_by(ref))
    return tuple({message.ref: message for tasks in taken_up for message in tasks.messages(alone=True)}.values())


def record_children(claim: Claim, result: WithChildren) -> Recorded:
    """Write the children; where they cannot be, that is the program's error."""
    try:
        completion = _add_children(claim, result.children)
    except FlowerError as error:
        return _patiently(record_error)(claim, errored(claim, error))
    return LATE if completion is None else Recorded(completion)


@_patiently
@transaction.atomic
def _add_children(claim: Claim, added: Sequence[Child]) -> Completion | None:
    completion = children.add(claim, added)
    if completion is not None:
        hooks.record(claim.task_id, claim.ref, ["task_over"], attempt=claim.attempt)
    return completion


@_patiently
@transaction.atomic
def record_parked(claim: Claim, result: Parked) -> Recorded:
    """Let an attempt wait without holding a worker."""
    if not Task.objects.park(claim.ref, claim.attempt, result.seconds):
        return LATE
    HistoryEntry.objects.record(
        "park", *claim.ref, **_facts(claim), reason=result.reason, details={"seconds": result.seconds}
    )
    return Recorded(Completion())


def _facts(claim: Claim) -> dict[str, Any]:
    return {"attempt": claim.attempt, "worker": identity.worker(), "actor": "program"}


@transaction.atomic
def record_error(claim: Claim, result: Errored) -> Recorded:
    """Record that an attempt ended by an error: a retry if one is left, else a failure."""
    retried = result.delay is not None
    completion = _retry(claim, result) if retried else _fail(claim, result)
    if completion is None:
        return LATE
    details = {} if result.delay is None else {"delay": round(result.delay, 3)}
    verb = "retry" if retried else "fail"
    HistoryEntry.objects.record(verb, *claim.ref, **_facts(claim), reason=result.message, details=details)
    events = ["task_timeout" if result.timed_out else "task_exit", *([] if retried else ["task_failed"])]
    hooks.record(claim.task_id, claim.ref, events, attempt=claim.attempt, error=result.message)
    return Recorded(completion)


def _retry(claim: Claim, result: Errored) -> Completion | None:
    delay = result.delay or 0.0
    moved = Task.objects.retry(claim.ref, claim.attempt, delay, result.message, result.traceback)
    return Completion() if moved else None


def _fail(claim: Claim, result: Errored) -> Completion | None:
    return fail_for_good(claim.ref, claim.attempt, claim.parent_seq, result.message, result.traceback)


def fail_for_good(
    ref: TaskRef, attempt: int, parent_seq: int | None, error: str, traceback: str = ""
) -> Completion | None:
    """Fail a task whose retries are spent; a child's failure fails its parent too, or is tolerated. In a transaction.

    None if this attempt is no longer the one that runs.
    """
    parent = None
    if parent_seq is not None:
        parent_ref = TaskRef(ref.flow_id, parent_seq)
        if not Task.objects.at(parent_ref).values_list("exit_on_failed", flat=True).get():
            return Task.objects.tolerate_failure(ref, attempt, error, traceback)
        parent = Task.objects.family(parent_ref)[-1]
    if not Task.objects.fail(ref, attempt, error, traceback):
        return None
    if parent is not None:
        index = Task.objects.at(ref).values_list("child_index", flat=True).get()
        children.fail_parent(parent, f"child {index} (task {ref.seq}) failed: {error}")
    Flow.objects.point_to_failure(ref.flow_id, ref.seq)
    return Completion(may_be_stuck=True)


@retry_on_disconnect()
@transaction.atomic
def record_loss(ref: TaskRef, reason: str, process: Process, *, counted: bool = True) -> Recorded:
    """The process that ran a task is gone: the task goes back to Wait, or fails when that has happened too often.

    An attempt of another process stays as it is; then the messages are those that the lost process may not have sent:
    for the task itself if it had not begun, else for what its finish took on to send.
    """
    hooks.release(ref.flow_id, process)
    _lock_family(ref)
    task = Task.objects.select_for_update().at(ref).run_by(process).first()
    if task is None:
        itself = Task.objects.at(ref).startable().messages(alone=True)
        return Recorded(None, messages=(*itself, *_sent_by_finish(ref)))
    if counted and task.rescues >= conf.get().MAX_RESCUES:
        return _fail_lost(task, reason)
    Task.objects.rescue(ref, task.attempt, counted=counted)
    _record_lost_attempt(task, "rescue", reason, ["task_exit"])
    return Recorded(Completion(), messages=tuple(Task.objects.at(ref).startable().messages(alone=True)))


def _lock_family(ref: TaskRef) -> None:
    """Lock the siblings and the parent of a child that has used up its rescues, before its own row."""
    spent = Task.objects.at(ref).filter(rescues__gte=conf.get().MAX_RESCUES, parent_seq__isnull=False)
    for parent_seq in spent.values_list("parent_seq", flat=True):
        Task.objects.family(TaskRef(ref.flow_id, parent_seq))


def _fail_lost(task: Task, reason: str) -> Recorded:
    reason = f"{reason}; its worker was lost {task.rescues + 1} times, so it is not started again"
    completion = fail_for_good(task.ref, task.attempt, task.parent_seq, reason)
    _record_lost_attempt(task, "fail", reason, ["task_exit", "task_failed"])
    return Recorded(completion or Completion())


def _record_lost_attempt(task: Task, verb: str, reason: str, events: Sequence[str]) -> None:
    HistoryEntry.objects.record(
        verb, *task.ref, attempt=task.attempt, worker=task.worker, actor="watcher", reason=reason
    )
    if hooks.record(task.task_id, task.ref, events, attempt=task.attempt, error=reason):
        hooks.deliver_on_commit(task.task_flow_id)


def result_of(claim: Claim, error: BaseException) -> Result:
    """What an exception of a program means for its attempt."""
    if isinstance(error, ParkTask):
        return Parked(None if error.seconds is None else _bounded(error.seconds), str(error))
    return errored(claim, error)


def errored(claim: Claim, error: BaseException) -> Errored:
    """The error as it is stored, and whether a retry is left."""
    return Errored(
        message=_message_of(error),
        traceback=values.text("".join(tracebacks.format_exception(error))),
        timed_out=isinstance(error, (TimeLimitError, executor.current().soft_limit_error)),
        delay=_retry_delay(claim, error),
    )


def _message_of(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = values.text(error).strip()
    except Exception:  # a message that cannot be made must not hide the error
        text = "its message cannot be shown"
    return text if text and isinstance(error, FlowerError) else f"{name}: {text}" if text else name


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST_DELAY)


def _retry_delay(claim: Claim, error: BaseException) -> float | None:
    """Seconds until the next start, or None if there is to be none."""
    program = registry.find(claim.program)
    if program is None or not _may_retry(claim, program, error):
        return None
    if isinstance(error, RetryTask) and error.delay is not None:
        return _bounded(error.delay)
    return claim.retry_delay if claim.retry_delay is not None else program.delay(claim.retries)


def _may_retry(claim: Claim, program: registry.Program, error: BaseException) -> bool:
    limit_set = claim.max_retries is not None
    timed_out = isinstance(error, TimeLimitError) and (limit_set or bool(program.autoretry_for))
    limit = claim.max_retries if limit_set else program.max_retries
    return (timed_out or program.retries_on(error, limit_given=limit_set)) and (limit is None or claim.retries < limit)
