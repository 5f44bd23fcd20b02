"""The executor port: everything that the engine and the watcher need from the system that carries tasks to workers.

``flowerapp.executors.celery`` sets its executor when the Django app is ready; ``flowerapp.testing`` sets one that runs
tasks in the test's own process. To add an executor, write a class with these members and pass an instance to ``use``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from flowerapp.core.endings import Ending
from flowerapp.core.messages import BROKER_STEPS, Marker, Message, TaskRef

ALL_STEPS = tuple(range(BROKER_STEPS))
"""All priority steps of the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What a broker counts separately: the messages of a queue that have one of these priority steps."""

    messages: int
    """Messages that wait in it."""
    steps: tuple[int, ...] = ALL_STEPS
    """0…9, the lowest is the most urgent; empty if no message about a task has such a priority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSize:
    """What a broker answers about one queue: how many messages wait in it, 0 included, or why that is unknown.

    Unknown is not empty: nothing may be done because of it.
    """

    lanes: tuple[Lane, ...] = ()
    """All messages of the queue; a broker that counts the queue as a whole has one lane."""
    unknown: str = ""
    """Why the number is unknown, as a sentence without an end; empty if it is known."""

    @classmethod
    def of(cls, messages: int) -> QueueSize:
        """The size of a queue that the broker counts as a whole."""
        return cls(lanes=(Lane(messages=messages),))

    @property
    def messages(self) -> int | None:
        """Number of messages that wait in the queue; None if it is unknown."""
        return None if self.unknown else sum(lane.messages for lane in self.lanes)


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits of an attempt in seconds; None means no limit."""

    hard: float | None = None
    """The process is killed."""
    soft: float | None = None
    """An exception is raised in the program."""

    def __bool__(self) -> bool:
        """Whether there is a limit."""
        return bool(self.hard or self.soft)


class UnpublishableError(Exception):
    """The broker can be reached, but some messages cannot be published. All others of the batch were."""

    def __init__(self, refused: Mapping[TaskRef, str]) -> None:
        self.refused = dict(refused)
        """Task → why its message cannot be published."""
        super().__init__("; ".join(f"{ref}: {reason}" for ref, reason in self.refused.items()))


class Executor(Protocol):
    """Carries messages to workers. It may lose, repeat and reorder them, because the database decides what runs."""

    @property
    def isolates_limited(self) -> bool:
        """Whether a program with a time limit needs a process of its own, because the worker's pool cannot kill it."""

    @property
    def soft_limit_error(self) -> type[Exception]:
        """The exception raised in a program when its soft time limit has passed."""

    @property
    def runs_here(self) -> bool:
        """Whether tasks run in the process that sends them, so that they may start in a test's transaction, which is
        never committed."""

    @property
    def propagates(self) -> bool:
        """Whether the error of a task that runs here is raised where the task is sent."""

    @property
    def prefetch(self) -> int:
        """Messages that a worker reserves for each of its processes before it starts them; 0 if without a limit."""

    def connected(self) -> bool:
        """Whether this process can reach the broker; if not, the watcher of another process sends the tasks."""

    def send(self, messages: Sequence[Message]) -> None:
        """Publish the messages.

        Raises UnpublishableError, once the others are published, if some of them cannot be; and the broker's error if
        it cannot be reached.
        """

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Ask a worker to call the listeners for the hook events recorded in these flows."""

    def route_of(self, program: str, queue: str) -> str:
        """Name of the queue that a task is sent to.

        ``queue`` is the queue on the task's row; if it is empty, the executor's routing of the program decides. Empty
        if the routing fails.
        """

    def send_marker(self, marker: Marker) -> None:
        """Publish a marker to its queue, with the priority of its step; raises the broker's error."""

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, QueueSize]:
        """``{name: size of that queue}``, for each name; raises the broker's error if unreachable."""

    def call(self, function: Callable[[], Result], limits: Limits) -> Result:
        """Call a program in this process; ``limits`` are those that nothing else enforces."""

    def report(self, ending: Ending) -> None:
        """Log how an attempt ended that has no process of its own left to say so, and notify those who listen."""

    def run_ready(self, waited_for: str) -> bool:
        """Before a caller waits for a flow: run what is ready in this process; False if tasks run elsewhere.

        Raises TimeoutError where nothing else would run it either.
        """

    def hands_back(self) -> bool:
        """Whether the worker of this process was asked to stop by its operator: what it interrupts is then handed back,
        which counts as no rescue."""

    def is_stopping(self) -> bool:
        """Whether this process was asked to stop, so that the shutdown may be the cause of an error in a program."""


DEFAULT_QUEUE = "default"
"""The queue that ``NoExecutor`` reports for rows without a queue."""


class NoExecutor:
    """The executor of a process that has none: tasks stay unsent until the watcher of another process sends them."""

    isolates_limited = False
    runs_here = False
    propagates = False
    soft_limit_error: type[Exception] = TimeoutError
    prefetch = 1

    def connected(self) -> bool:
        """Never."""
        return False

    def send(self, messages: Sequence[Message]) -> None:
        """Do nothing; the watcher sends the tasks."""

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Do nothing; the watcher delivers the events."""

    def route_of(self, program: str, queue: str) -> str:
        """The queue on the row, or ``DEFAULT_QUEUE``."""
        return queue or DEFAULT_QUEUE

    def send_marker(self, marker: Marker) -> None:
        """Do nothing; the watcher of another process sends markers."""

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, QueueSize]:
        """Unknown for each."""
        return dict.fromkeys(names, QueueSize(unknown="this process has no executor, so it cannot ask a broker"))

    def call(self, function: Callable[[], Result], limits: Limits) -> Result:
        """Call it."""
        return function()

    def report(self, ending: Ending) -> None:
        """Log it."""
        ending.log()

    def run_ready(self, waited_for: str) -> bool:
        """Tasks run elsewhere."""
        return False

    def hands_back(self) -> bool:
        """Never."""
        return False

    def is_stopping(self) -> bool:
        """Never."""
        return False


_current: Executor = NoExecutor()


def use(executor: Executor) -> Executor:
    """Set the executor of this process; returns the previous one."""
    global _current
    previous, _current = _current, executor
    return previous


def current() -> Executor:
    """The executor of this process."""
    return _current
