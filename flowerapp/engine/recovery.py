"""Attempts whose process could not record the result itself: lost, killed at its limit, or without the program."""

from __future__ import annotations

from flowerapp import signals
from flowerapp.core import identity
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import completion, hooks, propagation
from flowerapp.engine.completion import DB_RETRY_SECONDS
from flowerapp.engine.propagation import REFUSED, Outcome
from flowerapp.exceptions import FlowerError, TimeLimitError
from flowerapp.models import Task
from flowerapp.querysets import Claim
from flowerapp.querysets.db import retry_on_disconnect


@retry_on_disconnect()
def record_lost(ref: TaskRef, reason: str, process: Process, *, counted: bool = True) -> Outcome:
    """The process that ran a task is gone: send the task again, or suspend it when that has happened too often.

    An attempt of another process is left alone. A process that was stopped on purpose is not ``counted``. The
    outcome has the messages to send: what the task released if it had finished, the task itself if it had not begun.
    """
    recorded = completion.record_loss(ref, reason, process, counted=counted)
    if recorded.completion is None:
        return Outcome(finished=False, released=recorded.messages)
    task_id, pool = Task.objects.at(ref).values_list("task_id", "pool").get()
    released = propagation.propagate(ref.flow_id, task_id, recorded.completion, freed=pool)
    return Outcome(finished=False, released=(*released, *recorded.messages))


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


def reject(ref: TaskRef, worker: str, reason: str) -> Outcome:
    """The worker that received this task cannot run it: suspend it with the reason."""
    claim = Task.objects.claim(ref, Process(worker, identity.process().pid))
    return record_error(claim, FlowerError(reason)) if claim else REFUSED
