"""The result backend of program tasks: the task's row is the result, and the join's row is the chord's counter."""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import dataclass
from typing import Any

from celery import signature, states
from celery.exceptions import TimeLimitExceeded
from django.db import connection
from django_celery_results.backends.database import DatabaseBackend

from flowerapp import canvas, engine, identity, slices
from flowerapp.models import Task
from flowerapp.querysets.steady import AWAY
from flowerapp.states import Status

logger = logging.getLogger(__name__)

_STATES = {
    Status.WAIT: states.PENDING,
    Status.RUNNING: states.STARTED,
    Status.SUSPEND: states.FAILURE,
    Status.FINISH: states.SUCCESS,
    Status.IGNORE: states.SUCCESS,
}


@dataclass(frozen=True, slots=True)
class Loss:
    """A process that ended with an attempt, and how."""

    flow_id: str
    seq: int
    worker: str
    pid: int | None
    error: Exception

    def record(self) -> None:
        """Tell the engine, and send what follows."""
        place, worker, pid = (self.flow_id, self.seq), self.worker, self.pid
        if isinstance(self.error, TimeLimitExceeded):
            outcome = engine.timed_out(*place, float(self.error.args[0]), worker=worker, pid=pid)
        else:
            outcome = engine.lost(*place, f"its process was lost: {self.error}", worker=worker, pid=pid)
        engine.send(outcome.released)
        following = None if pid in (None, os.getpid()) else Task.objects.claimed_by(*place, worker, pid)
        if following is not None and (following.flow_id, following.seq) not in unrecorded():
            # claimed by the finish, a moment before the end
            Loss(following.flow_id, following.seq, worker, pid, self.error).record()


_losses: deque[Loss] = deque()
"""What the parent was told of its pool and its keeper has not recorded yet."""
os.register_at_fork(after_in_child=_losses.clear)


def unrecorded() -> set[tuple[str, int]]:
    """Flow and seq of the tasks whose process ended and whose end is still to be recorded."""
    return {(loss.flow_id, loss.seq) for loss in list(_losses)}


def record_lost() -> None:
    """Record the ends of processes that are not recorded yet; raises while the database is away.

    For one thread of the parent; its event loop should not wait for the database.
    """
    while _losses:
        try:
            _losses[0].record()
        except AWAY:
            raise
        except Exception:
            logger.exception("could not record %s; it will be rescued", _losses[0])
        _losses.popleft()


class FlowBackend(DatabaseBackend):  # type: ignore[misc] # the package has no types
    """Keeps no rows of its own."""

    def store_result(self, task_id: str, result: Any, state: str, **_: Any) -> Any:
        """The engine has recorded the outcome already."""
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        """What ``AsyncResult(id)`` shows, from the task's row."""
        place = canvas.place_of(task_id)
        task = Task.objects.one(*place).first() if place else None
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

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Send the body; ``canvas.follow`` has taken it off all messages but the one whose finish released it."""
        if state == states.SUCCESS and request.chord:
            canvas.publish(signature(request.chord, app=self.app))

    def mark_as_failure(self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, **_: Any) -> None:
        """The pool lost the task's process, or killed it at its time limit: the engine decides what follows.

        Errors of programs don't come here; the engine has recorded them.
        """
        if (place := canvas.place_of(task_id)) is None:
            return
        if not identity.is_parent():
            Loss(*place, identity.worker(), os.getpid(), exc).record()
            return
        pid = getattr(request, "worker_pid", None)
        if not isinstance(exc, TimeLimitExceeded):
            places = slices.places_of(task_id, slices.marks.read())
            _losses.extend(Loss(*each, identity.worker(), pid, exc) for each in places)
            return
        loss = Loss(*place, identity.worker(), pid, exc)
        try:  # at once, because the process is killed next, and would call it an interruption
            loss.record()
        except AWAY:
            _losses.append(loss)
        finally:
            connection.close()

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **_: Any) -> None:
        """A cancelled task's process was stopped; its row says so already."""

    def mark_as_retry(self, *_: Any, **__: Any) -> None:
        """Retries wait in the database."""
