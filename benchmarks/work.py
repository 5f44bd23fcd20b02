"""What a task of a workload does: nothing, wait, or compute. The same functions for all contenders."""

from __future__ import annotations

import time
from typing import NamedTuple


class Work(NamedTuple):
    """The work of each task of a workload."""

    kind: str = "noop"
    """``noop``, ``nap`` or ``burn``."""
    seconds: float = 0.0


NOTHING = Work()


def do(kind: str, seconds: float) -> None:
    """Do nothing, sleep for ``seconds``, or use as much processor time."""
    if kind == "nap":
        time.sleep(seconds)
    elif kind == "burn":
        burn(seconds)


def burn(seconds: float) -> None:
    """Use processor time, however long that takes."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
