"""Tasks that rows of events and latches name: who waits, and who holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowerapp.core.messages import TaskRef
from flowerapp.models import Task

MOST_TASKS = 100
"""Tasks that are listed."""


@dataclass(frozen=True, slots=True)
class NamedTask:
    """A task that holds a latch, or waits for it or for an event."""

    ref: TaskRef
    task: Task | None
    """None where its flow was deleted."""
    since: datetime

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "task_flow_id": self.ref.flow_id,
            "task_id": self.task.task_id if self.task else "",
            "task_exec_seq": self.ref.seq,
            "name": self.task.label if self.task else "",
            "ts": self.since,
        }


def named_tasks(rows: Iterable[Any]) -> list[NamedTask]:
    """The tasks of rows that name them; two statements."""
    listed = [(TaskRef(row.task_flow_id, row.task_exec_seq), row.ts) for row in rows]
    keys = Task.objects.keys_of(ref for ref, _ in listed)
    columns = ("task_flow_id", "task_exec_seq", "task_id", "name", "alias", "remote", "program")
    tasks = {task.ref: task for task in Task.objects.filter(pk__in=keys).only(*columns)}
    return [NamedTask(ref, tasks.get(ref), since) for ref, since in listed]
