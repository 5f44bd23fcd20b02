"""Records how an attempt ended: success, children, parked, a retry, a failure, refused, or a process that was lost.

Each way an attempt can end is a ``Result``; ``record`` writes it in one transaction with its history and its events.
``propagation`` does what follows.
"""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from flowerapp import conf, registry, signals
from flowerapp.core import executor, identity, logs, masking, values
from flowerapp.core.endings import Ending
from flowerapp.core.identity import Process
from flowerapp.core.masked_errors import masked_error
from flowerapp.core.masking import NO_SECRETS, Secrets
from flowerapp.core.messages import Message, TaskRef
from flowerapp.engine import children, hooks, output_cache
from flowerapp.engine.children import Child
from flowerapp.engine.dispatching import REFUSAL_PAUSE
from flowerapp.engine.failures import Failure, fail_for_good
from flowerapp.engine.masks import secrets_of
from flowerapp.engine.results import (
    LATE,
    Awaiting,
    Cached,
    Errored,
    Ignored,
    Interrupted,
    Parked,
    Recorded,
    Refused,
    Result,
    Succeeded,
    WithChildren,
)
from flowerapp.exceptions import ConditionError, FlowerError, ParkTask, ProcessLostError, TimeLimitError
from flowerapp.models import HistoryEntry, Task
from flowerapp.querysets import Claim, Completion, Success
from flowerapp.querysets.db import atomic, retry_on_disconnect
from flowerapp.states import IgnoredBy

logger = logs.logger(__name__)

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

    def keeps(self, claim: Claim, candidates: Sequence[str]) -> Sequence[int]:
        """How many tasks of each candidate, beside the first, it would run itself, one after the other, rather than
        have them sent; more than that are sent. Empty for none."""

    def accept(self, before: Claim, claim: Claim) -> None:
        """Take a claimed task, to perform it or give it back; called at once, as no other process knows of it."""


class _NoContinuation:
    def candidates(self, claim: Claim) -> Sequence[str]:
        return ()

    def keeps(self, claim: Claim, candidates: Sequence[str]) -> Sequence[int]:
        return ()

    def accept(self, before: Claim, claim: Claim) -> None:
        raise NotImplementedError


NO_CONTINUATION: Continuation = _NoContinuation()
"""Never continues: every task gets a message."""


def record(claim: Claim, result: Result, continuation: Continuation = NO_CONTINUATION) -> Recorded:
    """Write how an attempt ended; tries for ``DB_RETRY_SECONDS`` while the database is unreachable."""
    match result:
        case Succeeded() | Cached() | Ignored():
            recorded = record_success(claim, result, continuation)
        case WithChildren():
            recorded = record_children(claim, result)
        case Parked():
            recorded = record_parked(claim, result)
        case Awaiting():
            recorded = output_cache.record_awaiting(claim, result)
        case Errored():
            recorded = _patiently(record_error)(claim, result)
        case Interrupted():
            recorded = _record_interruption(claim)
        case Refused():
            recorded = record_refused(claim, result)
    if recorded is LATE:
        logger.warning("late result of %s attempt %s refused", claim.ref, claim.attempt)
    return recorded


def record_success(claim: Claim, result: Succeeded | Cached | Ignored, continuation: Continuation) -> Recorded:
    """Record a success, which may claim the next task for this process."""
    success = _success_of(claim, result)
    completion = _finish(claim, success, continuation, output_cache.with_success(claim, result))
    if completion is not None:
        return Recorded(completion, satisfied=True)
    recorded = {"exec_status": success.status, "ignored_by": success.ignored_by, "attempt": claim.attempt}
    if Task.objects.at(claim.ref).filter(**recorded).exists():
        return _recorded_before(claim, continuation)
    return LATE


def _success_of(claim: Claim, result: Succeeded | Cached | Ignored) -> Success:
    ignored_by = IgnoredBy.CONDITION if isinstance(result, Ignored) else ""
    child = claim.parent_seq is not None
    return Success(ref=claim.ref, attempt=claim.attempt, output=result.output, ignored_by=ignored_by, child=child)


