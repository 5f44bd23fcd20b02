"""Tasks, as admin, API and command line read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Case, Q, Sum, When

from flowerapp.core.caching import WHOLE
from flowerapp.core.gates import DELAY
from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Task
from flowerapp.querysets import clock
from flowerapp.querysets.sizes import bytes_of
from flowerapp.selectors import counts, queues
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import seconds_of, spelled
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.short import complete, short_rows
from flowerapp.selectors.shown import rows, shown
from flowerapp.selectors.status_style import Style, ignored_reason, task_style, waited_for
from flowerapp.states import IgnoredBy, RefusedBy, Status

MOST_WHOLE = 6 * 1024 * 1024
"""Bytes of JSON above which an output that is put together from several is not read."""
MOST_CONDITION = 60
"""Characters of a condition that a note quotes."""
COLUMNS = (
    "task_flow_id",
    "task_exec_seq",
    "depends_task_exec_seq",
    "depends_on",
    "task_id",
    "task_seq",
    "name",
    "alias",
    "remote",
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
    "when",
    "cache_key",
    "cache_seconds",
    "cache_scope",
    "cached_from",
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
    "name",
    "alias",
    "remote",
    "program",
    "exec_status",
    "ignored_by",
    "when",
    "depends_on",
    "pending",
    "attempt",
    "retries",
    "parked",
    "awaits_output",
    "cached_from",
    "due_ts",
    "sent_ts",
    "refused_ts",
    "refused_by",
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


def shown_tasks(flow_id: str) -> Any:
    """The tasks of a flow, as people may see them."""
    return rows(Task.objects.filter(task_flow_id=flow_id))


def short_tasks(flow_id: str) -> Any:
    """The tasks of a flow for a list, as people may see them; ``short.complete`` adds what a page of them lacks."""
    return short_rows(
        Task.objects.filter(task_flow_id=flow_id),
        *("parameters", "item", "output", "progress", "child_id", "error", "traceback"),
    )


def by_urgency(tasks: Any) -> Any:
    """Tasks to look at first in front: failed ones, running ones, ready ones, those that wait, and those that ended."""
    is_ready = Q(exec_status=Status.WAIT, pending=0)
    ranks = {Status.SUSPEND: 0, Status.RUNNING: 1, Status.WAIT: 3}
    urgent = [When(exec_status=status, then=rank) for status, rank in ranks.items()]
    return tasks.order_by(Case(When(is_ready, then=2), *urgent, default=4), "task_exec_seq")


def size_of_input(task: Task) -> int:
    """Bytes of JSON of the outputs that the input of a step is made of."""
    before = Task.objects.filter(task_flow_id=task.task_flow_id, task_exec_seq__in=task.depends_on)
    return before.aggregate(size=Sum(bytes_of("output", MOST_WHOLE)))["size"] or 0


def get_task(flow_id: str, seq: int) -> Task:
    """The task as it is stored; raises UnknownFlowError or UnknownTaskError."""
    flow = get_flow(flow_id)
    task = flow.tasks.filter(task_exec_seq=seq).first() if abs(seq) < 2**31 else None
    if task is None:
        raise UnknownTaskError(f"flow {flow_id} has no task {seq}")
    return task


def whole_task(flow_id: str, seq: int) -> Task:
    """A task with all its values, as people may see it; raises as ``get_task`` does."""
    task = shown(get_task(flow_id, seq))
    complete(flow_id, [task], MOST_WHOLE)
    return task


def is_parked(task: Task) -> bool:
    """Whether a task waits for a time, an event, a person or its children; a gate, and a wait that has not begun, is
    only stored as if it did."""
    return task.has_begun_to_wait or (task.parked and not task.is_gate and not task.is_remote)


def style_of(task: Task) -> Style:
    """Looks of a task's status."""
    return task_style(task.exec_status, task.ignored_by, begun=task.has_begun_to_wait)


def due_name(task: Task) -> str:
    """What the time is called at which a task is due."""
    if not task.has_begun_to_wait:
        return "Not before"
    return "Ends at" if task.program == DELAY else "Fails at"


