"""Workflows, as API and command line list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models.functions import Left

from flowerapp.core import masking
from flowerapp.models import TaskDefinition, Workflow
from flowerapp.selectors.short import MOST_CHARACTERS
from flowerapp.selectors.shown import rows


def steps(task_id: str) -> Any:
    """The steps of a workflow in order of ``task_seq``, as people may see them."""
    return rows(TaskDefinition.objects.filter(task_id=task_id).order_by("task_seq"))


def with_descriptions(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of ``TaskDefinition.objects.workflows()``, each with the beginning of the description in its header.

    One statement.
    """
    listed = list(rows)
    headers = Workflow.objects.filter(pk__in=[row["task_id"] for row in listed])
    descriptions = dict(headers.values_list("task_id", Left("description", MOST_CHARACTERS)))
    return [{**row, "description": descriptions.get(row["task_id"], "")} for row in listed]


def shown_match(workflow: Workflow) -> Any:
    """What the events that start its flows must contain, as people may see it; None for any."""
    return masking.masked(workflow.start_match)
