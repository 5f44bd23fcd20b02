"""Start children for whom there is room: a finish skips a sibling that is locked at that moment."""

from __future__ import annotations

from django.db.models import Exists, OuterRef

from flowerapp.core.messages import TaskRef
from flowerapp.engine import propagation
from flowerapp.models import Task
from flowerapp.querysets.db import each_isolated
from flowerapp.states import Status
from flowerapp.watcher.pages import Pages


class StartChildren:
    """Pages through the parents with children that wait."""

    def __init__(self) -> None:
        self.pages = Pages()

    def __call__(self) -> int:
        """One page of parents; the number of children."""
        waiting = Task.objects.filter(task_flow_id=OuterRef("task_flow_id"), parent_seq=OuterRef("task_exec_seq"))
        waiting = waiting.filter(exec_status=Status.WAIT, pending__gt=0)
        parents = Task.objects.parents().filter(Exists(waiting))
        rows = self.pages.next(parents, "task_flow_id", "task_exec_seq", "task_id")
        return each_isolated(rows, lambda row: propagation.start_next_children(TaskRef(*row[1:3]), row[3]))
