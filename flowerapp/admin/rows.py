"""Tables of tasks: one line each, with why it waits and how its children do, without a statement per line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q, QuerySet

from flowerapp import engine
from flowerapp.admin import show
from flowerapp.models import Task
from flowerapp.states import SATISFIED, Status

COLUMNS = (
    "task_flow_id",
    "task_exec_seq",
    "task_seq",
    "task_priority",
    "program",
    "exec_status",
    "depends_on",
    "pending",
    "attempt",
    "retries",
    "parked",
    "due_ts",
    "sent_ts",
    "started_ts",
    "finished_ts",
    "suspended_ts",
    "progress",
    "queue",
    "pool",
    "admitted",
    "parent_seq",
    "child_index",
    "child_id",
    "children",
)
"""What a line is made of."""


def task_rows(tasks: QuerySet[Task]) -> list[dict[str, Any]]:
    """Lines of a table of tasks of one flow."""
    listed = list(tasks.only(*COLUMNS))
    whys = engine.why_wait(listed)
    children = children_of(listed)
    return [task_row(task, whys.get(task.pk, ""), children.get(task.task_exec_seq)) for task in listed]


def task_row(task: Task, why: str = "", children: dict[str, Any] | None = None) -> dict[str, Any]:
    """One line of a table of tasks."""
    end = task.finished_ts or (task.suspended_ts if task.failed else None)
    ran = task.started_ts if task.status is not Status.WAIT or task.children else None
    return {
        "seq": task.task_exec_seq,
        "task_seq": task.task_seq,
        "child": show.child(task),
        "program": task.program or "not adopted yet",
        "badge": show.task_badge(task),
        "why": "" if children and task.pending else why,
        "children": children,
        "duration": show.duration(ran, end),
        "attempt": task.attempt,
        "retries": task.retries,
        "depends_on": ", ".join(map(str, task.depends_on[:10])) + (" …" if len(task.depends_on) > 10 else ""),
        "queue": task.queue,
        "pool": task.pool,
        "progress": task.progress,
        "url": show.task_url(task.pk),
        "failed": task.failed,
    }


def children_of(tasks: Iterable[Task]) -> dict[int, dict[str, Any]]:
    """How the children of these tasks of one flow do, by the seqs of the tasks that have some; one statement."""
    parents = [task for task in tasks if task.children]
    if not parents:
        return {}
    flow_id = parents[0].task_flow_id
    rows = Task.objects.filter(task_flow_id=flow_id, parent_seq__in=[task.task_exec_seq for task in parents])
    counts = {
        "total": Count("pk"),
        "ended": Count("pk", filter=Q(exec_status__in=SATISFIED)),
        "ignored": Count("pk", filter=Q(exec_status=Status.IGNORE)),
        "suspended": Count("pk", filter=Q(exec_status=Status.SUSPEND)),
    }
    counted = rows.order_by().values("parent_seq").annotate(**counts).values_list("parent_seq", *counts)
    return {parent: _summary(flow_id, parent, *numbers) for parent, *numbers in counted}


def _summary(flow_id: str, parent: int, total: int, ended: int, ignored: int, failed: int) -> dict[str, Any]:
    text = f"{ended - ignored:,} of {total:,} children done"
    text += f", {failed:,} failed" if failed else ""
    text += f", {ignored:,} ignored" if ignored else ""
    return {
        "url": show.tasks_url(flow_id, parent=parent),
        "bar": show.bar(ended, total, text),
        "failed": failed,
        "failed_url": show.tasks_url(flow_id, Status.SUSPEND, parent),
    }
