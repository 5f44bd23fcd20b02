"""Flows, as admin, API and command line read them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from django.db.models import Aggregate, Case, Count, F, Max, Q, Sum, TextField, Value, When
from django.db.models.functions import MD5, Cast

from flowerapp.core import values
from flowerapp.core.passing import TooLarge
from flowerapp.exceptions import UnknownFlowError
from flowerapp.models import Flow, Task
from flowerapp.querysets import clock
from flowerapp.querysets.sizes import bytes_of
from flowerapp.selectors import queues
from flowerapp.selectors.short import complete, left_out, short_rows
from flowerapp.selectors.shown import rows
from flowerapp.selectors.status_style import Style, flow_style
from flowerapp.states import SATISFIED, IgnoredBy, Status

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
MOST_OUTPUT = 6 * 1024 * 1024
"""Bytes of JSON above which a flow's output is not read; SQLite keeps some characters in three times the bytes."""
VERSION_SECONDS = 10
"""How long an open page may show reasons to wait, which depend on other flows, while its own flow does not change."""
FAILED_COLUMNS = ("task_exec_seq", "task_seq", "name", "alias", "remote", "program", "error")
"""Columns of the task that failed first."""


def ended_before(days: float, most: int) -> list[str]:
    """Ids of flows that ended over ``days`` ago, the oldest first."""
    return list(Flow.objects.ended_before(days).values_list("pk", flat=True)[:most])


def shown_flows() -> Any:
    """All flows, as people may see them."""
    return rows(Flow.objects.all())


def get_flow(flow_id: str) -> Flow:
    """The flow as it is stored; raises UnknownFlowError."""
    flow = Flow.objects.filter(pk=flow_id).first() if values.storable(flow_id) else None
    if flow is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    return flow


def short_flows(*names: str) -> Any:
    """All flows for a list, as people may see them: without their values, except the small ones of ``names``."""
    return short_rows(Flow.objects.defer("input", "state", "source"), *names)


def output_of(flow: Flow) -> Any:
    """What an ended flow's last steps returned, with secrets masked; None of an open one.

    ``TooLarge`` where it is over ``MOST_OUTPUT`` bytes of JSON; then it is not read.
    """
    if not flow.ended:
        return None
    columns = (
        "task_flow_id",
        "task_exec_seq",
        "parent_seq",
        "program",
        "exec_status",
        "ignored_by",
        "output",
        "parameters",
    )
    lasts = flow.tasks.filter(task_exec_seq__in=flow.last_seqs(), exec_status__in=SATISFIED)
    lasts = lasts.order_by("task_seq", "task_exec_seq")
    size = _size_of(lasts)
    if size > MOST_OUTPUT:
        return TooLarge(size)
    page = list(rows(lasts.only(*columns)))
    complete(flow.pk, page, MOST_OUTPUT)
    large = sum(left_out(task).get("output", 0) for task in page)
    return TooLarge(large) if large else values.merge(list(map(_given, page)))


def _given(task: Task) -> Any:
    """What a task after it would see of its output: null only where a gate gives it or passes it on."""
    is_value = task.is_gate and (task.passes_on or not task.ignored_by)
    return task.output if task.output is not None or is_value else {}


def output_text(flow: Flow, write: Callable[[Any], str]) -> str:
    """The output of an ended flow as ``write`` writes it, or how large it is where it is not read."""
    output = output_of(flow)
    if isinstance(output, TooLarge):
        return f"{output.size:,} bytes, too large to be shown; each of the last tasks has its own"
    return write(output)


def _size_of(tasks: Any) -> int:
    """Bytes of JSON of the outputs of some tasks, or of their parameters, which are read for their secrets."""
    sizes = {name: Sum(bytes_of(name, MOST_OUTPUT)) for name in ("output", "parameters")}
    return max(size or 0 for size in tasks.order_by().aggregate(**sizes).values())


class _Joined(Aggregate):
    """Texts of all rows as one."""

    function = "STRING_AGG"
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """As SQLite names it."""
        return self.as_sql(compiler, connection, function="GROUP_CONCAT", **context)


