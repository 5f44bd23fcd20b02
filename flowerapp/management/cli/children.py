"""What is told of the children of a flow's steps."""

from __future__ import annotations

from django.db.models import Count, Q

from flowerapp.drawing import children_done
from flowerapp.models import Task
from flowerapp.models.flows import STOPPED
from flowerapp.querysets import TaskQuerySet
from flowerapp.states import Status

_ENDED_BY_ERROR = Q(exec_status=Status.IGNORE, output__isnull=True) & ~Q(error="") & ~Q(error__startswith=STOPPED)


def passed_over(flow_id: str) -> TaskQuerySet:
    """Children that failed without failing their parent, in order of seq."""
    return Task.objects.filter(_ENDED_BY_ERROR, task_flow_id=flow_id, parent_seq__isnull=False)


def failed_counts(flow_id: str) -> dict[int, int]:
    """How many children of each step failed, whether they were passed over or not."""
    failed = Q(exec_status=Status.SUSPEND) | _ENDED_BY_ERROR
    children = Task.objects.filter(failed, task_flow_id=flow_id, parent_seq__isnull=False).order_by()
    return dict(children.values_list("parent_seq").annotate(Count("pk")))


def told(done: int, total: int, failed: int) -> str:
    """``6 of 10 children, 1 failed``."""
    return f"{done:,} of {total:,} children" + (f", {failed:,} failed" if failed else "")


def progress(task: Task) -> object:
    """How many of a task's children have ended, or what its program told."""
    if not task.children:
        return task.progress
    return {"done": children_done(task.status, task.children, task.pending), "total": task.children}
