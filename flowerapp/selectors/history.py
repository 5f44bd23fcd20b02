"""History and log of flows and tasks."""

from __future__ import annotations

from typing import Any

from flowerapp.models import HistoryEntry, Log, Worker

COLUMNS = ("id", "ts", "verb", "task_exec_seq", "attempt", "worker", "actor", "reason", "details")
"""Columns of a history entry that API and command line show."""
LOG_COLUMNS = ("ts", "task_exec_seq", "attempt", "message")
"""Columns of a log line that the command line shows; the API leaves the task out, which is in its address."""


def latest_entries(most: int, **of: Any) -> list[tuple[HistoryEntry, str]]:
    """The latest history entries, newest first, each with the name of its worker; ``of`` names flow and task."""
    entries = list(HistoryEntry.objects.filter(**of).order_by("-id")[:most])
    names = Worker.objects.names(entry.worker for entry in entries)
    return [(entry, names.get(entry.worker, "")) for entry in entries]


def latest_lines(most: int, **of: Any) -> list[Log]:
    """The latest log lines, oldest first; ``of`` names flow and task."""
    return list(Log.objects.filter(**of).order_by("-id")[:most])[::-1]
