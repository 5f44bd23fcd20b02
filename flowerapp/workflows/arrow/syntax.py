"""The tree of a text. Positions count characters from 0 and do not take part in comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

START, END = "start", "end"
"""Labels that are reserved for where a flow or subflow starts and ends."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON value that stands in the text as JSON or YAML."""

    value: Any
    position: int = field(default=0, compare=False)
    written: str = field(default="", compare=False)
    """The text of it with its delimiters, as a formatter keeps it; empty for a tree that was not read from a text."""
    size: int = field(default=0, compare=False)
    """Characters of it as JSON; 0 in such a tree."""


@dataclass(frozen=True, slots=True)
class Label:
    """``:name``."""

    name: str
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Guard:
    """``? `text```: a condition over the input of a step."""

    text: str
    position: int = field(default=0, compare=False)
    """Where ``text`` begins, behind the back quote."""


@dataclass(frozen=True, slots=True)
class Task:
    """A mention of a task by its name."""

    name: str
    parameters: Literal | None = None
    """None if it has none, which is not the same as ``()``."""
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TaskList:
    """``A|B|C``: at least two tasks."""

    tasks: tuple[Task, ...]
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Subflow:
    """``{ … }``: at least one statement."""

    statements: tuple[Statement, ...]
    position: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)
    """Where the closing brace stands."""


@dataclass(frozen=True, slots=True)
class Step:
    """A task, a list or a subflow, with what stands around it."""

    body: Task | TaskList | Subflow
    input_label: Label | None = None
    output_label: Label | None = None
    merge: bool = False
    """``>``."""
    each: bool = False
    """``*``."""
    guard: Guard | None = None
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """``<address>``, from which a flow loads a value or where it stores one."""

    uri: str
    parameters: Literal | None = None
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Destination:
    """What follows the last arrow, if it is no step."""

    target: Label | Resource
    merge: bool = False
    position: int = field(default=0, compare=False)


Source = Label | Resource | Literal
"""What a statement may begin with before its first step."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Steps joined by arrows."""

    steps: tuple[Step, ...]
    source: Source | None = None
    destination: Destination | None = None
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Declaration:
    """``@kind name = alias (parameters) '''doc''' { … }``."""

    kind: str
    name: str
    alias: str | None = None
    parameters: Literal | None = None
    doc: str | None = None
    subflow: Subflow | None = None
    position: int = field(default=0, compare=False)
    alias_position: int = field(default=0, compare=False)


Item = Statement | Declaration


@dataclass(frozen=True, slots=True)
class Document:
    """A whole text."""

    items: tuple[Item, ...]
    text: str = field(default="", compare=False)
    """What it was read from; errors show its lines."""
