"""How an attempt of a remote task ended by an error: a retry if one is left, else a failure."""

from __future__ import annotations

from typing import Any

from flowerapp.engine import hooks
from flowerapp.engine.failures import Failure, fail_for_good
from flowerapp.models import HistoryEntry, Task
from flowerapp.querysets import Completion

RETRY_DELAY = 180.0
"""Seconds before a retry of a step that names no ``retry_delay``; as long as that of a program."""


def retry_delay(task: Task) -> float | None:
    """Seconds until the next start after a failure; None where the step has no retry left."""
    if task.retries >= (task.max_retries or 0):
        return None
    return RETRY_DELAY if task.retry_delay is None else float(task.retry_delay)


def record_failure(
    task: Task, error: str, *, retry: bool, event: str = "task_exit", reason: str = "", actor: str
) -> Completion:
    """Record that the present attempt of a remote task, which runs and is locked, ended by ``error``. In a transaction.

    ``retry`` is whether it may be retried. ``event`` is the hook of the attempt's end, ``reason`` stands in the history
    in place of the error.
    """
    delay = retry_delay(task) if retry else None
    completion: Completion | None = Completion()
    if delay is not None:
        Task.objects.retry(task.ref, task.attempt, delay, error, "")
    else:
        completion = fail_for_good(Failure(ref=task.ref, parent_seq=task.parent_seq, error=error, attempt=task.attempt))
    details = {} if delay is None else {"delay": delay}
    record_history(task, "fail" if delay is None else "retry", actor=actor, reason=reason or error, details=details)
    record_events(task, [event, *(["task_failed"] if delay is None else [])], error)
    return completion or Completion()


def record_history(task: Task, verb: str, **facts: Any) -> None:
    """Write what happened to an attempt of a remote task to the history."""
    HistoryEntry.objects.record(verb, *task.ref, attempt=task.attempt, worker=task.worker, **facts)


def record_events(task: Task, names: list[str], error: str = "") -> None:
    """Record events of an attempt of a remote task, for a worker to deliver on commit."""
    if hooks.record(task.task_id, task.ref, names, attempt=task.attempt, error=error):
        hooks.deliver_on_commit(task.task_flow_id)
