"""How the tasks of a flow hang together: what follows from their states, and the locks to change it under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from flowerapp import conf, dispatch, graph
from flowerapp.engine.sending import send_released
from flowerapp.exceptions import UnknownFlowError
from flowerapp.models import Flow, Task
from flowerapp.states import OPEN


def lock(flow_id: str) -> tuple[Flow, list[Task]]:
    """All rows of a flow, locked in the one order: tasks by seq, then the flow."""
    tasks = Task.objects.for_update(flow_id)
    flow = Flow.objects.for_update(flow_id)
    if flow is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    return flow, tasks


def by_seq(tasks: Sequence[Task]) -> dict[int, Task]:
    """Tasks of one flow by their ``task_exec_seq``."""
    return {task.task_exec_seq: task for task in tasks}


def relink(tasks: Sequence[Task]) -> int:
    """Set what follows from the state of all tasks of a flow: pending, dependents and canvas of the open ones.

    Returns the number of open sinks.
    """
    named = by_seq(tasks)
    edges = {seq: [each for each in task.depends_on if each in named] for seq, task in named.items()}
    is_open = {seq for seq, task in named.items() if task.exec_status in OPEN}
    links = graph.links(edges, is_open)
    inner = {seq: [each for each in edges[seq] if each in is_open] for seq in is_open}
    runs = graph.runs(inner, conf.get().CHAIN_LENGTH)
    for seq in is_open:
        task, run = named[seq], runs.get(seq, graph.Run())
        task.pending = links.pending[seq]
        task.dependents = links.dependents[seq]
        join = named[run.join].link if run.join is not None else None
        task.canvas = dispatch.canvas_of([named[each].link for each in run.then], join)
    return links.sinks


def store_links(flow: Flow, tasks: Sequence[Task]) -> None:
    """Write what an operator's verb made of the tasks' links and the flow, and send what it released."""
    before = {task.pk: (task.pending, task.dependents, task.canvas) for task in tasks}
    open_sinks = relink(tasks)
    changed = [task for task in tasks if before[task.pk] != (task.pending, task.dependents, task.canvas)]
    Task.objects.bulk_update(changed, ["pending", "dependents", "canvas"], batch_size=500)
    Task.objects.filter(task_flow_id=flow.pk).forget_sent()
    failures = [(str(task.suspended_ts), task.task_exec_seq) for task in tasks if task.failed]
    Flow.objects.relinked(flow.pk, open_sinks, min(failures)[1] if failures else None)
    Flow.objects.settle(flow.pk)
    send_released(flow.pk)


def settle(flow_id: str) -> int:
    """Bring a flow's state in line with its tasks; 1 if it changed."""
    with transaction.atomic():
        return Flow.objects.settle(flow_id)


def database_now() -> Any:
    """The database's clock, which is the only one that counts."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT STATEMENT_TIMESTAMP()")
            return cursor.fetchone()[0]
    return timezone.now()
