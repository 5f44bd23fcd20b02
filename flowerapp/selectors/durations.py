"""How long flows and tasks have run, in seconds and in words: the same for admin, API and command line.

A flow: from its first start to its end, or until now. That of a failed one, which nothing continues without a person,
ends when it came to a stand; that of a held one continues, as its running tasks do. A rerun does not start it anew.

A task: from its last start to its end or failure, or until now; nothing while it waits for another start. That of a
task with children ends with the last of them. That of a wait is how long it has waited.
"""

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
        """When a flow came to a stand, or a task failed."""


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds between two times, up to now without an end; None without a start."""
    return None if start is None else max(0.0, ((end or clock.about_now()) - start).total_seconds())


def seconds_of(row: Timed) -> float | None:
    """Seconds from the start to the end, or until now; None before the start."""
    return seconds_between(row.started_ts, _end_of(row))


def is_growing(row: Timed) -> bool:
    """Whether the duration still grows."""
    return row.started_ts is not None and _end_of(row) is None


def _end_of(row: Timed) -> datetime | None:
    """When it ended or came to a stand; None until then."""
    stands = row.status is Status.SUSPEND and not getattr(row, "held", False)
    return row.finished_ts or (row.suspended_ts if stands else None)


def duration(flow: Timed) -> str:
    """How long a flow has run, in words; empty before its first start. ``tasks.duration_of`` is that of a task."""
    return spelled(seconds_of(flow))


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