def queue_of(task: Task) -> str:
    """Name of the queue that a task goes to."""
    return queues.queue_of(task.program, task.queue)


def program_text(task: Task) -> str:
    """The program of a task; of one without, what does its work: another system, or what adopts the row."""
    if task.is_remote:
        return f"remote: {task.remote}"
    return task.program or ("not adopted yet" if task.status is Status.WAIT else "none: another system's task")


def children_of(page: Iterable[Task]) -> dict[int, Counts]:
    """Counts of the children of these tasks of one flow, by the seqs of those that have some; at most one statement."""
    parents = [task for task in page if task.children]
    return counts.of_children(parents[0].task_flow_id, [task.task_exec_seq for task in parents]) if parents else {}


def progress(task: Task, children: Counts | None) -> Any:
    """``{"done": …, "total": …}``: how many of a task's ``children`` are Finish, or what its program reports."""
    return {"done": children.done, "total": children.total} if children else task.progress


def progress_text(reported: Any) -> str:
    """``3 of 10``, or the state that a Celery task of the host reports; empty where nothing was reported."""
    if not isinstance(reported, dict):
        return ""
    if "total" in reported:
        return f"{reported.get('done')} of {reported['total']}"
    return str(reported.get("state") or "")


def note(task: Task, children: Counts | None = None) -> str:
    """What the word of a task's status does not say: how many of its ``children`` are done, a retry's delay, ….

    Or the program's progress, or why it was skipped.
    """
    if children:
        return children.children_text
    if task.status is Status.WAIT:
        return _waiting_note(task)
    if task.status is Status.RUNNING:
        return progress_text(task.progress) or ("" if task.program else "by another system")
    if task.cached_from is not None:
        return "cached"
    return _condition_note(task) if task.ignored_by == IgnoredBy.CONDITION else ignored_reason(task.ignored_by)


def _condition_note(task: Task) -> str:
    """What was false. A task that is skipped with its subflow still waited for the tasks before it."""
    if task.pending:
        return "the condition of its subflow is false"
    line = " ".join(task.when.split())
    return f"its condition {line if len(line) <= MOST_CONDITION else line[: MOST_CONDITION - 1] + '…'} is false"


def _waiting_note(task: Task) -> str:
    if task.is_refused:
        return "cannot be published" if task.refused_by == RefusedBy.EXECUTOR else "program unknown"
    if task.awaits_answer and task.due_ts is None:
        return "remote"
    if task.awaits_output:
        return "awaits a cached output"
    left = "" if task.due_ts is None else spelled(max(0.0, (task.due_ts - clock.about_now()).total_seconds()))
    if task.has_begun_to_wait:
        what = "" if task.program == DELAY else waited_for(task.program)
        return ", ".join(filter(None, [what, left and f"{left} left"]))
    if left:
        return f"retry {task.retries} in {left}" if task.retries else f"in {left}"
    return "parked" if is_parked(task) and not task.children else ""


def cache_text(task: Task) -> str:
    """For how long the output of a task is kept, by what key, and for whom; empty if it is not."""
    if not task.cache_seconds:
        return ""
    key = "the whole input" if task.cache_key in WHOLE else f"key {task.cache_key}"
    return f"{spelled(task.cache_seconds)} by {key}, {task.cache_scope}"


def source_text(task: Task) -> str:
    """The task whose stored output this one took; empty if it took none."""
    source = task.cached_from
    return f"task {source['seq']} of flow {source['flow_id']}" if isinstance(source, dict) else ""


def duration_of(task: Task) -> str:
    """How long a task's last attempt took, or that of a parent together with its children; empty while it waits."""
    return spelled(seconds_of_attempt(task))


def seconds_of_attempt(task: Task) -> float | None:
    """The same in seconds; None while it waits, unless that is what it does."""
    rests = task.status is Status.WAIT and not task.children and not task.has_begun_to_wait
    return None if rests else seconds_of(task)
