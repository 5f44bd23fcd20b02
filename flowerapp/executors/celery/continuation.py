"""Continuation: a pool process that has finished a task runs one that it released, without a message.

Between two quick tasks of a flow the way through the broker costs more than both. So for ``CONTINUE_SECONDS`` from the
arrival of a message its process runs what it releases itself: claimed and finished in the database as ever, and traced
by Celery as a task of its own, with its id, signals, events and log lines. It does so only where a message would have
come to the same place, and where no one counts messages (``worker.continue_seconds`` decides).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery

from flowerapp import conf
from flowerapp.core import executor, identity
from flowerapp.core.messages import FIRST_SENT, Message, TaskCall, TaskRef
from flowerapp.engine import attempts, dispatching, recovery
from flowerapp.engine.propagation import Outcome
from flowerapp.executors.celery import stopping
from flowerapp.executors.celery.process_table import process_table
from flowerapp.executors.celery.routes import PREFIX, Route, message_id, route_of, task_name
from flowerapp.executors.celery.task_events import TaskEvents
from flowerapp.querysets import Claim

HEADER = "flower_continue_seconds"
"""What the worker's parent adds to a message for its process: seconds that it may continue."""

LONGER = 10
"""Times ``CONTINUE_SECONDS`` for which a process continues while another one of its worker is idle."""

Trace = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A task that a process continues with."""

    message: Message
    claim: Claim | None = None
    """Where it is claimed already."""
    celery_id: str = field(init=False)
    """As Celery and monitors know it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "celery_id", message_id(self.message.ref))


class MessageContinuation:
    """What this process does from the arrival of a message on: its task, and those that it continues with."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Program → seconds that its last start took here; one that is not quick travels by message, so that the next
        ones do not wait for it here."""
        self._message = ""
        """Celery's id of the message."""
        self._at = ""
        """Celery's id of the task that runs."""
        self._route = Route("", 0)
        self._ends = 0.0
        """When it is to stop, on the monotonic clock."""
        self._ends_at_last = 0.0
        """When, if another process is idle meanwhile."""
        self._queue_is_long = False
        """Whether the message waited so long that no process of its queue can have been idle."""
        self._next: Step | None = None
        self._step: Step | None = None

    def perform(self, ref: TaskRef) -> Outcome:
        """Run a task: that of a message, or the step at hand, which may be claimed already."""
        step, self._step = self._step, None
        if step is not None and step.claim is not None:
            return attempts.perform(step.claim, self)
        return attempts.run(ref, identity.worker(), sent=step is None, continuation=self)

    def candidates(self, claim: Claim) -> Sequence[str]:
        """What this process continues with while there is time: this one's program, and those that were quick here."""
        if not self._has_time():
            return ()
        programs = dict.fromkeys([claim.program, *self._quick()])
        return [name for name in programs if route_of(name, claim.queue, claim.task_priority) == self._route]

    def keeps(self, claim: Claim, candidates: Sequence[str]) -> Sequence[int]:
        """While all processes are busy: as many tasks as it can do in the time that is left, by their last start."""
        limit = conf.get().CONTINUE_SECONDS
        if claim.waited:
            self._queue_is_long = claim.waited > limit / 2
        left = self._ends - time.monotonic()
        if left <= 0 or not self._queue_is_long or process_table.another_is_idle():
            return ()
        return [min(FIRST_SENT, int(left / self.seconds.get(name, limit))) for name in candidates]

    def accept(self, before: Claim, claim: Claim) -> None:
        """Continue with a task that is claimed, and report it to the worker's parent at once."""
        head = TaskCall(seq=claim.seq, program=claim.program)
        self._next = Step(Message(flow_id=claim.flow_id, head=head), claim)
        process_table.write(self._message, self._at, self._next.celery_id)

    def keep_next(self, released: Sequence[Message]) -> Sequence[Message]:
        """Keep the most urgent of what was released, if this process may continue with it; the others are to be
        sent."""
        first = min(released, key=lambda message: message.head.priority, default=None)
        if self._next is not None or first is None or not self._fits(first.head):
            return released
        self._next = Step(first)
        return [message for message in released if message is not first]

    def _quick(self) -> list[str]:
        limit = conf.get().CONTINUE_SECONDS
        return [name for name, seconds in self.seconds.items() if seconds < limit]

    def _has_time(self) -> bool:
        now = time.monotonic()
        has_time = now < self._ends or (now < self._ends_at_last and process_table.another_is_idle())
        return has_time and not _is_stopping()

    def _fits(self, call: TaskCall) -> bool:
        return (
            self._has_time()
            and call.program in self._quick()
            and call.time_limit is None
            and route_of(call.program, call.queue, call.priority) == self._route
        )

    def run(self, traces: dict[str, Trace], name: str, uuid: str, args: Any, kwargs: Any, request: Any) -> Any:
        """Trace a message's task, and those that this process continues with; the result of the first."""
        seconds, now = request.get(HEADER, 0), time.monotonic()
        self._ends, self._ends_at_last = now + seconds, now + LONGER * seconds
        self._message, self._queue_is_long = uuid, False
        delivery = request.get("delivery_info") or {}
        self._route = Route(delivery.get("routing_key"), delivery.get("priority"))
        try:
            result = self._trace(traces, name, uuid, args, kwargs, request)
            if self._next is not None and not _is_stopping():
                events = TaskEvents(request)
                result = events.announce(name, uuid, result)
                self._continue(traces, request, events)
        finally:
            self._ends = self._ends_at_last = 0.0
            broken_off = self._step or self._next
            self._step = self._next = None
            if broken_off is not None:
                _give_back(broken_off)
        return result

    def _continue(self, traces: dict[str, Trace], request: Any, events: TaskEvents) -> None:
        while self._next is not None and not _is_stopping():
            self._step, self._next = self._next, None
            process_table.write(self._message, self._at, self._step.celery_id)
            request = _request(request, self._step)
            name, uuid, args, kwargs = (request[key] for key in ("task", "id", "args", "kwargs"))
            events.begin(request, self._route.routing_key)
            events.end(name, uuid, self._trace(traces, name, uuid, args, kwargs, request))

    def _trace(self, traces: dict[str, Trace], name: str, uuid: str, *arguments: Any) -> Any:
        self._at, begun = uuid, time.monotonic()
        try:
            return traces[name](uuid, *arguments)
        finally:
            self.seconds[name.removeprefix(PREFIX)] = time.monotonic() - begun


