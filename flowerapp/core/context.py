"""The object that a program receives as its parameter ``ctx``, as programs see it; ``engine.context`` implements it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

CONTEXT = "ctx"
"""A parameter of this name receives the context instead of a value from the row."""


class Context(Protocol):
    """The object that a program receives as its parameter ``ctx``."""

    @property
    def flow_id(self) -> str:
        """``task_flow_id``."""

    @property
    def task_id(self) -> str:
        """Name of the workflow."""

    @property
    def seq(self) -> int:
        """``task_exec_seq``."""

    @property
    def task_seq(self) -> int:
        """``task_seq``."""

    @property
    def name(self) -> str:
        """What people call the step: its alias or its name, or else its program."""

    @property
    def attempt(self) -> int:
        """Number of times this task was started, this start included; it never decreases."""

    @property
    def retries(self) -> int:
        """Number of retries since the task was registered or rerun."""

    @property
    def input(self) -> Any:
        """The flow's input if the task has no dependencies; else their outputs, combined by ``core.values.merge``."""

    @property
    def idempotency_key(self) -> str:
        """``flow:seq:run``: the same for all attempts until the task is rerun, for services that deduplicate."""

    @property
    def now(self) -> datetime:
        """The time in UTC, by flowerapp's clock, which tests move."""

    @property
    def cancelled(self) -> bool:
        """Whether the engine would refuse the result of this attempt, say after a cancel; queries the database."""

    def output_of(self, step: int | str) -> Any:
        """The output of a satisfied task of this flow, by ``task_seq``, name or program; raises KeyError."""

    @property
    def state(self) -> dict[str, Any]:
        """A copy of the flow's shared state, as it is in the database now."""

    def change_state(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
        """Change the flow's shared state with compare-and-set; returns the state stored.

        ``change`` receives a copy of the state; it edits the copy and returns None, or returns a new object. If another
        process changed the state in between, ``change`` is called again; ContendedStateError after too many tries.
        """

    @property
    def child_id(self) -> Any:
        """The id that the parent gave this child in ``add_children``; None for a task that is not a child."""

    def add_children(self, items: Iterable[Any]) -> None:
        """Add children, which run the task's child program once this program has succeeded.

        ``items`` are JSON values, one child for each; or pairs ``(id, item)`` or a dict ``{id: item}``, one child for
        each id. A child's ``input`` is its item; with ids, the list of the items of its id. A Celery signature, such as
        ``send.s(1)``, is a child that makes this call, and a group is one for each of its signatures. The output of the
        task becomes the list of the children's outputs, in order. Raises FlowerError if the step has no child program
        for an item, and InvalidValueError for more than ``FLOWER["MAX_CHILDREN"]`` children, an item that is not JSON,
        or a signature that a child cannot run.
        """

    def log(self, message: str) -> None:
        """Add a line to the task's log."""

    def progress(self, done: int, total: int) -> None:
        """Record the progress of the task: ``done`` of ``total``, in units of the program's choice."""
