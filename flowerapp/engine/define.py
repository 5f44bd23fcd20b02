"""Define and delete workflows and pools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowerapp.core import values
from flowerapp.core.masking import masked
from flowerapp.core.names import name_problems, text_problems
from flowerapp.core.plan import Plan
from flowerapp.core.unmasking import holds_mask, unmasked
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.registration import pool_problems
from flowerapp.exceptions import (
    InvalidPlanError,
    Problem,
    StateConflictError,
    UnknownPoolError,
    UnknownWorkflowError,
)
from flowerapp.models import Pool, Task, TaskDefinition, Workflow
from flowerapp.querysets.db import atomic, on_commit
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

    Flows that were registered keep theirs. ``header`` may have ``description``, ``max_active_flows``, ``unique``,
    ``entrance``, ``start_event`` and ``start_match``; ``source`` names the Python class that defines the workflow.
    ``new`` refuses a workflow that has rows.
    A value ``••••`` keeps the one that the step of the same ``task_seq`` has stored; a class cannot say so.
    Raises InvalidPlanError, and StateConflictError where ``new`` meets a workflow, or ``source`` does not define it.
    """
    with atomic():
        _keep_stored(rows, _stored(task_id), masks=not source)
        plan = _checked(task_id, rows, _with_stored_match(task_id, header or {}))
        may_change(task_id, source)
        settings = {name: getattr(plan, name) for name in HEADER}
        Workflow.objects.update_or_create(task_id=task_id, defaults={**settings, "source": source})
        present = TaskDefinition.objects.filter(task_id=task_id)
        if new and present.exists():
            raise StateConflictError(f"workflow {task_id!r} exists; replace it, or take another task_id")
        present.delete()
        TaskDefinition.objects.bulk_create(rows, batch_size=500)
        on_commit(lambda: admit_flows(task_id))
    return plan


def _stored(task_id: str) -> list[TaskDefinition]:
    """The rows of a workflow as they are now, its header locked, so that none is replaced meanwhile. In a
    transaction."""
    if not values.storable(task_id):
        return []
    Workflow.objects.limit(task_id)
    return list(TaskDefinition.objects.filter(task_id=task_id))


def _with_stored_match(task_id: str, header: Mapping[str, Any]) -> Mapping[str, Any]:
    """The header, with what is stored in place of masks in the match of its events."""
    if not holds_mask(header.get("start_match")) or not values.storable(task_id):
        return header
    stored = Workflow.objects.filter(pk=task_id).values_list("start_match", flat=True).first()
    return {**header, "start_match": unmasked(header["start_match"], stored)}


def _checked(task_id: str, rows: Sequence[TaskDefinition], header: Mapping[str, Any]) -> Plan:
    """The plan of rows; raises InvalidPlanError."""
    nodes = []
    before: int | None = None
    for row in sorted(rows, key=lambda row: row.task_seq):
        nodes.append(row.node(before))
        before = row.task_seq
    plan = Plan(task_id, tuple(nodes), **header).check()
    if problems := pool_problems(plan):
        raise InvalidPlanError(problems, task_id)
    return plan


def _keep_stored(rows: Sequence[TaskDefinition], stored: Sequence[TaskDefinition], *, masks: bool) -> None:
    """Give rows what those of the same ``task_seq`` have stored: values for masks, and the same columns."""
    by_seq = {row.task_seq: row for row in stored}
    with_masks = [row for row in rows if row.task_seq in by_seq and holds_mask(row.all_parameters)] if masks else []
    moved = _moved(with_masks, stored) if with_masks else set()
    for row in with_masks:
        if row.task_seq not in moved:
            row.set_parameters(unmasked(row.all_parameters, by_seq[row.task_seq].all_parameters))
    for row in rows:
        if earlier := by_seq.get(row.task_seq):
            row.keep_columns(earlier)


def _moved(rows: Iterable[TaskDefinition], stored: Sequence[TaskDefinition]) -> set[int]:
    """``task_seq`` of the rows that are stored steps of other numbers, by their names or by all that shows of them."""
    names = {row.name: {row.task_seq} for row in stored if row.name}
    looks: dict[str, set[int]] = {}
    for row in stored:
        looks.setdefault(_look(row, masked(row.all_parameters)), set()).add(row.task_seq)
    return {
        row.task_seq
        for row in rows
        if row.task_seq not in (names.get(row.name) or looks.get(_look(row, row.all_parameters)) or {row.task_seq})
    }


def _look(row: TaskDefinition, parameters: Mapping[str, Any]) -> str:
    return json.dumps([row.program, parameters], sort_keys=True, default=str)


def may_change(task_id: str, source: str = "") -> None:
    """Raise StateConflictError if others than ``source`` define the workflow: another Python class, or people."""
    has_rows = bool(source) and TaskDefinition.objects.filter(task_id=task_id).exists()
    header = Workflow.objects.select_for_update().filter(pk=task_id).values_list("source", flat=True)
    defined_by = header.first() or ""  # read after the rows: who writes both at once is seen with both
    if defined_by == source:
        return
    if defined_by:
        raise StateConflictError(f"workflow {task_id!r} is defined by the class {defined_by}; change it there")
    if has_rows:
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
    problems += [Problem(message, field="description") for message in text_problems(description, "description")]
    if problems:
        raise InvalidPlanError(problems)
    with atomic():
        if new and Pool.objects.filter(pk=name).exists():
            raise StateConflictError(f"pool {name!r} exists; change it, or take another name")
        pool, _ = Pool.objects.update_or_create(name=name, defaults={"slots": slots, "description": description})
    admit({name})
    return pool


def delete_pool(name: str) -> None:
    """Delete a pool that no step and no open task names; raises UnknownPoolError, StateConflictError."""
    with atomic():
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
    with atomic():
        headers = Workflow.objects.filter(pk=task_id).delete()[0]
        if not TaskDefinition.objects.filter(task_id=task_id).delete()[0] and not headers:
            raise UnknownWorkflowError(f"there is no workflow {task_id!r}")
