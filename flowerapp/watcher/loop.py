"""A thread of a worker's parent process that looks at its duties again and again.

Each loop is a thread of its own, so that a broker that hangs, or a lock in the database, blocks one and does not
silence the worker. In the parent a program that holds the interpreter lock of a pool process silences none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import close_old_connections, connection

from flowerapp.core import identity

logger = logging.getLogger(__name__)

TICK = 0.5
"""Seconds between looks."""


class Loop(threading.Thread):
    """Looks at its duties until stopped; an error of one is logged and does not end the loop."""

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
        while not self.stopping.wait(TICK):
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
            connection.close()

    def do(self, name: str, seconds: float, duty: Callable[[], Any]) -> bool:
        """Run a duty if ``seconds`` have passed since its last run, unless stopping; False if it failed."""
        if self.stopping.is_set() or time.monotonic() - self.last.get(name, float("-inf")) < seconds:
            return True
        try:
            duty()
        except Exception as error:  # the database or the broker may be unreachable; a later look tries again
            logger.warning("%s: %s failed and is tried again in %g s: %r", self.name, name, seconds, error)
            logger.debug("%s: %s", self.name, name, exc_info=True)
            connection.close()
            return False
        finally:
            self.last[name] = time.monotonic()
        return True

    def stop(self, timeout: float = 10) -> None:
        """End the loop; waits up to ``timeout`` seconds."""
        self.stopping.set()
        if self.is_alive():
            self.join(timeout)
