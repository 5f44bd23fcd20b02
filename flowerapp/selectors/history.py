"""History of flows and tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowerapp.models import HistoryEntry, Worker
from flowerapp.selectors import naming
from flowerapp.selectors.shown import rows

COLUMNS = ("id", "ts", "verb", "task_exec_seq", "attempt", "worker", "actor", "reason", "details")
"""Columns of a history entry that API and command line show."""


def task_titles(page: Iterable[HistoryEntry]) -> dict[int | None, str]:
    """``3 load`` by seq, of the tasks that some entries of one flow are about; at most one statement."""
    listed = list(page)
    return naming.titles(listed[0].task_flow_id, (row.task_exec_seq for row in listed)) if listed else {}


def entries(flow_id: str) -> Any:
    """The history of a flow, the oldest entry first."""
    return rows(HistoryEntry.objects.filter(task_flow_id=flow_id).order_by("id"))


def latest_entries(most: int, **of: Any) -> list[tuple[HistoryEntry, str]]:
    """The latest history entries, newest first, each with the name of its worker; ``of`` names flow and task."""
    latest = list(rows(HistoryEntry.objects.filter(**of).order_by("-id"))[:most])
    names = Worker.objects.names(entry.worker for entry in latest)
    return [(entry, names.get(entry.worker, "")) for entry in latest]
