"""The clock of this process, in UTC, which tests move and stop; ``querysets.clock`` puts it into statements."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

_lock = threading.Lock()
_ahead = 0.0
"""Seconds by which the clock is ahead of the computer's."""
_stopped: datetime | None = None
"""Where it stands; None while it runs."""


def now() -> datetime:
    """The time by this clock, in UTC."""
    if _stopped is not None:
        return _stopped
    return datetime.now(UTC) + timedelta(seconds=_ahead) if _ahead else datetime.now(UTC)


def ahead() -> float:
    """Seconds by which it is ahead of the computer's, while it runs."""
    return _ahead


def stopped() -> datetime | None:
    """Where it stands; None while it runs."""
    return _stopped


def is_changed() -> bool:
    """Whether it is moved or stopped."""
    return bool(_ahead) or _stopped is not None


def advance(seconds: float) -> None:
    """Move it on, whether it runs or stands; for tests."""
    global _ahead, _stopped
    with _lock:
        if _stopped is None:
            _ahead += seconds
        else:
            _stopped += timedelta(seconds=seconds)


def stop(at: datetime | None = None) -> None:
    """Let it stand at a time in UTC, by default now; for tests."""
    global _stopped
    with _lock:
        _stopped = now() if at is None else at.astimezone(UTC)


def reset() -> None:
    """Undo ``advance`` and ``stop``."""
    global _ahead, _stopped
    with _lock:
        _ahead, _stopped = 0.0, None
