"""Limits: pools that tasks share, and the flows of a workflow that are active at once.

Each limit has a row. A process that gives a slot or place back, or adds a task or flow that needs one, locks that row,
counts what is taken in a second statement, and admits the next in line. What is taken is counted from the rows of tasks
and flows, so a crash cannot lose a slot.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowerapp.engine.dispatching import send_on_commit, send_released
from flowerapp.models import Flow, Pool, Task, Workflow
from flowerapp.querysets.db import atomic, retry_on_disconnect

MOST_FLOWS = 100
"""Most flows that one call admits; the leader admits the rest at its next looks."""


def admit(pools: Iterable[str]) -> int:
    """Give the free slots of these pools to the tasks that are next in line, and send them; the number of tasks."""
    return sum(_admit_tasks(pool) for pool in sorted(pools))


@retry_on_disconnect()
def _admit_tasks(pool: str) -> int:
    if not Task.objects.waiting_for(pool).exists():
        return 0
    with atomic():
        slots = Pool.objects.slots(pool)
        free = slots - Task.objects.slots_held(pool)
        messages = Task.objects.admit(pool, free) if free > 0 else []
        send_on_commit(messages)
    return len(messages)


@retry_on_disconnect()
def admit_flows(task_id: str) -> int:
    """Admit the flows of a workflow that are next in line, and send their tasks; the number of flows."""
    if not Flow.objects.waiting().filter(task_id=task_id).exists():
        return 0
    with atomic():
        limit = Workflow.objects.limit(task_id)
        free = MOST_FLOWS if limit is None else min(MOST_FLOWS, limit - Flow.objects.active(task_id).count())
        admitted = Flow.objects.admit(task_id, free) if free > 0 else []
    for flow_id in admitted:
        pools = Task.objects.waiting_for().filter(task_flow_id=flow_id)
        admit(set(pools.order_by().values_list("pool", flat=True)))
        with atomic():
            send_released(flow_id)
    return len(admitted)


def admit_all() -> int:
    """Admit whatever a free place waits for: for the leader; the number of tasks and flows."""
    pools = Pool.objects.values_list("pk", flat=True)
    workflows = Flow.objects.waiting().order_by().values_list("task_id", flat=True).distinct()
    return sum(admit_flows(task_id) for task_id in list(workflows)) + admit(list(pools))