@_patiently
def _finish(
    claim: Claim, success: Success, continuation: Continuation, write: Callable[[], object] | None
) -> Completion | None:
    """In one statement where the events have no listeners; listeners may take long, and would delay the next task.

    ``write`` writes what belongs to the success.
    """
    if write is None and not signals.has_listeners(claim.task_id, "task_over", "task_all_over", "all_over"):
        return _finish_and_claim(claim, success, continuation)
    with atomic():
        completion = Task.objects.finish(success)
        if completion is not None:
            if write is not None:
                write()
            hooks.record(claim.task_id, claim.ref, _events(success, completion), attempt=claim.attempt)
        return completion


def _finish_and_claim(claim: Claim, success: Success, continuation: Continuation) -> Completion | None:
    may_claim = not success.child and not signals.has_listeners(None, "task_start")
    candidates = continuation.candidates(claim) if may_claim else ()
    keeps = continuation.keeps(claim, candidates) if candidates else ()
    completion = Task.objects.finish(success.by(identity.process(), candidates, keeps))
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
@atomic()
def _add_children(claim: Claim, added: Sequence[Child]) -> Completion | None:
    completion = children.add(claim, added)
    if completion is not None:
        hooks.record(claim.task_id, claim.ref, ["task_over"], attempt=claim.attempt)
    return completion


@_patiently
@atomic()
def record_parked(claim: Claim, result: Parked) -> Recorded:
    """Let an attempt wait without holding a worker."""
    if not Task.objects.park(claim.ref, claim.attempt, result.seconds):
        return LATE
    HistoryEntry.objects.record(
        "park", *claim.ref, **_facts(claim), reason=result.reason, details={"seconds": result.seconds}
    )
    return Recorded(Completion())


@_patiently
def record_refused(claim: Claim, result: Refused) -> Recorded:
    """Give an attempt back that could not begin: no retry is counted, and the task is sent again after a pause."""
    if not Task.objects.refuse_attempt(claim.ref, claim.attempt, result.reason, REFUSAL_PAUSE):
        return LATE
    logger.warning("%s is refused: %s", claim.ref, result.reason)
    return Recorded(Completion())


def _facts(claim: Claim) -> dict[str, Any]:
    return {"attempt": claim.attempt, "worker": identity.worker(), "actor": "program"}


@atomic()
def record_error(claim: Claim, result: Errored) -> Recorded:
    """Record that an attempt ended by an error: a retry if one is left, else a failure."""
    result = _masked(result, claim.ref)
    retried = result.delay is not None
    completion = _retry(claim, result) if retried else _fail(claim, result)
    if completion is None:
        return LATE
    details = {} if result.delay is None else {"delay": round(result.delay, 3)}
    verb = "retry" if retried else "fail"
    HistoryEntry.objects.record(verb, *claim.ref, **_facts(claim), reason=result.message, details=details)
    events = ["task_timeout" if result.timed_out else "task_exit", *([] if retried else ["task_failed"])]
    hooks.record(claim.task_id, claim.ref, events, attempt=claim.attempt, error=result.message)
    return Recorded(completion, ending=_ending(claim, result))


def _masked(result: Errored, ref: TaskRef) -> Errored:
    """The result, which quotes no secret of its task."""
    secrets = result.secrets | secrets_of(*ref)
    return replace(
        result,
        error=masked_error(result.error, secrets),
        message=masking.masked(result.message, secrets),
        traceback=masking.masked(result.traceback, secrets),
    )


def _ending(claim: Claim, result: Errored) -> Ending:
    return Ending(
        ref=claim.ref,
        program=claim.program,
        attempt=claim.attempt,
        error=result.error,
        message=result.message,
        delay=result.delay,
    )


def _retry(claim: Claim, result: Errored) -> Completion | None:
    delay = result.delay or 0.0
    moved = Task.objects.retry(claim.ref, claim.attempt, delay, result.message, result.traceback)
    return Completion() if moved else None


def _fail(claim: Claim, result: Errored) -> Completion | None:
    return fail_for_good(
        Failure(
            ref=claim.ref,
            parent_seq=claim.parent_seq,
            error=result.message,
            traceback=result.traceback,
            attempt=claim.attempt,
        )
    )


