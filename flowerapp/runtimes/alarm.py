"""Time limits of a program that runs in this process: an alarm raises an exception in it.

Only the main thread of a process gets signals, so elsewhere, and on Windows, there are no limits.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowerapp.core.executor import Limits
from flowerapp.exceptions import TimeLimitError


@contextmanager
def limited(limits: Limits, soft_limit_error: type[Exception]) -> Iterator[None]:
    """Raise ``soft_limit_error`` in the block at the soft limit, and TimeLimitError at the hard limit.

    A block that swallows the exception of the hard limit has run out of time nonetheless: TimeLimitError is raised when
    it ends.
    """
    if not limits or not _has_alarms():
        yield
        return
    alarm = _Alarm(limits, soft_limit_error)
    with alarm.set():
        yield
    alarm.must_be_in_time()


def _has_alarms() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


class _Alarm:
    """The alarm of one call; an alarm that was set before it, as of a test's own time limit, continues after it."""

    def __init__(self, limits: Limits, soft_limit_error: type[Exception]) -> None:
        self.limits, self.soft_limit_error = limits, soft_limit_error
        self.begun = time.monotonic()
        self.soft_passed = not limits.soft

    @contextmanager
    def set(self) -> Iterator[None]:
        handler = signal.signal(signal.SIGALRM, self._ring)
        seconds, interval = signal.setitimer(signal.ITIMER_REAL, self._seconds_left())
        try:
            yield
        finally:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
            finally:  # the alarm may ring just before it is turned off
                signal.signal(signal.SIGALRM, handler)
                if seconds:
                    signal.setitimer(signal.ITIMER_REAL, max(1e-3, seconds - self._elapsed()), interval)

    def must_be_in_time(self) -> None:
        """Raise TimeLimitError if the hard limit has passed."""
        if self.limits.hard and self._elapsed() >= self.limits.hard:
            raise self._error()

    def _ring(self, *_: Any) -> None:
        if not self.soft_passed:
            self.soft_passed = True
            signal.setitimer(signal.ITIMER_REAL, self._seconds_left())
            raise self.soft_limit_error(f"after {self.limits.soft:g} s")
        raise self._error()

    def _error(self) -> TimeLimitError:
        return TimeLimitError(f"timed out after {self.limits.hard:g} s")

    def _elapsed(self) -> float:
        return time.monotonic() - self.begun

    def _seconds_left(self) -> float:
        """Seconds until the next limit; 0 if none is left, which is no alarm."""
        limit = self.limits.hard if self.soft_passed else self.limits.soft
        return max(1e-3, limit - self._elapsed()) if limit else 0.0
