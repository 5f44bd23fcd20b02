"""Builds the tree of a path while lark reads it."""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer

from flowerapp.core.expressions import literals
from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.path_nodes import (
    All,
    Comparison,
    Condition,
    Constant,
    Exists,
    Filter,
    Index,
    Junction,
    Key,
    Length,
    Not,
    Path,
    Section,
    Segment,
    Selector,
    Value,
)

WORDS = {"true": True, "false": False, "null": None}
LARGEST = 2**63
"""Indexes and bounds are below it."""


def _place(token: Token) -> int:
    return token.start_pos or 0


def _integer(token: Token) -> int:
    value = literals.integer(token.removeprefix("-"), _place(token))
    return -value if token.startswith("-") else value


def _index(token: Token) -> int:
    value = _integer(token)
    if abs(value) >= LARGEST:
        raise Failure("the index is too large", _place(token))
    return value


class Builder(Transformer[Token, Any]):
    """One method for each rule of the grammar, which gets what the rule's parts became."""

    def start(self, children: list[Any]) -> Path:
        """The whole."""
        return self.path(children)

    def path(self, children: list[Any]) -> Path:
        """``$…`` and ``@…``."""
        sign, *segments = children
        return Path(_place(sign), sign == "$", segments)

    def key(self, children: list[Token]) -> Segment:
        """``.key``, and ``..key``."""
        sign, name = children
        return Segment(_place(sign), sign == "..", [Key(_place(name), str(name))])

    def all(self, children: list[Token]) -> Segment:
        """``.*``, and ``..*``."""
        sign, star = children
        return Segment(_place(sign), sign == "..", [All(_place(star))])

    deep_key, deep_all = key, all

    def call(self, children: list[Token]) -> Segment:
        """``.length()``."""
        sign, name = children
        if name != "length":
            raise Failure(f"there is no {name}() here, only length()", _place(name))
        return Segment(_place(sign), False, [Length(_place(name))])

    def selectors(self, children: list[Any]) -> Segment:
        """``[ … ]``, and ``..[ … ]``."""
        deep, bracket, *selectors = children
        return Segment(_place(bracket), deep is not None, selectors)

    def text_key(self, children: list[Token]) -> Selector:
        """``"key"``."""
        return Key(_place(children[0]), literals.string(children[0], _place(children[0])))

    def item(self, children: list[Token]) -> Selector:
        """``0``."""
        return Index(_place(children[0]), _index(children[0]))

    def bound(self, children: list[Token]) -> Token | None:
        """An end of a section, None if it is left out."""
        return children[0] if children else None

    def section(self, children: list[Token | None]) -> Selector:
        """``1:5:2``."""
        low, high, step = (None if token is None else _index(token) for token in children)
        position = next((_place(token) for token in children if token is not None), 0)
        if step == 0:
            raise Failure("the step of a section cannot be 0", position)
        return Section(position, slice(low, high, step))

    def wildcard(self, children: list[Token]) -> Selector:
        """``*``."""
        return All(_place(children[0]))

    def filter(self, children: list[Any]) -> Selector:
        """``?condition``."""
        sign, condition = children
        return Filter(_place(sign), condition)

    def junction(self, children: list[Any]) -> Condition:
        """``a and b and c``, and ``a or b``."""
        signs: list[Token] = children[1::2]
        for sign in signs:
            if sign.type != signs[0].type:
                advice = "needs parentheses around one of them: littleflow binds or tighter than and, others do not"
                raise Failure(f"{sign} beside {signs[0]} {advice}", _place(sign))
        return Junction(_place(signs[0]), signs[0].type == "OR", children[::2])

    def negation(self, children: list[Any]) -> Condition:
        """``not a``."""
        sign, operand = children
        return Not(_place(sign), operand)

    def alone(self, children: list[Any]) -> Condition:
        """A path or a constant without a comparison."""
        operand = children[0]
        if isinstance(operand, Path):
            return Exists(operand)
        if operand.value is True or operand.value is False:
            return Constant(operand.position, operand.value)
        raise Failure("a value alone is no condition; compare it, as in @.key = 1", operand.position)

    def comparison(self, children: list[Any]) -> Condition:
        """``a = b``."""
        left, sign, right = children
        return Comparison(_place(sign), str(sign), left, right)

    def group(self, children: list[Condition]) -> Condition:
        """``(a)``."""
        return children[0]

    def constant(self, children: list[Any]) -> Value:
        """A JSON value in a comparison."""
        position, value = children[0]
        return Value(position, value)

    # Values travel with their places

    def text(self, children: list[Token]) -> tuple[int, Any]:
        """``"a"``."""
        return _place(children[0]), literals.string(children[0], _place(children[0]))

    def number(self, children: list[Token]) -> tuple[int, Any]:
        """``1`` and ``0.5``."""
        token = children[0]
        place = _place(token)
        if token.type == "INTEGER":
            return place, _integer(token)
        value = literals.floating(token.removeprefix("-"), place)
        return place, -value if token.startswith("-") else value

    def word(self, children: list[Token]) -> tuple[int, Any]:
        """``true``, ``false`` and ``null``."""
        return _place(children[0]), WORDS[children[0]]

    def array(self, children: list[Any]) -> tuple[int, Any]:
        """``[1, 2]``."""
        return _place(children[0]), [child[1] for child in children[1:] if child is not None]

    def mapping(self, children: list[Any]) -> tuple[int, Any]:
        """``{"a": 1}``."""
        return _place(children[0]), dict(child for child in children[1:] if child is not None)

    def pair(self, children: list[Any]) -> tuple[str, Any]:
        """``"a": 1``."""
        key, (_, value) = children
        return literals.string(key, _place(key)), value
