"""The messages about ready tasks that the engine passes to an executor. This module does not depend on Celery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from flowerapp import states


class TaskRef(NamedTuple):
    """The key of a task: its row in ``kr_task_stat``."""

    flow_id: str
    """``task_flow_id``."""
    seq: int
    """``task_exec_seq``."""

    def __str__(self) -> str:
        return f"flow {self.flow_id} task {self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCall:
    """One task of a message, with the options it is sent with."""

    seq: int
    """``task_exec_seq``."""
    program: str
    queue: str = ""
    """Name of the queue; if empty, the executor's routing of the program decides."""
    priority: int = 0
    """−20…19; lower runs first."""
    time_limit: int | None = None
    """In seconds; None means the program's own limit."""

    @property
    def kind(self) -> tuple[str, str]:
        """Program and queue; for the broker, tasks with the same pair are interchangeable."""
        return self.program, self.queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A hint that a task is ready, and the tasks that the same message carries after it."""

    flow_id: str
    """``task_flow_id``."""
    head: TaskCall
    """The ready task."""
    then: tuple[TaskCall, ...] = ()
    """The rest of a chain: each task is sent when the one before it has finished."""
    join: TaskCall | None = None
    """The body of a chord: the finish that releases it sends it."""

    @property
    def ref(self) -> TaskRef:
        """The key of the ready task."""
        return TaskRef(self.flow_id, self.head.seq)

    @classmethod
    def of(cls, flow_id: str, head: TaskCall, carried: dict[str, Any] | None) -> Message:
        """The message for a ready task; ``carried`` is its row's column ``canvas``, which ``carried_json`` made."""
        canvas = carried or {}
        join = canvas.get("join")
        return cls(
            flow_id=flow_id,
            head=head,
            then=tuple(TaskCall(**call) for call in canvas.get("then", ())),
            join=TaskCall(**join) if join else None,
        )

    def of_pool(self, pool: str) -> Message:
        """The same message, with the priority that a task of this pool is sent with."""
        if not pool:
            return self
        return replace(self, head=replace(self.head, priority=sent_priority(self.head.priority, pool)))


class Marker(NamedTuple):
    """A message about no task, which is sent after those of a queue and a priority step.

    Once a worker takes it, the messages that were sent there before it are lost if they were not taken. So losses are
    found where the broker does not say, or cannot say, how many messages of tasks a queue holds.
    """

    queue: str
    """Name of the queue."""
    step: int
    """0…9, the lowest is the most urgent."""
    until: str
    """``sent_ts`` of the last task that was sent before it: ISO 8601."""


def carried_json(then: Sequence[TaskCall], join: TaskCall | None) -> dict[str, Any] | None:
    """The column ``canvas`` of a run's first task, from which its message can be rebuilt; None for a single task."""
    if not then and join is None:
        return None
    return {"then": [asdict(call) for call in then], "join": asdict(join) if join else None}


SEND_BATCH = 500
"""Most messages that a process publishes in one batch. Publishing a batch must take far less than
``FLOWER["RESEND_AFTER"]`` seconds, or the watcher resends the last messages before they were sent at all."""
FIRST_SENT = 20
"""Most tasks of one program and queue that are sent when many become ready together. The others are deferred:
whenever one of these tasks ends, the next deferred task is sent."""


def first_sent(ready: Iterable[TaskCall]) -> set[int]:
    """Seqs of the tasks to send out of those that become ready together, the most urgent; the others are deferred."""
    counts: Counter[tuple[str, str]] = Counter()
    chosen = set()
    for call in sorted(ready, key=lambda call: (call.priority, call.seq)):
        counts[call.kind] += 1
        if counts[call.kind] <= FIRST_SENT:
            chosen.add(call.seq)
    return chosen


STEP = 4
"""Number of nice values that map to one priority step of the broker."""
BROKER_STEPS = 10
"""Number of priority steps of the broker."""


def broker_step(priority: int, *, highest_first: bool) -> int:
    """The broker's priority, 0…9, for a nice value, −20…19.

    Redis delivers 0 first; RabbitMQ delivers 9 first and needs ``highest_first``.
    """
    step = (states.clamp_priority(priority) - states.HIGHEST_PRIORITY) // STEP
    return BROKER_STEPS - 1 - step if highest_first else step


def sent_priority(priority: int, pool: str) -> int:
    """The nice value that a task's message is sent with.

    That of a task with a pool is one priority step of the broker more urgent, so that no slot waits in a queue behind
    tasks without a pool.
    """
    return states.clamp_priority(priority - STEP) if pool else priority
