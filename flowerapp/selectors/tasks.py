"""Tasks, as admin, API and command line read them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Task
from flowerapp.selectors import queues
from flowerapp.selectors.durations import duration, spelled
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.status_style import ignored_reason
from flowerapp.states import SATISFIED, Status

COLUMNS = (
    "task_flow_id",
    "task_exec_seq",
    "depends_task_exec_seq",
    "depends_on",
    "task_id",
    "task_seq",
    "name",
    "program",
    "exec_status",
    "error",
    "traceback",
    "task_priority",
    "output",
    "max_retries",
    "retry_delay",
    "time_limit",
    "merge",
    "pool",
    "child_program",
    "max_concurrency",
    "exit_on_failed",
    "parent_seq",
    "child_index",
    "child_id",
    "children",
    "pending",
    "admitted",
    "attempt",
    "retries",
    "rescues",
    "run",
    "worker",
    "pid",
    "parked",
    "due_ts",
    "registered_ts",
    "started_ts",
    "finished_ts",
    "suspended_ts",
)
"""Columns of a task that API and command line show."""
ROW_COLUMNS = (
    "task_flow_id",
    "task_exec_seq",
    "task_id",
    "task_seq",
    "task_priority",
    "program",
    "exec_status",
    "ignored_by",
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
"""Columns that a line of a table of tasks is made of."""


def get_task(flow_id: str, seq: int) -> Task:
    """The task; raises UnknownFlowError or UnknownTaskError."""
    flow = get_flow(flow_id)
    task = flow.tasks.filter(task_exec_seq=seq).first() if abs(seq) < 2**31 else None
    if task is None:
        raise UnknownTaskError(f"flow {flow_id} has no task {seq}")
    return task


def queue_of(task: Task) -> str:
    """Name of the queue that a task goes to."""
    return queues.queue_of(task.program, task.queue)


def children_ended(status: int, children: int, pending: int) -> int:
    """How many of a task's ``children`` are Finish or Ignore: all with the task itself, else all but ``pending``."""
    return children if status in SATISFIED else max(0, children - pending)


def progress(task: Task) -> Any:
    """``{"done": …, "total": …}``: how many of a task's children have ended, or what its program reports."""
    if not task.children:
        return task.progress
    return {"done": children_ended(task.exec_status, task.children, task.pending), "total": task.children}


def note(task: Task) -> str:
    """What the word of a task's state does not say: a retry's delay, the program's progress, why it was skipped."""
    if task.status is Status.WAIT:
        return _waiting_note(task)
    if task.status is Status.RUNNING and isinstance(task.progress, dict):
        return f"{task.progress.get('done')} of {task.progress.get('total')}"
    return ignored_reason(task.ignored_by)


def _waiting_note(task: Task) -> str:
    if task.due_ts is not None:
        left = spelled(max(0.0, (task.due_ts - timezone.now()).total_seconds()))
        return f"retry {task.retries} in {left}" if task.retries else f"in {left}"
    return "parked" if task.parked and not task.children else ""


def duration_of(task: Task) -> str:
    """How long a task's last attempt took, or that of a parent together with its children; empty while it waits."""
    return duration(task, waits=task.status is Status.WAIT and not task.children)


def child_label(task: Task) -> str:
    """``child 3 of task 1``: what a child is to its parent, by its id; empty for a step."""
    if task.parent_seq is None:
        return ""
    name = str(task.child_id)
    return f"child {name if len(name) <= 40 else f'{name[:39]}…'} of task {task.parent_seq}"
