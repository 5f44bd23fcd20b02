"""How far the stop of this worker is: known to its parent, and to the pool processes that were forked from it."""

from __future__ import annotations

import mmap
import signal
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from flowerapp.core import identity


class Phase(IntEnum):
    """What a worker that is asked to stop does."""

    RUNNING = 0
    """It was not asked."""
    GRACE = 1
    """Running tasks may end, and nothing new begins."""
    ENDING = 2
    """What still runs is handed back, and its processes are ended."""


_memory = mmap.mmap(-1, 1)
"""Shared memory: made before the pool is forked."""

GROUP_SECONDS = 0.5
"""Seconds by which a signal to the whole group may reach a pool process before its parent has noted it."""
_SHIELD_SECONDS = 0.05
_POLL = 0.01


def phase() -> Phase:
    """The phase of this worker."""
    return Phase(_memory[0])


def enter(new: Phase) -> None:
    """In the worker's parent: all its processes know of it at once."""
    _memory[0] = new


def asked(within: float = 0) -> bool:
    """Whether this worker was asked to stop, or is ``within`` so many seconds."""
    deadline = time.monotonic() + within
    while phase() is Phase.RUNNING and time.monotonic() < deadline:
        time.sleep(_POLL)
    return phase() is not Phase.RUNNING


def shield() -> None:
    """In a process of a pool: let the running task end although the signal to stop went to the whole group.

    Called before each task, because the pool sets its own handler after the process has begun.
    """
    if not identity.was_forked() or threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler) and not isinstance(handler, _Shield):
        signal.signal(signal.SIGTERM, _Shield(handler))


class _Shield:
    """A handler of SIGTERM that leaves the end of the process to its parent while that lets tasks end."""

    def __init__(self, handler: Callable[[int, Any], Any]) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        asked(within=_SHIELD_SECONDS)
        if phase() is not Phase.GRACE:
            self.handler(number, frame)
