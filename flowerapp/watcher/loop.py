"""A thread of a worker's parent process that looks at its duties again and again.

Each loop is a thread of its own: if a broker that hangs, or a lock in the database, blocks one, the others continue,
the heartbeat among them. They run in the parent, so a program that holds the interpreter lock of a pool process blocks
none of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.db import close_old_connections, connections

from flowerapp.core import identity, logs

logger = logs.logger(__name__)

TICK = 0.5
"""Seconds between looks."""


class Loop(threading.Thread):
    """Looks at its duties until stopped; an error of one is logged and does not end the loop."""

    tick = TICK
    """Seconds between its looks."""

    def __init__(self, name: str) -> None:
        super().__init__(name=f"flowerapp-{name}", daemon=True)
        self.worker = identity.worker()
        self.stopping = threading.Event()
        self.last: dict[str, float] = {}

    def look(self) -> None:
        """One round."""
        raise NotImplementedError

    def on_stop(self) -> None:
        """What is left to do when stopped."""
        raise NotImplementedError

    def run(self) -> None:
        """Work until stopped."""
        while not self.stopping.wait(self.tick):
            try:
                close_old_connections()
                self.look()
            except Exception:
                logger.exception("%s: a look failed", self.name)
        try:
            self.on_stop()
        except Exception:  # leases run out by themselves
            logger.warning("%s: could not finish when stopped", self.name, exc_info=True)
        finally:
            connections.close_all()

    def do(self, name: str, seconds: float, duty: Callable[[], Any]) -> bool:
        """Run a duty if ``seconds`` have passed since its last run, unless stopping; False if it failed."""
        if self.stopping.is_set() or time.monotonic() - self.last.get(name, float("-inf")) < seconds:
            return True
        try:
            duty()
        except Exception as error:  # the database or the broker may be unreachable; a later look tries again
            logger.warning("%s: %s failed and is tried again in %g s: %r", self.name, name, seconds, error)
            logger.debug("%s: %s", self.name, name, exc_info=True)
            connections.close_all()
            return False
        finally:
            self.last[name] = time.monotonic()
        return True

    def stop(self, timeout: float = 10) -> None:
        """End the loop; waits up to ``timeout`` seconds."""
        self.stopping.set()
        if self.is_alive() and self is not threading.current_thread():
            self.join(timeout)


def stop_all(loops: Sequence[Loop], timeout: float = 10) -> None:
    """End all these loops at once; waits up to ``timeout`` seconds."""
    for loop in loops:
        loop.stopping.set()
    deadline = time.monotonic() + timeout
    for loop in loops:
        loop.stop(max(0.0, deadline - time.monotonic()))
