"""History of flows and tasks."""

from __future__ import annotations

from typing import Any

from flowerapp.models import HistoryEntry, Worker
from flowerapp.selectors.shown import rows

COLUMNS = ("id", "ts", "verb", "task_exec_seq", "attempt", "worker", "actor", "reason", "details")
"""Columns of a history entry that API and command line show."""


def entries(flow_id: str) -> Any:
    """The history of a flow, the oldest entry first."""
    return rows(HistoryEntry.objects.filter(task_flow_id=flow_id).order_by("id"))


def latest_entries(most: int, **of: Any) -> list[tuple[HistoryEntry, str]]:
    """The latest history entries, newest first, each with the name of its worker; ``of`` names flow and task."""
    latest = list(rows(HistoryEntry.objects.filter(**of).order_by("-id"))[:most])
    names = Worker.objects.names(entry.worker for entry in latest)
    return [(entry, names.get(entry.worker, "")) for entry in latest]
