"""Processes that ended with an attempt: noticed by the worker's parent, recorded by its supervisor."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

from celery.exceptions import TimeLimitExceeded

from flowerapp.core import logs
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import recovery
from flowerapp.executors.celery import reports, stopping
from flowerapp.models import Task
from flowerapp.querysets.db import CONNECTION_ERRORS

logger = logs.logger(__name__)


@dataclass(frozen=True, slots=True)
class Loss:
    """A process that ended with an attempt, and how."""

    ref: TaskRef
    process: Process
    error: Exception
    celery_id: str = ""
    """Celery's id of the task, as monitors know it; empty if they do not know it yet."""

    def record(self) -> None:
        """Let the engine record it, and send what follows."""
        if stopping.asked():
            outcome = recovery.hand_back(self.ref, f"its worker stops: {self.error}", self.process)
        elif isinstance(self.error, TimeLimitExceeded):
            outcome = recovery.record_timeout(self.ref, float(self.error.args[0]), self.process)
        else:
            outcome = recovery.record_lost(self.ref, f"its process was lost: {self.error}", self.process)
        with reports.about(self.celery_id):
            recovery.conclude(outcome)
        following = None if self.process.pid in (None, os.getpid()) else Task.objects.claimed_by(self.ref, self.process)
        if following is not None and following.ref not in unrecorded():
            # claimed by the finish, a moment before the end
            Loss(following.ref, self.process, self.error).record()


_losses: deque[Loss] = deque()
"""Losses that the parent has noticed and its supervisor has not recorded yet."""
os.register_at_fork(after_in_child=_losses.clear)


def add(loss: Loss) -> None:
    """Leave a loss to the supervisor: the parent's event loop should not wait for the database."""
    _losses.append(loss)


def unrecorded() -> set[TaskRef]:
    """The tasks whose process ended and whose end is still to be recorded."""
    return {loss.ref for loss in list(_losses)}


def record_all() -> None:
    """Record the ends of processes that are not recorded yet; raises while the database is unreachable.

    For one thread of the parent.
    """
    while _losses:
        try:
            _losses[0].record()
        except CONNECTION_ERRORS:
            raise
        except Exception:
            logger.exception("could not record %s; it will be rescued", _losses[0])
        _losses.popleft()