def _is_stopping() -> bool:
    return executor.current().is_stopping() or stopping.asked()


def _give_back(step: Step) -> None:
    """Let another process start what this one was to continue with."""
    messages: Sequence[Message] = [step.message]
    if step.claim is not None:
        messages = recovery.hand_back(step.claim.ref, "its process was asked to stop", identity.process()).released
    dispatching.send(messages)


def _request(before: dict[str, Any], step: Step) -> dict[str, Any]:
    """The request of a task that the process continues with, made of that of the task before it."""
    args = tuple(step.message.ref)
    return {
        **before,
        "id": step.celery_id,
        "correlation_id": step.celery_id,
        "parent_id": before["id"],
        "task": task_name(step.message.head.program),
        "args": args,
        "kwargs": {},
        "argsrepr": repr(args),
        "delivery_info": {**before["delivery_info"], "redelivered": False},
        "chain": None,
        "chord": None,
    }


current = MessageContinuation()
"""That of this process, which runs one task at a time."""


def install(app: Celery, names: Sequence[str]) -> None:
    """In a new process of a pool: let the tasks of these names continue with what they release.

    Celery calls the tracer once for each message; when it returns, the task is done and the next one can start.
    """
    if not (identity.was_forked() and process_table.claim()):  # else the parent would not know where this process is
        return
    traces = {name: app.tasks[name].__trace__ for name in names}
    for name, task in app.tasks.items():
        if task.__trace__ is None:  # it was added later, and gets a tracer with its first message
            continue
        task.__trace__ = _noting(_continuing(traces, name) if name in traces else task.__trace__)


def _continuing(traces: dict[str, Trace], name: str) -> Trace:
    def trace(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        return current.run(traces, name, uuid, args, kwargs, request or {})

    return trace


def _noting(trace: Trace) -> Trace:
    """The tracer, which shows the other processes that this one is busy."""

    def noted(*arguments: Any, **options: Any) -> Any:
        process_table.set_busy(True)
        try:
            return trace(*arguments, **options)
        finally:
            process_table.set_busy(False)

    return noted
