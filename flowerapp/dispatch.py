"""The port through which the engine hands ready tasks to whatever carries them.

The canvas fills it when the app is ready, the testing module with an inline runner. Nothing here knows Celery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from flowerapp import states


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A task as a message names it, with the options of its own."""

    seq: int
    """``task_exec_seq``."""
    program: str
    queue: str = ""
    """Name of the queue; empty leaves it to the program's Celery routing."""
    priority: int = 0
    """−20…19, lower first."""
    time_limit: int | None = None
    """Seconds; None takes the program's."""

    def as_json(self) -> dict[str, Any]:
        """For the ``canvas`` column."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A hint to look at a ready task, and what follows it on the same message."""

    flow_id: str
    head: Link
    then: tuple[Link, ...] = ()
    """A chain: each is sent when the one before it has finished."""
    join: Link | None = None
    """The body of a chord: sent by whichever finish releases it."""

    @classmethod
    def of(cls, flow_id: str, head: Link, canvas: dict[str, Any] | None) -> Message:
        """The message for a ready task whose row carries ``canvas`` (see ``canvas_of``)."""
        canvas = canvas or {}
        join = canvas.get("join")
        return cls(
            flow_id=flow_id,
            head=head,
            then=tuple(Link(**each) for each in canvas.get("then", ())),
            join=Link(**join) if join else None,
        )

    def sooner(self) -> Message:
        """The same, a step of the broker's more urgent."""
        return replace(self, head=replace(self.head, priority=states.clamp_priority(self.head.priority - STEP)))


STEP = 4
"""Nice values that share one of the broker's steps of priority."""


def canvas_of(then: Sequence[Link], join: Link | None) -> dict[str, Any] | None:
    """What a run's first row stores, so that whoever releases it can send the run without another look."""
    if not then and join is None:
        return None
    return {"then": [link.as_json() for link in then], "join": join.as_json() if join else None}


class Sender(Protocol):
    """Hands messages to workers. It may fail or lose them: the watcher sends again what nobody claims."""

    def __call__(self, messages: Sequence[Message]) -> None:
        """Send them all, or raise."""

    def tell(self, flow_ids: Sequence[str]) -> None:
        """Let a worker tell what happened in these flows to those who listen."""

    def connected(self) -> bool:
        """Whether what is sent from this process can reach a worker."""


_sender: Sender | None = None


def use(sender: Sender | None) -> Sender | None:
    """Fill the port; returns what filled it before. None leaves ready rows to the watcher of another process."""
    global _sender
    previous, _sender = _sender, sender
    return previous


def connected() -> bool:
    """Whether messages sent here can reach a worker; else ready rows are left unsent for the watcher."""
    return _sender is not None and _sender.connected()


def send(messages: Sequence[Message]) -> None:
    """Hand ready tasks to the workers; call it after the commit that made them ready."""
    if _sender is not None and messages:
        _sender(messages)


def tell(flow_ids: Sequence[str]) -> None:
    """Let a worker tell what happened in these flows to those who listen."""
    if _sender is not None and flow_ids:
        _sender.tell(flow_ids)


AT_ONCE = 500
"""Messages that one process takes on at once: publishing them must take far less than ``RESEND_AFTER``, or they would
be taken for lost before they are sent."""
FIRST = 20
"""Tasks of one kind (program and queue) that whoever makes them ready together sends; the rest is left over to them:
each that ends goes on with the next, or sends it."""


def first_of(ready: Iterable[tuple[int, int, str, str]]) -> set[int]:
    """Which of the tasks that become ready together are sent; each is ``(seq, priority, program, queue)``."""
    counts: Counter[tuple[str, str]] = Counter()
    chosen = set()
    for seq, _, *kind in sorted(ready, key=lambda task: (task[1], task[0])):
        counts[kind[0], kind[1]] += 1
        if counts[kind[0], kind[1]] <= FIRST:
            chosen.add(seq)
    return chosen


BROKER_STEPS = 10


def broker_step(priority: int, *, highest_first: bool) -> int:
    """The broker's priority, 0…9, for a nice value; Redis takes 0 first, RabbitMQ 9 first (``highest_first``)."""
    step = (states.clamp_priority(priority) - states.HIGHEST_PRIORITY) // STEP
    return BROKER_STEPS - 1 - step if highest_first else step
