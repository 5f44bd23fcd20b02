"""Stops a process at a chosen step of a task's life, so that a test may kill it exactly there.

A test wishes for it with a file, which is renamed when the step is reached: each wish holds one process, once.
"""

from __future__ import annotations

import os
import threading
from enum import Enum
from pathlib import Path
from typing import Any

from celery import signals

from flowerapp.canvas import place_of
from flowerapp.querysets import TaskQuerySet

VARIABLE = "FLOWER_PROBE_CRASH"
"""Environment variable with the directory of the wishes."""


class Step(Enum):
    """Where a process is stopped."""

    CLAIMED = "after the claim"
    """Running is committed, the program not called."""
    PERFORMED = "after the program"
    """The outcome is not recorded."""
    FINISHED = "after the finish"
    """Finish is committed, nothing sent."""
    SENDING = "before the send"
    """In Celery, with the first message for a follower in hand."""
    SENT = "between two sends"
    """The first message is in the broker."""
    DONE = "before the ack"
    """The Celery task is over, its message not acknowledged."""


class Wish:
    """That whoever comes to a step of a task stops there."""

    def __init__(self, directory: Path, flow_id: str, seq: int, step: Step) -> None:
        self.file = directory / f"{flow_id}.{seq}.{step.name}"

    def make(self) -> None:
        """Write it down, before the step can be reached."""
        self.file.touch()

    def take(self) -> bool:
        """Whether this process is the one that is to stop."""
        try:
            self.file.rename(f"{self.file}.{os.getpid()}")
        except FileNotFoundError:
            return False
        return True

    @property
    def pid(self) -> int | None:
        """The process that has stopped there."""
        found = list(self.file.parent.glob(f"{self.file.name}.*"))
        return int(found[0].suffix[1:]) if found else None


def install(directory: Path) -> None:
    """From now on, this process and those that it forks heed the wishes in ``directory``."""
    current = threading.local()

    def reach(step: Step, place: tuple[str, int] | None) -> None:
        if place is not None and Wish(directory, *place, step).take():
            threading.Event().wait()

    claim, finish = TaskQuerySet.claim, TaskQuerySet.finish

    def claim_and_stop(self: Any, flow_id: str, seq: int, *args: Any, **options: Any) -> Any:
        claimed = claim(self, flow_id, seq, *args, **options)
        if claimed is not None:
            current.place = flow_id, seq
            reach(Step.CLAIMED, current.place)
        return claimed

    def finish_and_stop(self: Any, flow_id: str, seq: int, *args: Any, **options: Any) -> Any:
        current.place = flow_id, seq
        reach(Step.PERFORMED, current.place)
        done = finish(self, flow_id, seq, *args, **options)
        reach(Step.FINISHED, current.place)
        if done is not None and done.claimed is not None:
            reach(Step.CLAIMED, (flow_id, done.claimed.seq))
        return done

    def on_publish(**_: Any) -> None:
        reach(Step.SENDING, getattr(current, "place", None))

    def on_published(**_: Any) -> None:
        reach(Step.SENT, getattr(current, "place", None))

    def on_end(task_id: str = "", **_: Any) -> None:
        reach(Step.DONE, place_of(task_id))

    TaskQuerySet.claim = claim_and_stop  # type: ignore[method-assign]
    TaskQuerySet.finish = finish_and_stop  # type: ignore[method-assign]
    signals.before_task_publish.connect(on_publish, weak=False, dispatch_uid="probe.crash.publish")
    signals.after_task_publish.connect(on_published, weak=False, dispatch_uid="probe.crash.published")
    signals.task_postrun.connect(on_end, weak=False, dispatch_uid="probe.crash.end")
