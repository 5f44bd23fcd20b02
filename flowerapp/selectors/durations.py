"""How long flows and tasks have run, in seconds and in words."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from flowerapp.querysets import clock
from flowerapp.states import Status


class Timed(Protocol):
    """A flow, a task, or part of its columns."""

    @property
    def status(self) -> Status:
        """State as a ``Status``."""

    @property
    def started_ts(self) -> datetime | None:
        """First start of a flow, last start of a task."""

    @property
    def finished_ts(self) -> datetime | None:
        """When it became Finish or Ignore."""

    @property
    def suspended_ts(self) -> datetime | None:
        """When it was last held or failed."""


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds between two times, up to now without an end; None without a start."""
    return None if start is None else max(0.0, ((end or clock.about_now()) - start).total_seconds())


def seconds_of(row: Timed) -> float | None:
    """Seconds from the start to the end, to the suspension of what is Suspend, or until now; None before the start."""
    suspended = row.suspended_ts if row.status is Status.SUSPEND else None
    return seconds_between(row.started_ts, row.finished_ts or suspended)


def duration(row: Timed, *, waits: bool = False) -> str:
    """``seconds_of`` in words; empty before the start, and of a task that ``waits`` for another start."""
    return "" if waits else spelled(seconds_of(row))


def spelled(seconds: float | None) -> str:
    """A duration as people write it: ``0.3 s``, ``2 min 05 s``, ``3 h 04 min``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
