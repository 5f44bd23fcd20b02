"""Whether this process has been told to end, which interrupts what it runs."""

from __future__ import annotations

from collections.abc import Callable


def _never() -> bool:
    return False


_told_to_end: Callable[[], bool] = _never


def use_end_notice(told_to_end: Callable[[], bool]) -> None:
    """Let ``told_to_end`` say whether this process has been told to end, which interrupts the program it runs."""
    global _told_to_end
    _told_to_end = told_to_end


def told_to_end() -> bool:
    """Whether this process has been told to end, so that an error in it may be no fault of what it ran."""
    return _told_to_end()
