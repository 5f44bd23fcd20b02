"""Remote tasks whose workers fell silent: their lease has run out, so another worker may have them."""

from __future__ import annotations

from flowerapp import conf
from flowerapp.core import identity
from flowerapp.core.messages import TaskRef
from flowerapp.engine.dispatching import send
from flowerapp.engine.failures import Failure, fail_for_good
from flowerapp.engine.propagation import propagate, settle
from flowerapp.engine.remote_outcomes import record_events, record_failure, record_history
from flowerapp.models import Task
from flowerapp.querysets import Completion, clock
from flowerapp.querysets.db import atomic, retry_on_disconnect

ACTOR = "watcher"


def expire(ref: TaskRef) -> str:
    """Take a remote task from the worker whose lease has run out; ``rescue``, ``timeout``, or empty if it has not.

    A rescue puts the task back to Wait, or fails it when that has happened too often. Where the time limit of its step
    has passed, the attempt timed out: it is retried, or fails.
    """
    recorded = _record(ref)
    if recorded is None:
        return ""
    task, kind, completion = recorded
    settle(ref.flow_id)
    send(propagate(ref.flow_id, task.task_id, completion))
    return kind


@retry_on_disconnect()
@atomic()
def _record(ref: TaskRef) -> tuple[Task, str, Completion] | None:
    for parent_seq in Task.objects.at(ref).filter(parent_seq__isnull=False).values_list("parent_seq", flat=True):
        Task.objects.family(TaskRef(ref.flow_id, parent_seq))  # children are locked before their parents
    expired = Task.objects.at(ref).lease_expired().select_for_update().defer("output", "traceback")
    task = expired.first()
    if task is None:
        return None
    if task.time_limit and _seconds_since_start(task) >= task.time_limit:
        error = f"timed out after {task.time_limit} s"
        return task, "timeout", record_failure(task, error, retry=True, event="task_timeout", actor=ACTOR)
    reason = f"its worker {task.worker.removeprefix(identity.REMOTE)} sent no heartbeat until its lease ran out"
    return task, "rescue", _fail_lost(task, reason) if _is_spent(task) else _rescue(task, reason)


def _seconds_since_start(task: Task) -> float:
    return (clock.now() - task.started_ts).total_seconds() if task.started_ts else 0.0


def _is_spent(task: Task) -> bool:
    return task.rescues >= conf.get().MAX_RESCUES


def _rescue(task: Task, reason: str) -> Completion:
    Task.objects.rescue_remote(task.ref, task.attempt)
    record_history(task, "rescue", actor=ACTOR, reason=reason)
    record_events(task, ["task_exit"], reason)
    return Completion()


def _fail_lost(task: Task, reason: str) -> Completion:
    reason = f"{reason}; its worker was lost {task.rescues + 1} times, so it is not started again"
    completion = fail_for_good(Failure(ref=task.ref, parent_seq=task.parent_seq, error=reason, attempt=task.attempt))
    record_history(task, "fail", actor=ACTOR, reason=reason)
    record_events(task, ["task_exit", "task_failed"], reason)
    return completion or Completion()
