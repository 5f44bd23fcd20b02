"""Time slices: a pool process that has finished a task goes on with one that it released, without a message.

Between two quick tasks of a flow the way through the broker costs more than both. So for ``TIME_SLICE`` seconds from
the arrival of a message its process runs what it releases itself: claimed and finished in the database as ever, and
traced by Celery as a task of its own, with its id, signals and log lines. It does so only where a message would have
come to the same place, and where nobody counts messages or looks at them (``watcher.life`` says so).
"""

from __future__ import annotations

import functools
import hashlib
import logging
import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.app import app_or_default

from flowerapp import canvas, conf, engine, identity, queues
from flowerapp.dispatch import Link, Message
from flowerapp.engine import Outcome, told_to_end
from flowerapp.querysets import Claim

logger = logging.getLogger(__name__)

HEADER = "flower_time_slice"
"""What the worker's parent adds to a message for its process: seconds that it may go on."""

Trace = Callable[..., Any]
Place = tuple[str, int]
"""Flow and seq."""
Found = dict[bytes, tuple[int, int]]


class Marks:
    """Where the processes of a pool are that went on, for its parent, which knows only their messages.

    Shared memory: each process writes an entry of its own, the parent reads them.
    """

    _ENTRY = struct.Struct("=i8sii")  # pid, digest of the message's id, the seq before, this seq
    _ROOM = 8192

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._ENTRY.size * self._ROOM)

    def claim(self) -> bool:
        """Take this process's entry; False if another living one has it."""
        pid = self._ENTRY.unpack_from(self._memory, self._offset())[0]
        if pid not in (0, os.getpid()) and _is_alive(pid):
            return False
        self.write("", 0, 0)
        return True

    def write(self, celery_id: str, before: int, seq: int) -> None:
        """This process goes on with the task ``seq`` after ``before``; ``celery_id`` is its message's."""
        self._ENTRY.pack_into(self._memory, self._offset(), os.getpid(), _digest(celery_id), before, seq)

    def _offset(self) -> int:
        return os.getpid() % self._ROOM * self._ENTRY.size

    def read(self) -> Found:
        """Digest of a message's id → the last two seqs of the process that went on with it."""
        return {digest: (before, seq) for pid, digest, before, seq in self._ENTRY.iter_unpack(self._memory) if pid}


def _digest(celery_id: str) -> bytes:
    return hashlib.blake2b(celery_id.encode(), digest_size=8).digest()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


marks = Marks()


def places_of(celery_id: str, found: Found) -> list[Place]:
    """What the process that has this message may be at: its task and, if it went on, the one before; the last is
    where it is now. Empty for messages that are none of ours. ``found`` is what the marks say."""
    place = canvas.place_of(celery_id)
    if place is None:
        return []
    return [(place[0], seq) for seq in found.get(_digest(celery_id), ())] or [place]


@dataclass(frozen=True, slots=True)
class Step:
    """A task that a process goes on with."""

    message: Message
    claim: Claim | None = None
    """Where it is claimed already."""


Way = tuple[str | None, int | None]
"""Routing key and priority of a message."""


def _way_of(program: str, queue: str, priority: int) -> Way | None:
    """How a message for such a task comes; None if it has more to say than a process that goes on could know."""
    try:
        return _asked(program, queue, priority)
    except Exception:  # a router's; the task before, which has been done, is not to suffer from it
        logger.debug("no way for program %s and queue %r", program, queue, exc_info=True)
        return None


@functools.lru_cache(maxsize=4096)
def _asked(program: str, queue: str, priority: int) -> Way | None:
    app = app_or_default()
    task = app.tasks[canvas.task_name(program)]
    if limited(task) or any(getattr(task, name, None) for name in ("queue", "exchange", "routing_key")):
        return None
    link = Link(seq=0, program=program, queue=queue, priority=priority)
    return queues.queue_of(program, queue), canvas.options_of(app, link)["priority"]


def limited(task: Any) -> bool:
    """Whether a Celery task has a time limit of its own, as its program or the host's annotations give it."""
    return bool(task.time_limit or task.soft_time_limit)