def version(flow: Flow) -> str:
    """A text that changes when what people see of a flow does, and every ``VERSION_SECONDS``; one statement."""
    facts = flow.tasks.order_by().aggregate(
        *(Max(name) for name in ("started_ts", "finished_ts", "suspended_ts", "due_ts", "task_exec_seq")),
        *(Sum(name) for name in ("exec_status", "attempt", "retries", "pending", "rescues", "run", "task_priority")),
        progress=MD5(_Joined(Cast("progress", TextField()), Value(","), filter=Q(exec_status=Status.RUNNING))),
    )
    now = int(clock.about_now().timestamp() // VERSION_SECONDS)
    columns = [getattr(flow, name) for name in (*COLUMNS, "failed_seq", "admitted", "open_sinks", "state_version")]
    return hashlib.sha256(repr((now, columns, facts)).encode()).hexdigest()[:32]


def unserved_queues(flow: Flow) -> list[str]:
    """Queues that tasks of an open flow wait in and no worker serves."""
    return [] if flow.ended else queues.unserved(flow.pk)


def first_failures(flows: Iterable[Flow]) -> dict[str, Task]:
    """The task that failed first of each flow that has one, by flow; at most one statement."""
    flow_ids = [flow.pk for flow in flows if flow.failed_seq is not None]
    if not flow_ids:
        return {}
    tasks = Task.objects.filter(task_flow_id__in=flow_ids, task_exec_seq=F("task_flow__failed_seq")).order_by()
    return {task.task_flow_id: task for task in rows(tasks.only("task_flow_id", *FAILED_COLUMNS))}


def failures(flow: Flow) -> Any:
    """Failed tasks to repair, the first first: not those that failed because a child of theirs did."""
    failed = Task.objects.filter(task_flow_id=flow.pk, exec_status=Status.SUSPEND)
    parents = failed.filter(parent_seq__isnull=False).values("parent_seq")
    return rows(failed.exclude(task_exec_seq__in=parents).order_by("suspended_ts", "task_exec_seq"))


def first_in_front(flow: Flow, tasks: Iterable[Task]) -> list[Task]:
    """Failed tasks of a flow with the one that failed first of all in front."""
    return sorted(tasks, key=lambda task: task.task_exec_seq != flow.failed_seq)


def tolerated_failures(flow_id: str) -> Any:
    """Children that failed without failing their parent, in order of seq."""
    return rows(Task.objects.filter(task_flow_id=flow_id, ignored_by=IgnoredBy.TOLERATED))


def failed_children(task: Task) -> Any:
    """Children of a task that failed, those that it tolerates too, in order of seq."""
    failed = Q(exec_status=Status.SUSPEND) | Q(ignored_by=IgnoredBy.TOLERATED)
    children = Task.objects.filter(failed, task_flow_id=task.task_flow_id, parent_seq=task.task_exec_seq)
    return rows(children.order_by("task_exec_seq"))


def open_by_workflow(task_ids: Collection[str]) -> dict[str, Counter[tuple[Status, Style]]]:
    """Number of open flows of each of these workflows, by status and its style; one statement."""
    counts: dict[str, Counter[tuple[Status, Style]]] = {task_id: Counter() for task_id in task_ids}
    flows = Flow.objects.open().filter(task_id__in=task_ids).order_by()
    failed = Case(When(failed_seq__isnull=False, then=1))
    rows = flows.values("task_id", "exec_status", failed=failed).annotate(number=Count("pk"))
    for row in rows:
        style = flow_style(Flow(exec_status=row["exec_status"], failed_seq=row["failed"]))
        counts[row["task_id"]][Status(row["exec_status"]), style] += row["number"]
    return counts


def was_open(flow: Flow, key: str | None, caller: str) -> bool:
    """Whether ``engine.register`` returned the active flow of a unique workflow, and not that of the same request.

    ``key`` and ``caller`` are the idempotency key and the user of the request.
    """
    repeated = key is not None and (flow.idempotency_key, flow.registered_by) == (key, caller)
    return not flow.created and not repeated
