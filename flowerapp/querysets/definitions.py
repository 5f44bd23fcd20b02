"""Steps of workflows."""

from __future__ import annotations

from typing import Any

from django.db import models

from flowerapp.plan import Plan


class DefinitionQuerySet(models.QuerySet[Any]):
    """Steps of workflows."""

    def plan(self, task_id: str) -> Plan | None:
        """The stored workflow as a plan, unchecked; None if there are no rows."""
        nodes = []
        before: int | None = None
        for row in self.filter(task_id=task_id).order_by("task_seq"):
            nodes.append(row.node(before))
            before = row.task_seq
        return Plan(task_id, tuple(nodes)) if nodes else None

    def workflows(self) -> Any:
        """Names of all workflows that have steps, each once, with the number of steps."""
        return self.order_by("task_id").values("task_id").annotate(steps=models.Count("task_seq"))
