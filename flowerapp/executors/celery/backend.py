"""The result backend of program tasks: the task's row is the result."""

from __future__ import annotations

import os
from typing import Any

from celery import current_task, states
from celery.exceptions import TimeLimitExceeded
from django.db import connections
from django_celery_results.backends.database import DatabaseBackend

from flowerapp.core import identity
from flowerapp.core.identity import Process
from flowerapp.executors.celery import losses, reports
from flowerapp.executors.celery.losses import Loss
from flowerapp.executors.celery.process_table import ids_of, process_table
from flowerapp.executors.celery.routes import ref_of
from flowerapp.models import Task
from flowerapp.querysets.db import CONNECTION_ERRORS
from flowerapp.states import Status

_STATES = {
    Status.WAIT: states.PENDING,
    Status.RUNNING: states.STARTED,
    Status.SUSPEND: states.FAILURE,
    Status.FINISH: states.SUCCESS,
    Status.IGNORE: states.SUCCESS,
}


class FlowBackend(DatabaseBackend):  # type: ignore[misc] # the package has no types
    """Keeps no rows of its own."""

    def store_result(self, task_id: str, result: Any, state: str, **_: Any) -> Any:
        """The engine has recorded the outcome already."""
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        """What ``AsyncResult(id)`` shows, from the task's row."""
        ref = ref_of(task_id)
        task = Task.objects.at(ref).first() if ref else None
        if task is None:
            return {"status": states.PENDING, "result": None, "task_id": task_id, "traceback": None, "children": None}
        failed = {"exc_type": "FlowerError", "exc_message": [task.error]}
        return {
            "status": _STATES[task.status],
            "result": failed if task.failed else task.output,
            "task_id": task_id,
            "traceback": task.traceback or None,
            "date_done": task.finished_ts,
            "children": None,
        }

    def mark_as_failure(self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, **_: Any) -> None:
        """The pool lost the task's process, or killed it at its time limit: the engine decides what follows.

        What the engine has recorded, such as an error of the program, is only logged.
        """
        if reports.log_once(request, current_task) or (ref := ref_of(task_id)) is None:
            return
        if not identity.is_parent():
            Loss(ref, Process(identity.worker(), os.getpid()), exc, task_id).record()
            return
        process = Process(identity.worker(), getattr(request, "worker_pid", None))
        if isinstance(exc, TimeLimitExceeded):
            _record_at_once(Loss(ref, process, exc, task_id))
            return
        for lost in ids_of(task_id, process_table.read()):
            losses.add(Loss(ref_of(lost) or ref, process, exc, lost))

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **_: Any) -> None:
        """A cancelled task's process was stopped; its row says so already."""

    def mark_as_retry(self, *_: Any, **__: Any) -> None:
        """Retries wait in the database."""


def _record_at_once(loss: Loss) -> None:
    """Record now: once killed, the process would record an interruption."""
    try:
        loss.record()
    except CONNECTION_ERRORS:
        losses.add(loss)
    finally:
        connections.close_all()
