"""End waits: those that are due, and those that a process that died was to end."""

from __future__ import annotations

from flowerapp.engine import due_waits, events


def end_due_waits() -> int:
    """The number of waits that ended because their time has come."""
    return due_waits.end_due()


def take_up_waits() -> int:
    """The number of events and waits that were left behind and are done with now."""
    return events.take_up_left() + due_waits.take_up_left() + due_waits.give_back_held()
