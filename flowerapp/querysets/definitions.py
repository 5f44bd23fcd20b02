"""Steps of workflows."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from flowerapp.plan import Plan, most_flows

HEADER = ("description", "max_active_flows", "unique", "entrance")
"""Settings of a workflow as a whole."""


class WorkflowQuerySet(models.QuerySet[Any]):
    """Headers of workflows."""

    def limit(self, task_id: str) -> int | None:
        """Lock the header where the database can; how many flows may go on at once, None for any number."""
        row = self.select_for_update().filter(pk=task_id).values_list("max_active_flows", "unique").first()
        return None if row is None else most_flows(row[0], unique=row[1])


class PoolQuerySet(models.QuerySet[Any]):
    """Pools."""

    def slots(self, name: str) -> int:
        """Lock the pool where the database can; its slots, none for a pool that is gone."""
        return self.select_for_update().filter(pk=name).values_list("slots", flat=True).first() or 0

    def with_use(self) -> PoolQuerySet:
        """Pools with ``held``, the slots that tasks have, and ``waiting``, the tasks that wait for one."""
        tasks: Any = self.model._meta.apps.get_model("flowerapp", "Task").objects.using(self.db)
        name = OuterRef("pk")
        found: PoolQuerySet = self.annotate(held=_number(tasks.holding(name)), waiting=_number(tasks.waiting_for(name)))
        return found


def _number(tasks: Any) -> Coalesce:
    """How many tasks of a pool there are, as part of the statement that finds the pools."""
    counted = tasks.order_by().values("pool").annotate(number=models.Count("pk")).values("number")
    return Coalesce(Subquery(counted, output_field=models.IntegerField()), 0)


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
