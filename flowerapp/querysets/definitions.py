"""Steps of workflows."""

from __future__ import annotations

from typing import Any

from django.db import models

from flowerapp.plan import Plan

HEADER = ("description", "max_active_flows", "unique", "entrance")
"""Settings of a workflow as a whole."""


class WorkflowQuerySet(models.QuerySet[Any]):
    """Headers of workflows."""

    def limit(self, task_id: str) -> int | None:
        """Lock the header where the database can; how many flows may go on at once, None for any number."""
        row = self.select_for_update().filter(pk=task_id).values_list("max_active_flows", "unique").first()
        return None if row is None else 1 if row[1] else row[0]


class PoolQuerySet(models.QuerySet[Any]):
    """Pools."""

    def slots(self, name: str) -> int:
        """Lock the pool where the database can; its slots, none for a pool that is gone."""
        return self.select_for_update().filter(pk=name).values_list("slots", flat=True).first() or 0


class DefinitionQuerySet(models.QuerySet[Any]):
    """Steps of workflows."""

    def plan(self, task_id: str) -> Plan | None:
        """The stored workflow as a plan, unchecked; None if there are no rows."""
        nodes = []
        before: int | None = None
        for row in self.filter(task_id=task_id).order_by("task_seq"):
            nodes.append(row.node(before))
            before = row.task_seq
        return Plan(task_id, tuple(nodes), **self._header(task_id)) if nodes else None

    def _header(self, task_id: str) -> dict[str, Any]:
        workflows: Any = self.model._meta.apps.get_model("flowerapp", "Workflow").objects.using(self.db)
        return workflows.filter(pk=task_id).values(*HEADER).first() or {}

    def workflows(self) -> Any:
        """Names of all workflows that have steps, each once, with the number of steps."""
        return self.order_by("task_id").values("task_id").annotate(steps=models.Count("task_seq"))