@retry_on_disconnect()
@atomic()
def record_loss(ref: TaskRef, reason: str, process: Process) -> Recorded:
    """The process that ran a task is gone: the task goes back to Wait, or fails when that has happened too often.

    If the process does not run the task, no status changes. The messages are then those that it may not have sent: that
    of the task, if it can start, and those of the tasks that its finish took on to send.
    """
    hooks.release(ref.flow_id, process)
    _lock_family(ref)
    task = Task.objects.select_for_update().at(ref).run_by(process).first()
    if task is None:
        itself = Task.objects.at(ref).startable().messages(alone=True)
        return Recorded(None, messages=(*itself, *_sent_by_finish(ref)))
    if task.rescues >= conf.get().MAX_RESCUES:
        return _fail_lost(task, reason)
    Task.objects.rescue(ref, task.attempt)
    _record_lost_attempt(task, "rescue", reason, ["task_exit"])
    messages = tuple(Task.objects.at(ref).startable().messages(alone=True))
    return Recorded(Completion(), messages=messages, ending=_lost(task, reason, delay=0.0))


def _record_interruption(claim: Claim) -> Recorded:
    """The process got the signal to end: from the operator who stops its worker, or from elsewhere."""
    gives_back = executor.current().hands_back()
    record = record_hand_back if gives_back else record_loss
    return record(claim.ref, "its process was asked to stop", identity.process())


@retry_on_disconnect()
@atomic()
def record_hand_back(ref: TaskRef, reason: str, process: Process) -> Recorded:
    """The worker of an attempt was asked to stop: the task goes back to Wait, and no rescue is counted.

    If the process does not run the task, no status changes, and the messages are those that it may not have sent.
    """
    hooks.release(ref.flow_id, process)
    task = Task.objects.select_for_update().at(ref).run_by(process).first()
    if task is None:
        return Recorded(None, messages=_sent_by_finish(ref))
    Task.objects.hand_back(ref, task.attempt)
    _record_lost_attempt(task, "hand_back", reason, ["task_exit"])
    return Recorded(Completion(), messages=tuple(Task.objects.at(ref).startable().messages(alone=True)))


def _lock_family(ref: TaskRef) -> None:
    """Lock the siblings and the parent of a child that has used up its rescues, before its own row."""
    spent = Task.objects.at(ref).filter(rescues__gte=conf.get().MAX_RESCUES, parent_seq__isnull=False)
    for parent_seq in spent.values_list("parent_seq", flat=True):
        Task.objects.family(TaskRef(ref.flow_id, parent_seq))


def _fail_lost(task: Task, reason: str) -> Recorded:
    reason = f"{reason}; its worker was lost {task.rescues + 1} times, so it is not started again"
    failure = Failure(ref=task.ref, parent_seq=task.parent_seq, error=reason, attempt=task.attempt)
    completion = fail_for_good(failure)
    _record_lost_attempt(task, "fail", reason, ["task_exit", "task_failed"])
    return Recorded(completion or Completion(), ending=_lost(task, reason, delay=None))


def _lost(task: Task, reason: str, delay: float | None) -> Ending:
    return Ending(
        ref=task.ref,
        program=task.program,
        attempt=task.attempt,
        error=ProcessLostError(reason),
        message=reason,
        delay=delay,
    )


def _record_lost_attempt(task: Task, verb: str, reason: str, events: Sequence[str]) -> None:
    HistoryEntry.objects.record(
        verb, *task.ref, attempt=task.attempt, worker=task.worker, actor="watcher", reason=reason
    )
    if hooks.record(task.task_id, task.ref, events, attempt=task.attempt, error=reason):
        hooks.deliver_on_commit(task.task_flow_id)


def result_of(claim: Claim, error: BaseException, secrets: Secrets = NO_SECRETS) -> Result:
    """What an exception of a program means for its attempt, which must not quote ``secrets``."""
    if isinstance(error, ParkTask):
        reason = masking.masked(str(error), secrets)
        return Parked(None if error.seconds is None else _bounded(error.seconds), reason)
    return errored(claim, error, secrets)


def errored(claim: Claim, error: BaseException, secrets: Secrets = NO_SECRETS) -> Errored:
    """The error with its text, and whether a retry is left; ``record_error`` masks it."""
    return Errored(
        error=error,
        message=_message_of(error),
        traceback=values.text("".join(tracebacks.format_exception(error))),
        timed_out=isinstance(error, (TimeLimitError, executor.current().soft_limit_error)),
        delay=_retry_delay(claim, error),
        secrets=secrets,
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
    if program is None or isinstance(error, ConditionError):
        return None
    overrides: dict[str, Any] = {"max_retries": claim.max_retries, "retry_delay": claim.retry_delay}
    delay = program.next_delay(error, claim.retries, **overrides)
    return None if delay is None else _bounded(delay)
