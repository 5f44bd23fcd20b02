"""What a text compiles to: numbered steps and their edges, independent of Django and of how they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FLOW_START = 0
"""The index of where a flow starts. It is no step."""


class Kind(StrEnum):
    """What a step does."""

    TASK = "task"
    """It runs a task."""
    START = "start"
    """A subflow starts: it gives its input to the first steps in it."""
    END = "end"
    """A subflow or the flow ends: it collects the outputs of the last steps in it."""
    VALUE = "value"
    """It gives a value that stands in the text."""
    LOAD = "load"
    """It loads a resource."""
    STORE = "store"
    """It stores its input in a resource."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in the text; both count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a flow."""

    index: int
    """Its number in reading order, from 1."""
    kind: Kind
    name: str = ""
    """Of a task as it is mentioned; of the start and end of a declared subflow; of a resource its address."""
    base: str = ""
    """Of a task: the name that it is an alias of, or else its own."""
    parameters: Any = field(default_factory=dict)
    """Of a task or resource: its parameters over the declared ones. Of a value: the value."""
    doc: str = ""
    """Of a task or a declared subflow: the text of its declaration."""
    merge: bool = False
    """Whether its input is one object that merges what it collects."""
    guard: str = ""
    """The condition under which it runs; if it does not hold, the input becomes the output. Of a subflow's start: the
    condition of the whole, whose input becomes the output of the end. Empty for none."""
    each: bool = False
    """Whether it runs once for each item of its input, a list. Of a subflow's start: whether the whole does."""
    depends_on: tuple[int, ...] = ()
    """The indexes whose outputs it collects, in ascending order. Empty if it begins with the flow's input alone; 0, the
    flow's start, stands in it only beside others."""
    end: int | None = None
    """Of a subflow's start: the index of the subflow's end."""
    place: Position | None = field(default=None, compare=False)
    """Where it stands in the text; None if the graph was not read from one."""

    @property
    def incoming(self) -> tuple[int, ...]:
        """``depends_on`` with the flow's start where it stands alone."""
        return self.depends_on or (FLOW_START,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A whole flow."""

    steps: tuple[Step, ...]
    """All steps; ``steps[i].index`` is ``i + 1``. The last is the end of the flow."""
    name: str = ""
    """The name of the last ``@flow``; empty without one."""
    doc: str = ""
    """The text of that ``@flow``."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of that ``@flow``."""

    @property
    def end(self) -> int:
        """The index of the flow's end."""
        return len(self.steps)

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Pairs of indexes, sorted; 0 is the flow's start."""
        return sorted((before, step.index) for step in self.steps for before in step.incoming)
