"""Write a flow that was archived: its row, its tasks, its history and its log, as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db.models import JSONField, Value

from flowerapp.core.archive_parts import OPTIONAL_VALUES

if TYPE_CHECKING:
    from flowerapp.models import Flow, Task

BATCH = 500
"""Rows of one statement."""


def write(flows: Any, flow: Flow, tasks: Sequence[Task], history: Iterable[Any], logs: Iterable[Any]) -> None:
    """Write unsaved rows of a flow that there is none of. In a transaction."""
    flow.save(force_insert=True, using=flows.db)
    for rows in (tasks, history, logs):
        for batch in _batches(rows):
            type(batch[0]).objects.using(flows.db).bulk_create(batch)


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def optional_values(row: dict[str, Any]) -> dict[str, Any]:
    """Those of a task's values of JSON that are there, as they are stored: null as a value, and not as NULL."""
    return {
        name: Value(None, JSONField()) if row[name] is None else row[name] for name in OPTIONAL_VALUES if name in row
    }
