"""A broker in this process's memory, with priorities: kombu's memory transport with a heap per queue.

It loses everything at exit; the database and the watcher bring it back.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, memory

SCHEME = "flower-memory"
BUSY_PAUSE = 0.01
"""Seconds between looks while messages wait for a free worker."""
LONGEST_PAUSE = 0.5
"""Seconds after which a worker without messages looks whether it is to stop."""
URL = f"{SCHEME}://localhost"

_serving = False


def register() -> None:
    """Register ``flower-memory://`` with kombu."""
    TRANSPORT_ALIASES[SCHEME] = "flowerapp.executors.celery.memory_transport:Transport"


def serve() -> None:
    """Record that this process runs the workers of its own broker."""
    global _serving
    _serving = True


def is_memory(url: str) -> bool:
    """Whether a broker URL is of this transport."""
    return url.startswith(SCHEME)


def reachable(url: str) -> bool:
    """Whether what this process sends to ``url`` can reach a worker."""
    return _serving or not is_memory(url)


class Channel(memory.Channel):
    """Takes the lowest priority number first, the oldest where they are equal."""

    _heaps: defaultdict[str, list[tuple[int, int, Any]]] = defaultdict(list)
    _ages = itertools.count()
    _lock = threading.Condition()

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return queue in self._heaps

    def _new_queue(self, queue: str, **_: Any) -> None:
        with self._lock:
            self._heaps[queue]

    def _put(self, queue: str, message: Any, **_: Any) -> None:
        priority = self._get_message_priority(message)
        with self._lock:
            heapq.heappush(self._heaps[queue], (priority, next(self._ages), message))
            self._lock.notify_all()

    def _put_fanout(self, exchange: str, message: Any, routing_key: str | None = None, **_: Any) -> None:
        for queue in self._lookup(exchange, routing_key or ""):
            self._put(queue, message)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        with self._lock:
            heap = self._heaps[queue]
            if not heap:
                raise Empty
            return heapq.heappop(heap)[2]

    def _size(self, queue: str) -> int:
        return len(self._heaps.get(queue, ()))

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        with self._lock:
            self._heaps.pop(queue, None)

    @classmethod
    def await_message(cls, seconds: float) -> None:
        """Wait for a message to arrive; only for a moment where messages wait for a free worker already."""
        with cls._lock:
            cls._lock.wait(min(seconds, BUSY_PAUSE) if any(cls._heaps.values()) else seconds)

    def _purge(self, queue: str) -> int:
        with self._lock:
            size = self._size(queue)
            self._heaps[queue].clear()
            return size

    def close(self) -> None:
        """Close the channel; the queues stay."""
        queues, self.queues = self.queues, {}
        super().close()
        self.queues = queues


class Transport(memory.Transport):
    """The transport of ``flower-memory://``."""

    Channel = Channel
    driver_type = "flower-memory"

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Deliver one message, or raise ``TimeoutError``; asleep while there is none."""
        cycle: Any = self.cycle
        deadline = time.monotonic() + min(LONGEST_PAUSE, LONGEST_PAUSE if timeout is None else timeout)
        while True:
            try:
                cycle.get(self._deliver, timeout=timeout)
            except Empty:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError from None
                Channel.await_message(remaining)
            else:
                return

    @classmethod
    def forget(cls) -> None:
        """Lose everything, as a restart does."""
        with Channel._lock:
            Channel._heaps.clear()
