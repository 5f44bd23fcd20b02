"""What a task's own process cannot record: that it was lost, killed at its limit, or that no worker takes the task."""

from __future__ import annotations

from flowerapp import signals
from flowerapp.core import executor, logs
from flowerapp.core.endings import Ending
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import completion, dispatching, hooks, propagation
from flowerapp.engine.completion import DB_RETRY_SECONDS
from flowerapp.engine.dispatching import REFUSAL_PAUSE
from flowerapp.engine.failures import Failure, fail_for_good
from flowerapp.engine.propagation import REFUSED, Outcome
from flowerapp.engine.results import Recorded
from flowerapp.exceptions import AttemptError, TimeLimitError
from flowerapp.models import HistoryEntry, Task
from flowerapp.querysets import Claim, Completion
from flowerapp.querysets.db import atomic, retry_on_disconnect
from flowerapp.states import RefusedBy

logger = logs.logger(__name__)


def record_lost(ref: TaskRef, reason: str, process: Process) -> Outcome:
    """The process that ran a task is gone: send the task again, or suspend it when that has happened too often.

    An attempt of another process is left alone. The outcome has the messages to send: what the task released if it had
    finished, the task itself if it had not begun.
    """
    return _after(ref, completion.record_loss(ref, reason, process))


def hand_back(ref: TaskRef, reason: str, process: Process) -> Outcome:
    """The worker was asked to stop, and the process that runs a task ends with it: send the task again.

    An attempt of another process is left alone. The outcome has the messages to send.
    """
    return _after(ref, completion.record_hand_back(ref, reason, process))


def _after(ref: TaskRef, recorded: Recorded) -> Outcome:
    if recorded.completion is None:
        return Outcome(finished=False, released=recorded.messages)
    task_id, pool = _workflow_and_pool(ref)
    released = propagation.propagate(ref.flow_id, task_id, recorded.completion, freed=pool)
    return Outcome(finished=False, released=(*released, *recorded.messages), ending=recorded.ending)


@retry_on_disconnect()
def _workflow_and_pool(ref: TaskRef) -> tuple[str, str]:
    row: tuple[str, str] = Task.objects.at(ref).values_list("task_id", "pool").get()
    return row


def record_timeout(ref: TaskRef, seconds: float, process: Process) -> Outcome:
    """The process that ran a task was killed at its time limit: retry or suspend the task."""
    claim = _running(ref, process)
    if claim is None:
        return REFUSED
    return record_error(claim, TimeLimitError(f"timed out after {seconds:g} s"), retry_seconds=0)


@retry_on_disconnect()
def _running(ref: TaskRef, process: Process) -> Claim | None:
    return Task.objects.at(ref).run_by(process).as_claim()


def record_error(claim: Claim, error: Exception, retry_seconds: float = DB_RETRY_SECONDS) -> Outcome:
    """An attempt ended by an error that its own process could not record.

    ``retry_seconds`` is how long to try while the database is unreachable.
    """
    recorded = retry_on_disconnect(retry_seconds)(completion.record_error)(claim, completion.errored(claim, error))
    if signals.has_listeners(claim.task_id, "task_exit", "task_timeout", "task_failed"):
        hooks.deliver_on_commit(claim.flow_id)
    return propagation.after_attempt(claim, recorded)


def conclude(outcome: Outcome) -> None:
    """Send what an attempt released whose own process cannot, and report how it ended."""
    dispatching.send(outcome.released)
    if outcome.ending is not None:
        executor.current().report(outcome.ending)


@retry_on_disconnect()
def refuse(ref: TaskRef, reason: str) -> int:
    """The worker that received this task does not know its program: have it sent again after a pause, for another
    worker may know it. 1 if it was still to start.
    """
    logger.warning("%s is refused: %s", ref, reason)
    return Task.objects.refuse(Task.objects.all().keys_of([ref]), RefusedBy.WORKER, reason, REFUSAL_PAUSE)


def reject(ref: TaskRef, seconds: float) -> int:
    """Fail a task that has been refused for ``seconds``, with the reason; 1 if it still was."""
    rejected = _record_rejection(ref, seconds)
    if rejected is None:
        return 0
    task_id, recorded = rejected
    released = propagation.propagate(ref.flow_id, task_id, recorded.completion or Completion())
    conclude(Outcome(finished=False, released=tuple(released), ending=recorded.ending))
    return 1


@retry_on_disconnect()
@atomic()
def _record_rejection(ref: TaskRef, seconds: float) -> tuple[str, Recorded] | None:
    """The workflow, and what was recorded; None if the task is not refused any more."""
    for parent_seq in Task.objects.at(ref).filter(parent_seq__isnull=False).values_list("parent_seq", flat=True):
        Task.objects.family(TaskRef(ref.flow_id, parent_seq))  # children are locked before their parents
    task = Task.objects.select_for_update(of=("self",)).at(ref).refused_for(seconds).first()
    if task is None:
        return None
    error = f"{task.error}; it was tried for {seconds:g} s" if seconds else task.error
    failed = fail_for_good(Failure(ref=ref, parent_seq=task.parent_seq, error=error))
    if failed is None:
        return None
    HistoryEntry.objects.record("reject", *ref, attempt=task.attempt, actor="watcher", reason=error)
    if hooks.record(task.task_id, ref, ["task_failed"], attempt=task.attempt, error=error):
        hooks.deliver_on_commit(ref.flow_id)
    ending = Ending(
        ref=ref,
        program=task.program,
        attempt=task.attempt,
        error=AttemptError(error),
        message=error,
        delay=None,
    )
    return task.task_id, Recorded(failed, ending=ending)
