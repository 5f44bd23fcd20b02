"""The executor port: everything that the engine and the watcher need from the system that carries tasks to workers.

``flowerapp.executors.celery`` sets its executor when the Django app is ready; ``flowerapp.testing`` sets one that runs
tasks in the test's own process. To add an executor, write a class with these members and pass an instance to ``use``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from flowerapp.core.messages import Message


class Executor(Protocol):
    """Carries messages to workers. It may lose, repeat and reorder them, because the database decides what runs."""

    @property
    def isolates_limited(self) -> bool:
        """Whether a program with a time limit needs a process of its own, because the worker's pool cannot kill it."""

    @property
    def soft_limit_error(self) -> type[Exception]:
        """The exception raised in a program when its soft time limit has passed."""

    @property
    def prefetch(self) -> int:
        """Messages that a worker reserves for each of its processes before it starts them."""

    def connected(self) -> bool:
        """Whether this process can reach the broker; if not, the watcher of another process sends the tasks."""

    def send(self, messages: Sequence[Message]) -> None:
        """Publish the messages; raises the broker's error unless it accepted them all."""

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Ask a worker to call the listeners for the hook events recorded in these flows."""

    def route_of(self, program: str, queue: str) -> str:
        """Name of the queue that a task is sent to.

        ``queue`` is the queue on the task's row; if it is empty, the executor's routing of the program decides.
        """

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, int]:
        """``{name: messages that wait in that queue of the broker}``; raises the broker's error if unreachable."""

    def is_stopping(self) -> bool:
        """Whether this process was asked to stop, so that the shutdown may be the cause of an error in a program."""


DEFAULT_QUEUE = "default"
"""The queue that ``NoExecutor`` reports for rows without a queue."""


class NoExecutor:
    """The executor of a process that has none: tasks stay unsent until the watcher of another process sends them."""

    isolates_limited = False
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

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, int]:
        """0 for each, because nothing is ever sent."""
        return dict.fromkeys(names, 0)

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
