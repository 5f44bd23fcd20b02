"""Tables of tasks: one line each, with why it waits and the state of its children, without a statement per line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from flowerapp.admin import html
from flowerapp.models import Task
from flowerapp.selectors import tasks as task_reads
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.naming import child_label, with_parents
from flowerapp.selectors.tasks import ROW_COLUMNS, duration_of, program_text
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status


def task_rows(tasks: QuerySet[Task]) -> list[dict[str, Any]]:
    """Lines of a table of tasks of one flow."""
    listed = list(tasks.only(*ROW_COLUMNS))
    reasons = wait_reasons(listed)
    with_parents(listed)
    children = children_of(listed)
    return [task_row(task, reasons.get(task.pk, ""), children.get(task.task_exec_seq)) for task in listed]


def task_row(task: Task, reason: str = "", children: dict[str, Any] | None = None) -> dict[str, Any]:
    """One line of a table of tasks."""
    return {
        "seq": task.task_exec_seq,
        "title": task.own_title,
        "task_seq": task.task_seq,
        "child": child_label(task),
        "program": program_text(task),
        "badge": html.task_badge(task),
        "why": reason,
        "children": children,
        "duration": html.elapsed(task, duration_of(task)),
        "attempt": task.attempt,
        "depends_on": ", ".join(map(str, task.depends_on[:10])) + (" …" if len(task.depends_on) > 10 else ""),
        "queue": task.queue,
        "pool": task.pool,
        "url": html.task_url(task.pk),
        "failed": task.failed,
    }


def children_of(tasks: Iterable[Task]) -> dict[int, dict[str, Any]]:
    """State of the children of these tasks of one flow, by the seqs of the tasks that have some; one statement."""
    listed = list(tasks)
    counted = task_reads.children_of(listed)
    return {seq: _summary(listed[0].task_flow_id, seq, numbers) for seq, numbers in counted.items()}


def _summary(flow_id: str, parent: int, numbers: Counts) -> dict[str, Any]:
    return {
        "url": html.tasks_url(flow_id, parent=parent),
        "bar": html.bar(numbers.done, numbers.total, numbers.children_text),
        "failed": numbers.failed,
        "failed_url": html.tasks_url(flow_id, Status.SUSPEND, parent),
    }
