"""Failures for good: a task is not started again unless a person reruns it, and its parent learns of it."""

from __future__ import annotations

from dataclasses import dataclass

from flowerapp.core.messages import TaskRef
from flowerapp.engine import children
from flowerapp.models import Flow, Task
from flowerapp.querysets import Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A task that fails for good."""

    ref: TaskRef
    parent_seq: int | None
    error: str
    traceback: str = ""
    attempt: int | None = None
    """The attempt that failed; None for a task that is rejected before it starts."""

    def fail(self) -> int:
        """Suspend the task; 0 if it has moved on."""
        if self.attempt is None:
            return Task.objects.reject(self.ref, self.error)
        return Task.objects.fail(self.ref, self.attempt, self.error, self.traceback)

    def tolerate(self) -> Completion | None:
        """Let its parent continue without it; None if it has moved on."""
        if self.attempt is None:
            return Task.objects.tolerate_rejection(self.ref, self.error)
        return Task.objects.tolerate_failure(self.ref, self.attempt, self.error, self.traceback)


def fail_for_good(failure: Failure) -> Completion | None:
    """Fail a task whose retries are spent; a child's failure fails its parent too, or is tolerated. In a transaction.

    None if the task has moved on.
    """
    ref, parent = failure.ref, None
    if failure.parent_seq is not None:
        parent_ref = TaskRef(ref.flow_id, failure.parent_seq)
        if not Task.objects.at(parent_ref).values_list("exit_on_failed", flat=True).get():
            return failure.tolerate()
        parent = Task.objects.family(parent_ref)[-1]
    if not failure.fail():
        return None
    if parent is not None:
        index = Task.objects.at(ref).values_list("child_index", flat=True).get()
        children.fail_parent(parent, f"child {index} (task {ref.seq}) failed: {failure.error}")
    Flow.objects.point_to_failure(ref.flow_id, ref.seq)
    return Completion(may_be_stuck=True)
