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


def _label(token: Token) -> Label:
    return Label(str(token)[1:], _start(token))


def _literal(token: Token) -> Literal:
    literal: Literal = token.value
    return literal


def _source(source: Token | Resource) -> Source:
    if not isinstance(source, Token):
        return source
    return _label(source) if source.type == "LABEL" else _literal(source)


def _by_type(tokens: list[Token]) -> dict[str, Token]:
    return {token.type: token for token in tokens}


class Builder(Transformer[Token, Any]):
    """One method for each rule of the grammar, which gets what the rule's parts became, without those left out."""

    def start(self, children: list[Any]) -> tuple[Any, ...]:
        """The whole."""
        return tuple(children)

    def declaration(self, children: list[Any]) -> Declaration:
        """``@kind name = alias (parameters) doc { … } ;``."""
        sign, name, *rest = children
        parts = _by_type([part for part in rest if isinstance(part, Token)])
        alias, parameters, doc = parts.get("NAME"), parts.get("PARAMETERS"), parts.get("DOC")
        return Declaration(
            kind=str(sign)[1:],
            name=str(name),
            alias=None if alias is None else str(alias),
            parameters=None if parameters is None else _literal(parameters),
            doc=None if doc is None else str(doc),
            subflow=next((part for part in rest if isinstance(part, Subflow)), None),
            position=_start(sign),
            alias_position=0 if alias is None else _start(alias),
        )

    flow = declaration

    def statement(self, children: list[Any]) -> Statement:
        """``source → step → destination ;``."""
        steps = tuple([part for part in children if isinstance(part, Step)])
        first = children[0]
        if len(steps) == len(children):
            return Statement(steps, position=first.position)
        return Statement(
            steps,
            source=None if first is steps[0] else _source(first),
            destination=next((part for part in children if isinstance(part, Destination)), None),
            position=_position(first),
        )

    def resource(self, children: list[Token]) -> Resource:
        """``<address>``."""
        uri, *rest = children
        return Resource(str(uri), _literal(rest[0]) if rest else None, _start(uri))

    def destination(self, children: list[Any]) -> Destination:
        """``> :label`` or ``> <address>``."""
        target, merge = children[-1], len(children) > 1
        label = _label(target) if isinstance(target, Token) else target
        return Destination(label, merge, _position(children[0]))

    def step(self, children: list[Any]) -> Step:
        """A task, list or subflow with what stands around it."""
        first = children[0]
        if len(children) == 1:
            return Step(first, position=first.position)
        index = next(index for index, part in enumerate(children) if not isinstance(part, Token))
        before = _by_type(children[:index])
        label, guard, after = before.get("LABEL"), before.get("EXPRESSION"), children[index + 1 :]
        return Step(
            body=children[index],
            input_label=None if label is None else _label(label),
            output_label=_label(after[0]) if after else None,
            merge="MERGE" in before,
            each="EACH" in before,
            guard=None if guard is None else Guard(str(guard), _start(guard) + 1),
            position=_position(first),
        )

    def tasks(self, children: list[Task]) -> TaskList:
        """``A|B``."""
        return TaskList(tuple(children), children[0].position)

    def task(self, children: list[Token]) -> Task:
        """``A (parameters)``."""
        name = children[0]
        return Task(str(name), _literal(children[1]) if len(children) > 1 else None, _start(name))

    def subflow(self, children: list[Any]) -> Subflow:
        """``{ … }``."""
        opening, *statements, closing = children
        return Subflow(tuple(statements), _start(opening), _start(closing))


def _position(part: Any) -> int:
    return _start(part) if isinstance(part, Token) else int(part.position)
