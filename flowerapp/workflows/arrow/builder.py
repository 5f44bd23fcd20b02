"""Builds the tree of a text while lark reads it, from the leaves to the root."""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer

from flowerapp.workflows.arrow.syntax import (
    Declaration,
    Destination,
    Guard,
    Label,
    Literal,
    Resource,
    Source,
    Statement,
    Step,
    Subflow,
    Task,
    TaskList,
)


def _start(token: Token) -> int:
    return token.start_pos or 0


def _end(token: Token) -> int:
    return token.end_pos or 0


def _label(token: Token) -> Label:
    return Label(str(token)[1:], _start(token))


def _optional_label(token: Token | None) -> Label | None:
    return None if token is None else _label(token)


def _literal(token: Token | None) -> Literal | None:
    if token is None:
        return None
    literal: Literal = token.value
    return literal


def _source(source: Token | Resource | None) -> Source | None:
    if not isinstance(source, Token):
        return source
    return _label(source) if source.type == "LABEL" else _literal(source)


class Builder(Transformer[Token, Any]):
    """One method for each rule of the grammar, which gets what the rule's parts became."""

    def start(self, children: list[Any]) -> tuple[Any, ...]:
        """The whole."""
        return tuple(children)

    def declaration(self, children: list[Any]) -> Declaration:
        """``@kind name = alias (parameters) doc { … } ;``."""
        sign, name, alias, parameters, doc, subflow, _ = children
        return Declaration(
            kind=str(sign)[1:],
            name=str(name),
            alias=None if alias is None else str(alias),
            parameters=_literal(parameters),
            doc=None if doc is None else str(doc),
            subflow=subflow,
            position=_start(sign),
            alias_position=0 if alias is None else _start(alias),
        )

    def flow(self, children: list[Any]) -> Declaration:
        """``@flow name (parameters) doc ;``."""
        *before, semicolon = children
        return self.declaration([*before, None, semicolon])

    def statement(self, children: list[Any]) -> Statement:
        """``source → step → destination ;``."""
        source, *steps, destination, _ = children
        position = steps[0].position if source is None else _position(source)
        return Statement(tuple(steps), _source(source), destination, position)

    def resource(self, children: list[Token]) -> Resource:
        """``<address>``."""
        uri, parameters = children
        return Resource(str(uri), _literal(parameters), _start(uri))

    def destination(self, children: list[Any]) -> Destination:
        """``> :label`` or ``> <address>``."""
        merge, target = children
        position = _start(merge) if merge is not None else _position(target)
        return Destination(_label(target) if isinstance(target, Token) else target, merge is not None, position)

    def step(self, children: list[Any]) -> Step:
        """A task, list or subflow with what stands around it."""
        before, mark, guard, body, after = children
        first = next((part for part in (before, mark) if part is not None), None)
        if guard is not None:
            first = first or guard
        return Step(
            body=body,
            input_label=_optional_label(before),
            output_label=_optional_label(after),
            merge=mark is not None and mark.type == "MERGE",
            each=mark is not None and mark.type == "EACH",
            guard=None if guard is None else Guard(str(guard), _start(guard) + 1),
            position=body.position if first is None else _start(first),
        )

    def tasks(self, children: list[Task]) -> TaskList:
        """``A|B``."""
        return TaskList(tuple(children), children[0].position)

    def task(self, children: list[Token]) -> Task:
        """``A (parameters)``."""
        name, parameters = children
        return Task(str(name), _literal(parameters), _start(name))

    def subflow(self, children: list[Any]) -> Subflow:
        """``{ … }``."""
        opening, *statements, closing = children
        return Subflow(tuple(statements), _start(opening), _start(closing))


def _position(part: Any) -> int:
    return _start(part) if isinstance(part, Token) else int(part.position)
