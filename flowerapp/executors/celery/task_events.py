"""The task events, for monitors, of tasks that a pool process continues with.

For a message the worker's parent sends them; of a task without a message it knows nothing. So where the worker's events
are on, the process sends the same events itself: together, by a thread, at most ``DELAY`` seconds later. A task that
takes long is shown as started meanwhile, and no task waits for the broker.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined] # missing in the types
from celery import Celery, states
from celery.app import app_or_default
from celery.events.event import Event, get_exchange
from celery.exceptions import Retry
from celery.utils.nodenames import anon_nodename
from celery.utils.serialization import get_pickled_exception
from celery.utils.time import utcoffset
from kombu.utils.encoding import safe_repr, safe_str

from flowerapp.core import logs

logger = logs.logger(__name__)

HEADER = "flower_events_clock"
"""What the worker's parent adds to a message for its process: its logical clock where its task events are on."""

DELAY = 0.2
"""Seconds from an event until it is sent with those that came meanwhile."""
PAUSE = 5.0
"""Seconds after a failure until the broker is asked again."""
KEPT = 10_000
"""Events that are kept while the broker is unreachable."""
BATCH = 500
"""Events of one message."""
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0}

_KINDS = {
    states.RETRY: "task-retried",
    states.FAILURE: "task-failed",
    states.IGNORED: "task-ignored",
    states.REJECTED: "task-rejected",
}
"""The tracer's state of a task that did not succeed → the event of its end."""


class Announced(str):
    """The result of a message's task whose end its process has announced itself, because it continued."""

    __slots__ = ()


class EventSender:
    """Sends the events of this process, many in one message."""

    def __init__(self) -> None:
        self._events: deque[Mapping[str, Any]] = deque(maxlen=KEPT)
        self._added = threading.Event()
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, kind: str, hostname: str, **fields: Any) -> None:
        """Send an event soon; ``hostname`` is the name of the node that it is from."""
        clock = app_or_default().clock.forward()  # type: ignore[attr-defined] # missing in the types
        parent = os.getppid()  # the worker, which sends all others
        self._events.append(Event(kind, hostname=hostname, utcoffset=utcoffset(), pid=parent, clock=clock, **fields))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="task events", daemon=True)
            self._thread.start()
        self._added.set()

    def _run(self) -> None:
        while self._added.wait():
            time.sleep(DELAY)
            self._added.clear()
            if not self.flush():
                time.sleep(PAUSE)
                self._added.set()

    def flush(self) -> bool:
        """Send what waits; False if it could not be, and waits on."""
        with self._sending:
            while self._events:
                batch = [self._events.popleft() for _ in range(min(BATCH, len(self._events)))]
                try:
                    _publish(app_or_default(), batch)
                except Exception as error:
                    logger.warning("could not send %d task events to monitors: %r", len(batch), error)
                    self._events.extendleft(reversed(batch))
                    return False
        return True


def _publish(app: Celery, events: list[Mapping[str, Any]]) -> None:
    with app.producer_or_acquire() as producer:
        exchange = get_exchange(producer.connection, name=app.conf.event_exchange)
        producer.publish(
            events,
            routing_key="task.multi",
            exchange=exchange.name,
            declare=[exchange],
            serializer=app.conf.event_serializer,
            headers={"hostname": events[0]["hostname"]},
            delivery_mode=1,
            retry=True,
            retry_policy=_RETRY_POLICY,
        )


sender = EventSender()
"""That of this process."""


class TaskEvents:
    """The events of the tasks of one message, as Celery sends them for tasks that have one each."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        clock = request.get(HEADER)
        self._app = app_or_default()
        self._is_on = clock is not None
        self._hostname = str(request.get("hostname"))
        if clock is not None:
            self._app.clock.adjust(clock)  # type: ignore[attr-defined] # missing in the types

    def begin(self, request: Mapping[str, Any], queue: str | None) -> None:
        """A task begins that no message brought; ``queue`` is the one that its message would have come through."""
        fields = {name: request.get(name) for name in ("root_id", "parent_id", "eta", "expires")}
        fields |= {"name": request["task"], "args": request["argsrepr"], "kwargs": "{}", "retries": 0}
        if self._app.conf.task_send_sent_event:
            delivery = request["delivery_info"]
            place = {"queue": queue, "exchange": delivery.get("exchange"), "routing_key": delivery.get("routing_key")}
            sender.add("task-sent", anon_nodename(), uuid=request["id"], **fields, **place)
        if self._sends_for(request["task"]):
            self._add("task-received", request["id"], **fields)
            self._add("task-started", request["id"])

    def end(self, name: str, celery_id: str, traced: Any) -> None:
        """A task has ended as Celery's tracer says; ``name`` is that of its Celery task."""
        if not self._sends_for(name):
            return
        if traced.info is None:
            self._add("task-succeeded", celery_id, result=traced.retstr, runtime=traced.runtime)
        elif kind := _KINDS.get(traced.info.state):
            self._add(kind, celery_id, **_reason(kind, traced.retval))

    def announce(self, name: str, celery_id: str, traced: Any) -> Any:
        """The message's own task has ended and its process continues, so its end is announced now: the traced result
        that says so to the worker's parent."""
        if not self._sends_for(name):
            return traced
        self.end(name, celery_id, traced)
        return traced._replace(retstr=Announced(traced.retstr))

    def _sends_for(self, name: str) -> bool:
        return self._is_on and bool(self._app.tasks[name].send_events)

    def _add(self, kind: str, celery_id: str, **fields: Any) -> None:
        sender.add(kind, self._hostname, uuid=celery_id, **fields)


def _reason(kind: str, info: Any) -> dict[str, Any]:
    """What an event says of an error, as ``celery.worker.request`` has it; ``info`` is an ``ExceptionInfo``."""
    error = info.exception
    if isinstance(error, ExceptionWithTraceback):
        error = error.exc
    if kind == "task-rejected":
        return {"requeue": bool(error.requeue)}
    if kind == "task-ignored":
        return {}
    shown = error.exc if isinstance(error, Retry) else get_pickled_exception(error)
    return {"exception": safe_repr(shown), "traceback": safe_str(info.traceback)}
