"""The result backend of program tasks: the task's row is the result, and the join's row is the chord's counter."""

from __future__ import annotations

import logging
from typing import Any

from celery import signature, states
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.worker import state as worker_state
from django_celery_results.backends.database import DatabaseBackend

from flowerapp import canvas, engine, identity
from flowerapp.models import Task
from flowerapp.states import Status

logger = logging.getLogger(__name__)

_STATES = {
    Status.WAIT: states.PENDING,
    Status.RUNNING: states.STARTED,
    Status.SUSPEND: states.FAILURE,
    Status.FINISH: states.SUCCESS,
    Status.IGNORE: states.SUCCESS,
}


class FlowBackend(DatabaseBackend):  # type: ignore[misc]
    """Keeps no rows of its own."""

    def store_result(self, task_id: str, result: Any, state: str, **_: Any) -> Any:  # type: ignore[override]
        """The engine has recorded the outcome already."""
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        """What ``AsyncResult(id)`` shows, from the task's row."""
        place = canvas.place_of(task_id)
        task = Task.objects.one(*place).first() if place else None
        if task is None:
            return {"status": states.PENDING, "result": None, "task_id": task_id, "traceback": None, "children": None}
        return {
            "status": _STATES[task.status],
            "result": task.output if task.status is not Status.SUSPEND else {"exc_type": "FlowerError", "exc_message": [task.error]},
            "task_id": task_id,
            "traceback": task.traceback or None,
            "date_done": task.finished_ts,
            "children": None,
        }

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Send the body; ``canvas.follow`` has taken it off all messages but the one whose finish released it."""
        if state == states.SUCCESS and request.chord:
            canvas.publish(signature(request.chord, app=self.app))

    def mark_as_failure(self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, **_: Any) -> None:  # type: ignore[override]
        """The pool lost the task's process, or killed it at its time limit: the engine decides what follows.

        Errors of programs don't come here; the engine has recorded them.
        """
        place = canvas.place_of(task_id)
        if place is None:
            return
        try:
            if isinstance(exc, TimeLimitExceeded):
                outcome = engine.timed_out(*place, *exc.args[:1], worker=identity.worker(), pid=_process_of(task_id))
            elif isinstance(exc, WorkerLostError):
                outcome = engine.lost(*place, str(exc), worker=identity.worker(), pid=_process_of(task_id))
            else:
                logger.error("flow %s task %s: %r", *place, exc)
                outcome = engine.lost(*place, repr(exc), worker=identity.worker(), pid=_process_of(task_id))
            canvas.send(outcome.released)
        except Exception:
            logger.exception("flow %s task %s: could not record %r; the watcher will mend it", *place, exc)

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **_: Any) -> None:  # type: ignore[override]
        """A cancelled task's process was stopped; its row says so already."""

    def mark_as_retry(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Retries wait in the database."""


def _process_of(task_id: str) -> int | None:
    """The pool process that ran a message; None if it is no longer known."""
    request = worker_state.requests.get(task_id)
    return getattr(request, "worker_pid", None)
