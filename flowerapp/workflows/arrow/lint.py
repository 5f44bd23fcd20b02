"""What in a correct text may not be meant: doubtful arrows, and labels and declarations without use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from flowerapp.core import programs
from flowerapp.core.gates import WAITS
from flowerapp.workflows.arrow.compiler import Positions, compile_document
from flowerapp.workflows.arrow.declarations import FLOW, TASK
from flowerapp.workflows.arrow.graph import Graph
from flowerapp.workflows.arrow.lexer import spans
from flowerapp.workflows.arrow.lowering import BUILT_IN, no_program
from flowerapp.workflows.arrow.parser import parse
from flowerapp.workflows.arrow.syntax import END, START, Declaration, Document, Label, Statement, Subflow, TaskList

STEP_ENDS = {"NAME", "LABEL", "LITERAL"}
"""Tokens that a step may end with, besides a brace."""


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """A place in a text, and what may not be meant there."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


def lint_text(text: str) -> list[Note]:
    """The notes on a text, in the order of their places; raises ArrowError for one that has no meaning."""
    document = parse(text)
    notes = list(_programs(compile_document(document)))
    placed = Positions(text)
    for position, message in [*_signs(text), *_uses(document)]:
        place = placed(position)
        notes.append(Note(place.line, place.column, message))
    return sorted(notes)


def _programs(graph: Graph) -> Iterator[Note]:
    """Notes on steps that no flow can run: programs of flowerapp's that are not there, and waits for each item."""
    for step in graph.steps:
        message = ""
        if step.base.startswith(BUILT_IN) and programs.find(step.base) is None:
            message = no_program(step.base)
        elif step.each and step.base in WAITS:
            message = f"{step.base} is a step by itself and cannot run for each item"
        if message and step.place is not None:
            yield Note(step.place.line, step.place.column, message)


def _signs(text: str) -> Iterator[tuple[int, str]]:
    """Notes on arrows and ``>`` by the tokens around them."""
    tokens = [token for token in spans(text) if token[0] != "COMMENT"]
    for (kind, start, end), (_, sign_start, sign_end) in pairwise(tokens):
        sign = text[sign_start:sign_end]
        if sign == "->" and kind in {"NAME", "LABEL"} and end == sign_start:
            name = text[start:end]
            yield sign_start, f"littleflow reads {name}- and > here; put a blank before ->"
        elif sign == ">" and (kind in STEP_ENDS or text[start:end] == "}") and "\n" not in text[end:sign_start]:
            yield sign_start, "this > begins a statement and merges its input; an arrow is → or ->"


@dataclass(slots=True)
class _Scope:
    """The labels of a flow or subflow, by what they are."""

    outputs: list[Label] = field(default_factory=list)
    inputs: list[Label] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    destinations: set[str] = field(default_factory=set)

    def add(self, statement: Statement) -> None:
        """Take the labels of a statement."""
        if isinstance(statement.source, Label):
            self.sources.add(statement.source.name)
        if statement.destination and isinstance(statement.destination.target, Label):
            self.destinations.add(statement.destination.target.name)
        self.inputs += [step.input_label for step in statement.steps if step.input_label]
        self.outputs += [step.output_label for step in statement.steps if step.output_label]

    def unused(self) -> Iterator[tuple[int, str]]:
        """Notes on labels without use."""
        taken = self.sources | {label.name for label in self.inputs} | {START, END}
        delivered = self.destinations | {label.name for label in self.outputs}
        for label in self.outputs:
            if label.name not in taken:
                yield label.position, f"nothing takes the output :{label.name}"
        for label in self.inputs:
            if label.name not in delivered:
                yield label.position, f"nothing is delivered to the input :{label.name}"


def _uses(document: Document) -> Iterator[tuple[int, str]]:
    """Notes on labels and declarations."""
    mentioned: set[str] = set()
    declarations = [item for item in document.items if isinstance(item, Declaration)]
    scopes: list[Sequence[Statement]] = [[item for item in document.items if isinstance(item, Statement)]]
    scopes += [item.subflow.statements for item in declarations if item.subflow]
    while scopes:
        scope = _Scope()
        for statement in scopes.pop():
            scope.add(statement)
            for step in statement.steps:
                if isinstance(step.body, Subflow):
                    scopes.append(step.body.statements)
                else:
                    tasks = step.body.tasks if isinstance(step.body, TaskList) else (step.body,)
                    mentioned.update(task.name for task in tasks)
        yield from scope.unused()
    mentioned.update(item.alias for item in declarations if item.alias)
    for item in declarations:
        if item.kind not in {FLOW, TASK}:
            yield item.position, f"@{item.kind} has no meaning; @flow and @task have"
        elif item.kind == TASK and item.name not in mentioned:
            yield item.position, f"no step mentions the declared task {item.name}"
