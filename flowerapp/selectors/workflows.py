"""Workflows, as API and command line list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowerapp.models import Workflow


def with_descriptions(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of ``TaskDefinition.objects.workflows()``, each with the description in its header; one statement."""
    listed = list(rows)
    headers = Workflow.objects.filter(pk__in=[row["task_id"] for row in listed])
    descriptions = dict(headers.values_list("task_id", "description"))
    return [{**row, "description": descriptions.get(row["task_id"], "")} for row in listed]
