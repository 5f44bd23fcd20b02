"""Wake the tasks that wait for an output which is stored now, or which no task is about to store."""

from __future__ import annotations

from flowerapp.engine import output_cache


def wake_cached() -> int:
    """The number of tasks woken."""
    return output_cache.wake_waiting()
