"""Limits: pools that tasks share, and the flows of a workflow that go on at once.

Each limit has a row. Whoever frees a place, or brings something that wants one, locks that row, counts what has a place
in a second statement, and lets the next in. Places are counted from live rows, so a crash leaks none.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from flowerapp.engine.sending import send_on_commit, send_released
from flowerapp.models import Flow, Pool, Task, Workflow


def admit(pools: Iterable[str]) -> int:
    """Give the free slots of these pools to the tasks whose turn it is, and send them; the number of tasks."""
    return sum(_admit_tasks(pool) for pool in sorted(pools))


def _admit_tasks(pool: str) -> int:
    if not Task.objects.waiting_for(pool).exists():
        return 0
    with transaction.atomic():
        slots = Pool.objects.slots(pool)
        free = slots - Task.objects.slots_held(pool)
        messages = Task.objects.admit(pool, free) if free > 0 else []
        send_on_commit(messages)
    return len(messages)


def admit_flows(task_id: str) -> int:
    """Let the flows of a workflow go on whose turn it is, and send their tasks; the number of flows."""
    if not Flow.objects.waiting().filter(task_id=task_id).exists():
        return 0
    with transaction.atomic():
        limit = Workflow.objects.limit(task_id)
        free = None if limit is None else limit - Flow.objects.active(task_id).count()
        admitted = Flow.objects.admit(task_id, free) if free is None or free > 0 else []
    for flow_id in admitted:
        pools = Task.objects.waiting_for().filter(task_flow_id=flow_id)
        admit(set(pools.order_by().values_list("pool", flat=True)))
        with transaction.atomic():
            send_released(flow_id)
    return len(admitted)


def admit_all() -> int:
    """Let in whatever a free place waits for: for the leader; the number of tasks and flows."""
    pools = Pool.objects.values_list("pk", flat=True)
    workflows = Flow.objects.waiting().order_by().values_list("task_id", flat=True).distinct()
    return sum(admit_flows(task_id) for task_id in list(workflows)) + admit(list(pools))