class Slice:
    """The time of one message in this process, and the task that comes next."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}
        """Program → seconds that its last start took here; one that is not quick goes by a message, so that whoever
        looks sees it."""
        self._message = ""
        """Celery's id of the message."""
        self._way: Way = "", 0
        self._ends = 0.0
        self._next: Step | None = None
        self._step: Step | None = None

    def perform(self, flow_id: str, seq: int) -> Outcome:
        """Run a task: that of a message, or the step at hand, which may be claimed already."""
        step, self._step = self._step, None
        if step is not None and step.claim is not None:
            return engine.perform(step.claim, self)
        return engine.run(flow_id, seq, identity.worker(), sent=step is None, continuation=self)

    def wants(self, claim: Claim) -> Sequence[str]:
        """What this process goes on with while there is time: this one's program, and those that were quick here."""
        if not self._has_time():
            return ()
        programs = dict.fromkeys([claim.program, *self._quick()])
        return [name for name in programs if _way_of(name, claim.queue, claim.task_priority) == self._way]

    def _quick(self) -> list[str]:
        most = conf.get().TIME_SLICE
        return [name for name, seconds in self.took.items() if seconds < most]

    def _has_time(self) -> bool:
        return time.monotonic() < self._ends and not told_to_end()

    def takes(self, before: Claim, claim: Claim) -> None:
        """Go on with a task that is claimed; the worker's parent is to know of it at once."""
        head = Link(seq=claim.seq, program=claim.program)
        self._next = Step(Message(flow_id=claim.flow_id, head=head), claim)
        marks.write(self._message, before.seq, claim.seq)

    def keep_next(self, released: Sequence[Message]) -> Sequence[Message]:
        """Keep the most urgent of what was released, if this process may go on with it; the others are to be sent."""
        first = min(released, key=lambda message: message.head.priority, default=None)
        if self._next is not None or first is None or not self._fits(first.head):
            return released
        self._next = Step(first)
        return [message for message in released if message is not first]

    def _fits(self, link: Link) -> bool:
        return (
            self._has_time()
            and link.program in self._quick()
            and link.time_limit is None
            and _way_of(link.program, link.queue, link.priority) == self._way
        )

    def run(self, traces: dict[str, Trace], name: str, uuid: str, args: Any, kwargs: Any, request: Any) -> Any:
        """Trace a message's task, and those that this process goes on with; what the first one came to."""
        self._message, self._ends = uuid, time.monotonic() + request.get(HEADER, 0)
        delivery = request.get("delivery_info") or {}
        self._way = delivery.get("routing_key"), delivery.get("priority")
        try:
            outcome = self._trace(traces, name, uuid, args, kwargs, request)
            before = args[1]
            while self._next is not None:
                self._step, self._next = self._next, None
                head = self._step.message.head
                marks.write(uuid, before, head.seq)
                link = self._request(request, self._step.message.flow_id, canvas.task_name(head.program), head.seq)
                self._trace(traces, link["task"], link["id"], link["args"], link["kwargs"], link)
                before = head.seq
        finally:
            self._ends = 0.0
            broken_off = self._step or self._next
            self._step = self._next = None
            if broken_off is not None:
                self._give_back(broken_off)
        return outcome

    @staticmethod
    def _give_back(step: Step) -> None:
        """Let another process start what this one was to go on with."""
        messages: Sequence[Message] = [step.message]
        if step.claim is not None:
            place, process = (step.claim.flow_id, step.claim.seq), (identity.worker(), os.getpid())
            reason = "its process was told to end"
            messages = engine.lost(*place, reason, worker=process[0], pid=process[1], counted=False).released
        engine.send(messages)

    def _trace(self, traces: dict[str, Trace], name: str, *given: Any) -> Any:
        began = time.monotonic()
        try:
            return traces[name](*given)
        finally:
            self.took[name.removeprefix(canvas.PREFIX)] = time.monotonic() - began

    @staticmethod
    def _request(first: dict[str, Any], flow_id: str, task: str, seq: int) -> dict[str, Any]:
        args = (flow_id, seq)
        celery_id = canvas.message_id(flow_id, seq)
        return {
            **first,
            "id": celery_id,
            "correlation_id": celery_id,
            "parent_id": first["id"],
            "task": task,
            "args": args,
            "kwargs": {},
            "argsrepr": repr(args),
            "delivery_info": {**first["delivery_info"], "redelivered": False},
            "chain": None,
            "chord": None,
        }


current = Slice()
"""That of this process, which runs one task at a time."""


def install(app: Celery, names: Sequence[str]) -> None:
    """In a new process of a pool: let the tasks of these names go on with what they release.

    A tracer is what Celery calls for a message, and the place where the message's own task has been dealt with.
    """
    if not (identity.was_forked() and marks.claim()):  # else the parent would not know where this process is
        return
    traces = {name: app.tasks[name].__trace__ for name in names}
    for name in names:
        app.tasks[name].__trace__ = _going_on(traces, name)


def _going_on(traces: dict[str, Trace], name: str) -> Trace:
    def trace(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        return current.run(traces, name, uuid, args, kwargs, request or {})

    return trace
