"""The executor port, filled with Celery."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from celery import Celery, current_app
from celery.app import app_or_default
from celery.exceptions import SoftTimeLimitExceeded

from flowerapp.core.endings import Ending
from flowerapp.core.executor import Limits, QueueSize, UnpublishableError
from flowerapp.core.messages import STEP, Marker, Message
from flowerapp.engine import hooks
from flowerapp.executors.celery import canvas, memory_transport, queues, reports, routes, stopping, versions
from flowerapp.executors.celery.eager import EagerExecutor, is_eager
from flowerapp.executors.celery.publish_errors import UnreachableError, WatchedProducer
from flowerapp.selectors.queues import served
from flowerapp.states import HIGHEST_PRIORITY

Result = TypeVar("Result")

PAUSE = 5.0
"""Seconds after a failure during which the broker is taken to be unreachable."""


class CeleryExecutor:
    """Publishes on the current Celery app.

    If the broker is unreachable, it does not ask it again for ``PAUSE`` seconds, so that one caller waits for a broker
    that hangs, not each; the watcher sends what they register meanwhile. A message that cannot be published is no
    reason to pause.
    """

    soft_limit_error: type[Exception] = SoftTimeLimitExceeded

    def __init__(self, *, isolates_limited: bool = False, is_offline: bool = False) -> None:
        self.isolates_limited = isolates_limited
        """True where the pool is threads, which no limit can end."""
        self.is_offline = is_offline
        """True in tests that are to reach no broker: nothing is sent unless Celery is eager."""
        self._unreachable_until = 0.0
        self._eager = EagerExecutor()

    @property
    def runs_here(self) -> bool:
        """Where Celery is eager."""
        return is_eager()

    @property
    def propagates(self) -> bool:
        """Where Celery is eager and raises errors."""
        return is_eager() and bool(current_app.conf.task_eager_propagates)

    @property
    def prefetch(self) -> int:
        """Celery's setting; 0 is without a limit there too."""
        return max(0, int(current_app.conf.worker_prefetch_multiplier or 0))

    def connected(self) -> bool:
        """False in a process beside a standalone server, whose broker is in that server, and after a failure."""
        if self.is_offline or is_eager():
            return is_eager()
        return time.monotonic() >= self._unreachable_until and memory_transport.reachable(
            str(current_app.conf.broker_url)
        )

    def send(self, messages: Sequence[Message]) -> None:
        """Publish messages over one connection; where Celery is eager, run their tasks."""
        if is_eager():
            self._eager.send(messages)
            return
        try:
            canvas.send(messages)
        except UnpublishableError:
            raise
        except Exception:
            self._unreachable_until = time.monotonic() + PAUSE
            raise

    @contextmanager
    def _noting_outage(self) -> Iterator[None]:
        """After an error about all messages the broker is taken to be unreachable."""
        try:
            yield
        except UnreachableError:
            self._unreachable_until = time.monotonic() + PAUSE
            raise

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Send a message for each flow of which something is to be delivered; where Celery is eager, deliver it."""
        if not self.connected():
            return
        if is_eager():
            for flow_id in flow_ids:
                hooks.deliver(flow_id)
            return
        app = app_or_default()
        options: dict[str, Any] = {
            "priority": routes.broker_priority(app, HIGHEST_PRIORITY),
            "queue": _served_queue(app),
        }
        with app.producer_or_acquire() as producer, self._noting_outage():
            for flow_id in flow_ids:
                signature = app.signature(routes.DELIVER, args=(flow_id,), immutable=True, serializer="json", **options)
                canvas.publish(signature, WatchedProducer(producer))

    def route_of(self, program: str, queue: str) -> str:
        """The queue that Celery's router gives a program's task, unless it has one of its own."""
        return routes.queue_of(program, queue)

    def send_marker(self, marker: Marker) -> None:
        """Send it as a Celery task of its own."""
        app = app_or_default()
        nice = HIGHEST_PRIORITY + STEP * marker.step
        options: dict[str, Any] = {"priority": routes.broker_priority(app, nice), "queue": marker.queue}
        with app.producer_or_acquire() as producer, self._noting_outage():
            signature = app.signature(routes.MARKER, args=marker, immutable=True, serializer="json", **options)
            canvas.publish(signature, WatchedProducer(producer))

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, QueueSize]:
        """What the broker answers; unknown where no broker is used."""
        if self.is_offline or is_eager():
            return dict.fromkeys(names, QueueSize(unknown="no broker is used: Celery is eager, or this is a test"))
        return queues.sizes(names)

    def call(self, function: Callable[[], Result], limits: Limits) -> Result:
        """Call it; the pool, or a process of the attempt's own, enforces the limits."""
        return self._eager.call(function, limits)

    def report(self, ending: Ending) -> None:
        """Log it, and send Celery's signal and event."""
        reports.report(ending)

    def run_ready(self, waited_for: str) -> bool:
        """What runs in this process, because Celery is eager, has run already."""
        return False

    def hands_back(self) -> bool:
        """Whether this worker was asked to stop."""
        return stopping.asked(within=stopping.GROUP_SECONDS)

    def is_stopping(self) -> bool:
        """Whether a pool process got the signal to end."""
        return versions.terminate_handler_fired()


def _served_queue(app: Celery) -> str:
    """The app's default queue, or one that a living worker takes from where none takes from that."""
    default = str(app.conf.task_default_queue)
    served_queues = served()
    return default if default in served_queues or not served_queues else min(served_queues)
