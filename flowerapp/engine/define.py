"""Define and delete workflows and pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from flowerapp.core import values
from flowerapp.core.plan import Plan, name_problems
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.register import pool_problems
from flowerapp.exceptions import (
    InvalidPlanError,
    Problem,
    StateConflictError,
    UnknownPoolError,
    UnknownWorkflowError,
)
from flowerapp.models import Pool, Task, TaskDefinition, Workflow
from flowerapp.querysets.definitions import HEADER
from flowerapp.states import OPEN


def define(
    task_id: str,
    rows: Sequence[TaskDefinition],
    header: Mapping[str, Any] | None = None,
    *,
    new: bool = False,
    source: str = "",
) -> Plan:
    """Replace a workflow's rows and settings by ``rows`` and ``header``; the checked plan.

    Flows that were registered keep theirs. ``header`` may have ``description``, ``max_active_flows``, ``unique`` and
    ``entrance``; ``source`` names the Python class that defines the workflow. ``new`` refuses a workflow that has rows.
    Raises InvalidPlanError, and StateConflictError where ``new`` meets a workflow, or ``source`` does not define it.
    """
    nodes = []
    before: int | None = None
    for row in sorted(rows, key=lambda row: row.task_seq):
        nodes.append(row.node(before))
        before = row.task_seq
    plan = Plan(task_id, tuple(nodes), **(header or {})).check()
    if problems := pool_problems(plan):
        raise InvalidPlanError(problems, task_id)
    with transaction.atomic():
        may_change(task_id, source)
        settings = {name: getattr(plan, name) for name in HEADER}
        Workflow.objects.update_or_create(task_id=task_id, defaults={**settings, "source": source})
        present = TaskDefinition.objects.filter(task_id=task_id)
        if new and present.exists():
            raise StateConflictError(f"workflow {task_id!r} exists; replace it, or take another task_id")
        present.delete()
        TaskDefinition.objects.bulk_create(rows, batch_size=500)
        transaction.on_commit(lambda: admit_flows(task_id), robust=True)
    return plan


def may_change(task_id: str, source: str = "") -> None:
    """Raise StateConflictError if others than ``source`` define the workflow: another Python class, or people."""
    header = Workflow.objects.select_for_update().filter(pk=task_id).values_list("source", flat=True)
    defined_by = header.first() or ""
    if defined_by == source:
        return
    if defined_by:
        raise StateConflictError(f"workflow {task_id!r} is defined by the class {defined_by}; change it there")
    if TaskDefinition.objects.filter(task_id=task_id).exists():
        raise StateConflictError(
            f"workflow {task_id!r} exists, and {source} does not define it; delete it, or take another task_id"
        )


def set_pool(name: str, slots: int, description: str = "", *, new: bool = False) -> Pool:
    """Make a pool, or change its slots: tasks that find room are admitted at once. 0 slots let none start.

    Raises InvalidPlanError for a name or number that cannot be, StateConflictError where ``new`` meets a pool.
    """
    problems = [Problem(message, field="name") for message in name_problems(name, "name")]
    if not 0 <= slots < 2**31:
        problems.append(Problem(f"slots {slots} is out of range; use 0 or more", field="slots"))
    if not values.storable(description):
        problems.append(Problem("description holds a character that cannot be stored", field="description"))
    if problems:
        raise InvalidPlanError(problems)
    with transaction.atomic():
        if new and Pool.objects.filter(pk=name).exists():
            raise StateConflictError(f"pool {name!r} exists; change it, or take another name")
        pool, _ = Pool.objects.update_or_create(name=name, defaults={"slots": slots, "description": description})
    admit({name})
    return pool


def delete_pool(name: str) -> None:
    """Delete a pool that no step and no open task names; raises UnknownPoolError, StateConflictError."""
    with transaction.atomic():
        if not Pool.objects.select_for_update().filter(pk=name).exists():
            raise UnknownPoolError(f"there is no pool {name!r}")
        steps = TaskDefinition.objects.filter(pool=name).values_list("task_id", flat=True).distinct()
        if named := list(steps[:5]):
            raise StateConflictError(f"pool {name!r} is named by steps of {', '.join(named)}; change them first")
        if Task.objects.filter(pool=name, exec_status__in=OPEN).exists():
            raise StateConflictError(f"tasks that have not ended name pool {name!r}; let them end first")
        Pool.objects.filter(pk=name).delete()


def undefine(task_id: str) -> None:
    """Delete a workflow's rows and header; its flows stay. A class that defines it stores it again.

    Raises UnknownWorkflowError.
    """
    with transaction.atomic():
        headers = Workflow.objects.filter(pk=task_id).delete()[0]
        if not TaskDefinition.objects.filter(task_id=task_id).delete()[0] and not headers:
            raise UnknownWorkflowError(f"there is no workflow {task_id!r}")
