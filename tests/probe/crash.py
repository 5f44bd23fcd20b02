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

from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.executors.celery.routes import ref_of
from flowerapp.querysets import Claim, Completion, Success, TaskQuerySet

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
    """That the process that comes to a step of a task stops there."""

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
        files = list(self.file.parent.glob(f"{self.file.name}.*"))
        return int(files[0].suffix[1:]) if files else None


def install(directory: Path) -> None:
    """From now on, this process and those that it forks heed the wishes in ``directory``."""
    current = threading.local()

    def reach(step: Step, ref: TaskRef | None) -> None:
        if ref is not None and Wish(directory, *ref, step).take():
            threading.Event().wait()

    claim, finish = TaskQuerySet.claim, TaskQuerySet.finish

    def claim_and_stop(self: TaskQuerySet, ref: TaskRef, process: Process, *, sent: bool = True) -> Claim | None:
        claimed = claim(self, ref, process, sent=sent)
        if claimed is not None:
            current.ref = ref
            reach(Step.CLAIMED, ref)
        return claimed

    def finish_and_stop(self: TaskQuerySet, success: Success) -> Completion | None:
        current.ref = success.ref
        reach(Step.PERFORMED, success.ref)
        completion = finish(self, success)
        reach(Step.FINISHED, success.ref)
        if completion is not None and completion.claimed is not None:
            reach(Step.CLAIMED, completion.claimed.ref)
        return completion

    def on_publish(**_: Any) -> None:
        reach(Step.SENDING, getattr(current, "ref", None))

    def on_published(**_: Any) -> None:
        reach(Step.SENT, getattr(current, "ref", None))

    def on_end(task_id: str = "", **_: Any) -> None:
        reach(Step.DONE, ref_of(task_id))

    TaskQuerySet.claim = claim_and_stop  # type: ignore[method-assign, assignment]
    TaskQuerySet.finish = finish_and_stop  # type: ignore[method-assign, assignment]
    signals.before_task_publish.connect(on_publish, weak=False, dispatch_uid="probe.crash.publish")
    signals.after_task_publish.connect(on_published, weak=False, dispatch_uid="probe.crash.published")
    signals.task_postrun.connect(on_end, weak=False, dispatch_uid="probe.crash.end")
