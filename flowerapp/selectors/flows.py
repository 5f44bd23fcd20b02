"""Flows, as admin, API and command line read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from django.db.models import Case, Count, F, When

from flowerapp.core import values
from flowerapp.exceptions import UnknownFlowError
from flowerapp.models import Flow, Task
from flowerapp.querysets import TaskQuerySet
from flowerapp.selectors import queues
from flowerapp.selectors.status_style import Style, flow_style
from flowerapp.states import IgnoredBy, Status

COLUMNS = (
    "task_flow_id",
    "task_id",
    "exec_status",
    "held",
    "task_priority",
    "registered_by",
    "registered_ts",
    "started_ts",
    "finished_ts",
    "suspended_ts",
)
"""Columns of a flow in a list."""
FAILED_COLUMNS = ("task_exec_seq", "task_seq", "program", "error")
"""Columns of the task that failed first."""


def get_flow(flow_id: str) -> Flow:
    """The flow; raises UnknownFlowError."""
    flow = Flow.objects.filter(pk=flow_id).first() if values.storable(flow_id) else None
    if flow is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    return flow


def output_of(flow: Flow) -> Any:
    """What an ended flow's last steps returned, with secrets masked; None of an open one."""
    return values.masked(flow.output) if flow.ended else None


def unserved_queues(flow: Flow) -> list[str]:
    """Queues that tasks of an open flow wait in and no worker serves."""
    return [] if flow.ended else queues.unserved(flow.pk)


def first_failures(flows: Iterable[Flow]) -> dict[str, Task]:
    """The task that failed first of each flow that has one, by flow; at most one statement."""
    flow_ids = [flow.pk for flow in flows if flow.failed_seq is not None]
    if not flow_ids:
        return {}
    tasks = Task.objects.filter(task_flow_id__in=flow_ids, task_exec_seq=F("task_flow__failed_seq")).order_by()
    return {task.task_flow_id: task for task in tasks.only("task_flow_id", *FAILED_COLUMNS)}


def failures(flow: Flow) -> TaskQuerySet:
    """Failed tasks to repair, the first first: not those that failed because a child of theirs did."""
    failed = Task.objects.filter(task_flow_id=flow.pk, exec_status=Status.SUSPEND)
    parents = failed.filter(parent_seq__isnull=False).values("parent_seq")
    return failed.exclude(task_exec_seq__in=parents).order_by("suspended_ts", "task_exec_seq")


def first_in_front(flow: Flow, tasks: Iterable[Task]) -> list[Task]:
    """Failed tasks of a flow with the one that failed first of all in front."""
    return sorted(tasks, key=lambda task: task.task_exec_seq != flow.failed_seq)


def tolerated_failures(flow_id: str) -> TaskQuerySet:
    """Children that failed without failing their parent, in order of seq."""
    return Task.objects.filter(task_flow_id=flow_id, ignored_by=IgnoredBy.TOLERATED)


def open_by_workflow(task_ids: Collection[str]) -> dict[str, Counter[tuple[Status, Style]]]:
    """Number of open flows of each of these workflows, by state and its style; one statement."""
    counts: dict[str, Counter[tuple[Status, Style]]] = {task_id: Counter() for task_id in task_ids}
    flows = Flow.objects.open().filter(task_id__in=task_ids).order_by()
    failed = Case(When(failed_seq__isnull=False, then=1))
    rows = flows.values("task_id", "exec_status", failed=failed).annotate(number=Count("pk"))
    for row in rows:
        style = flow_style(Flow(exec_status=row["exec_status"], failed_seq=row["failed"]))
        counts[row["task_id"]][Status(row["exec_status"]), style] += row["number"]
    return counts


def was_open(flow: Flow, key: str | None, caller: str) -> bool:
    """Whether ``engine.register`` returned the open flow of a unique workflow, and not that of the same request.

    ``key`` and ``caller`` are the idempotency key and the user of the request.
    """
    repeated = key is not None and (flow.idempotency_key, flow.registered_by) == (key, caller)
    return not flow.created and not repeated
