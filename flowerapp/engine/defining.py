"""Workflows put in place and taken away."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from flowerapp.exceptions import StateConflictError, UnknownWorkflowError
from flowerapp.models import TaskDefinition, Workflow
from flowerapp.plan import Plan


def define(task_id: str, rows: Sequence[TaskDefinition], *, description: str = "", new: bool = False) -> Plan:
    """Put ``rows`` in place of those that a workflow has; the checked plan. Flows that were registered keep theirs.

    ``new`` refuses a workflow that has rows. Raises InvalidPlanError, or StateConflictError where ``new`` meets one.
    """
    nodes = []
    before: int | None = None
    for row in sorted(rows, key=lambda row: row.task_seq):
        nodes.append(row.node(before))
        before = row.task_seq
    plan = Plan(task_id, tuple(nodes)).check()
    with transaction.atomic():
        Workflow.objects.update_or_create(task_id=task_id, defaults={"description": description})
        present = TaskDefinition.objects.filter(task_id=task_id)
        if new and present.exists():
            raise StateConflictError(f"workflow {task_id!r} exists; replace it, or take another task_id")
        present.delete()
        TaskDefinition.objects.bulk_create(rows, batch_size=500)
    return plan


def undefine(task_id: str) -> None:
    """Delete a workflow's rows and header; its flows stay. Raises UnknownWorkflowError."""
    with transaction.atomic():
        headers = Workflow.objects.filter(pk=task_id).delete()[0]
        if not TaskDefinition.objects.filter(task_id=task_id).delete()[0] and not headers:
            raise UnknownWorkflowError(f"there is no workflow {task_id!r}")
