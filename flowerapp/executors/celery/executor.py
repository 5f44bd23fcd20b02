"""The executor port, filled with Celery."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined] # newer than its types
from celery import Celery, current_app
from celery.app import app_or_default
from celery.exceptions import SoftTimeLimitExceeded

from flowerapp.core.messages import Message
from flowerapp.executors.celery import canvas, memory_transport, queues, routes
from flowerapp.selectors.queues import served
from flowerapp.states import HIGHEST_PRIORITY

PAUSE = 5.0
"""Seconds after a failure during which the broker is taken to be unreachable."""


class CeleryExecutor:
    """Publishes on the current Celery app.

    After a failure it does not ask the broker again for ``PAUSE`` seconds, so that one caller waits for a broker that
    hangs, not each; the watcher sends what they register meanwhile. A single queue that refuses its messages
    is no reason to pause.
    """

    soft_limit_error: type[Exception] = SoftTimeLimitExceeded

    def __init__(self, *, isolates_limited: bool = False) -> None:
        self.isolates_limited = isolates_limited
        """True where the pool is threads, which no limit can end."""
        self._unreachable_until = 0.0

    @property
    def prefetch(self) -> int:
        """Celery's setting, 1 or more."""
        return max(1, current_app.conf.worker_prefetch_multiplier or 1)

    def connected(self) -> bool:
        """False in a process beside a standalone server, whose broker is in that server, and after a failure."""
        return time.monotonic() >= self._unreachable_until and memory_transport.reachable(
            str(current_app.conf.broker_url)
        )

    def send(self, messages: Sequence[Message]) -> None:
        """Publish messages over one connection."""
        try:
            canvas.send(messages)
        except Exception as error:
            if not isinstance(error.__cause__, app_or_default().connection_for_write().channel_errors):
                self._unreachable_until = time.monotonic() + PAUSE
            raise

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Send a message for each flow of which something is to be delivered."""
        if not self.connected():
            return
        app = app_or_default()
        options: dict[str, Any] = {
            "priority": routes.broker_priority(app, HIGHEST_PRIORITY),
            "queue": _served_queue(app),
        }
        with app.producer_or_acquire() as producer:
            for flow_id in flow_ids:
                signature = app.signature(routes.DELIVER, args=(flow_id,), immutable=True, serializer="json", **options)
                canvas.publish(signature, producer)

    def route_of(self, program: str, queue: str) -> str:
        """The queue that Celery's router gives a program's task, unless it has one of its own."""
        return routes.queue_of(program, queue)

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, int]:
        """What the broker answers."""
        return queues.sizes(names)

    def is_stopping(self) -> bool:
        """Whether a pool process got the signal to end."""
        return bool(terminate_handler_fired())


def _served_queue(app: Celery) -> str:
    """The app's default queue, or one that a living worker takes from where none takes from that."""
    default = str(app.conf.task_default_queue)
    served_queues = served()
    return default if default in served_queues or not served_queues else min(served_queues)
