"""Builds the tree of an expression while lark reads it, from the leaves to the root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lark import Token, Transformer

from flowerapp.core.expressions import (  # noqa: F401 - the last four register functions
    conversions,
    list_functions,
    literals,
    number_functions,
    operations,
    patterns,
    text_functions,
)
from flowerapp.core.expressions.access import Access, Index, Member, Section, Tail
from flowerapp.core.expressions.errors import Failure, suggestion
from flowerapp.core.expressions.functions import CLOSURE, FUNCTIONS, Function
from flowerapp.core.expressions.nodes import (
    And,
    Arithmetic,
    Call,
    Closure,
    Coalesce,
    Comparison,
    Conditional,
    Let,
    ListNode,
    Literal,
    Name,
    Node,
    Not,
    ObjectNode,
    Or,
    Pointer,
    Range,
    Unary,
)

POINTERS = {"#": "item", "#index": "index", "#acc": "accumulator"}
CONSTANTS = {"true": True, "false": False, "nil": None, "null": None}


class Braces:
    """``{body}`` as an argument: what a function does with each item."""

    def __init__(self, position: int, body: Node) -> None:
        self.position = position
        self.body = body


def _place(token: Token) -> int:
    return token.start_pos or 0


def _ungrouped(sign: str, first: Node) -> Node:
    """``first`` unless it is ``a ?? b``, which reads in two ways before another operator."""
    if type(first) is Coalesce and not first.grouped:
        raise Failure(f"?? before {sign} needs parentheses around it", first.position)
    return first


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


def _comparing(word: str, operand: Node) -> operations.Operator:
    """The operator of a word; a pattern that stands in the text is read at once, so that its errors come early."""
    if word == "matches" and type(operand) is Literal and type(operand.value) is str:
        try:
            patterns.compiled(operand.value)
        except Failure as failure:
            raise failure.at(operand.position) from None
    return operations.COMPARISONS[word]


def _call(token: Token, arguments: list[Any]) -> Node:
    """A call of the function named by ``token``, if there is one that takes such arguments."""
    place = _place(token)
    function = FUNCTIONS.get(token)
    if function is None:
        raise Failure(f"there is no function {token}(){suggestion(token, list(FUNCTIONS))}", place)
    try:
        function.check_number(len(arguments))
    except Failure as failure:
        raise failure.at(place) from None
    return Call(place, function, *[_argument(function, index, argument) for index, argument in enumerate(arguments)])


def _argument(function: Function, index: int, argument: Any) -> Node:
    if function.kind(index) == CLOSURE:
        return Closure(argument.body if type(argument) is Braces else argument)
    node: Node = argument
    if isinstance(argument, Braces):
        raise Failure(f"argument {index + 1} of {function.name}() is a value, not {{ }}", argument.position)
    return node


class Builder(Transformer[Token, Any]):
    """One method for each rule of the grammar, which gets what the rule's parts became."""

    def start(self, children: list[Any]) -> Node:
        """The whole."""
        (root,) = children
        node: Node = root
        if node.pointer is not None:
            raise Failure("# and .key have a meaning only in what a function like filter() does", node.pointer)
        return node

    def let(self, children: list[Any]) -> Node:
        """``let name = value; body``."""
        _, name, _, value, body = children
        return Let(_place(name), str(name), value, body)

    def conditional(self, children: list[Any]) -> Node:
        """``condition ? a : b``."""
        condition, sign, first, second = children
        return Conditional(_place(sign), condition, first, second)

    def pipe(self, children: list[Any]) -> Node:
        """``a | f(b)``."""
        value, _, name, arguments, *tails = children
        node = _call(name, [value, *(arguments or [])])
        return Access(node, tails) if tails else node

    def disjunction(self, children: list[Any]) -> Node:
        """``a || b``."""
        return Or(_ungrouped("||", children[0]).position, *children)

    def conjunction(self, children: list[Any]) -> Node:
        """``a && b``."""
        return And(_ungrouped("&&", children[0]).position, *children)

    def unary(self, children: list[Any]) -> Node:
        """``-a``, ``+a``, ``!a`` and ``not a``."""
        sign, operand = children
        if sign in {"!", "not"}:
            return Not(_place(sign), operand)
        if sign == "-" and type(operand) is Literal and type(operand.value) in {int, float}:
            return Literal(_place(sign), -operand.value)
        return Unary(_place(sign), operations.negative if sign == "-" else operations.positive, operand)

    def comparator(self, children: list[Token]) -> tuple[int, str, bool]:
        """Place and word of an operator, and False behind ``not``."""
        return _place(children[0]), str(children[-1]), len(children) == 1

    def comparison(self, children: list[Any]) -> Node:
        """``a < b``."""
        first, *rest = children
        steps = []
        for (position, word, wanted), operand in _pairs(rest):
            _ungrouped(word, first)
            steps.append((position, _comparing(word, operand), wanted, operand))
        return Comparison(first, steps)

    def range(self, children: list[Any]) -> Node:
        """``1..3``."""
        low, sign, high = children
        return Range(_place(sign), _ungrouped("..", low), high)

    def arithmetic(self, children: list[Any]) -> Node:
        """``a + b - c``."""
        first, *rest = children
        steps = [(_place(sign), operations.ARITHMETIC[sign.replace("^", "**")], node) for sign, node in _pairs(rest)]
        return Arithmetic(_ungrouped(str(rest[0]), first), steps)

    sum = product = power = arithmetic

    def coalesce(self, children: list[Any]) -> Node:
        """``a ?? b``."""
        return Coalesce(_place(children[1]), *children[::2])

    def access(self, children: list[Any]) -> Node:
        """``a.b[0]``."""
        return Access(children[0], children[1:])

    def member(self, children: list[Token]) -> Tail:
        """``.b`` and ``?.b``."""
        sign, key = children
        return Member(_place(sign), sign == "?.", str(key))

    def index(self, children: list[Any]) -> Tail:
        """``[0]`` and ``?.[0]``."""
        return Index(_place(children[0]), children[0] == "?.", children[-1])

    def section(self, children: list[Any]) -> Tail:
        """``[1:2]``."""
        bracket, low, high = children
        return Section(_place(bracket), False, low, high)

    def bound(self, children: list[Node]) -> Node:
        """An end of a section, null if it is left out."""
        return children[0] if children else Literal(0, None)

    def name(self, children: list[Token]) -> Node:
        """A name."""
        return Name(_place(children[0]), str(children[0]))

    def call(self, children: list[Any]) -> Node:
        """``f(a)``."""
        return _call(children[0], children[1] or [])

    def pointer(self, children: list[Token]) -> Node:
        """``#``, ``#index`` and ``#acc``."""
        return Pointer(_place(children[0]), POINTERS[children[0]])

    def pointer_member(self, children: list[Token]) -> Node:
        """``.key``, short for ``#.key``."""
        place = _place(children[0])
        return Access(Pointer(place, "item"), [Member(place, False, str(children[1]))])

    def group(self, children: list[Node]) -> Node:
        """``(a)``."""
        if type(children[0]) is Coalesce:
            children[0].grouped = True
        return children[0]

    def array(self, children: list[Any]) -> Node:
        """``[a, b]``."""
        return ListNode(_place(children[0]), *[child for child in children[1:] if child is not None])

    def mapping(self, children: list[Any]) -> Node:
        """``{a: 1}``."""
        pairs = [pair for pair in children[1:] if pair is not None]
        return ObjectNode(_place(children[0]), *[node for pair in pairs for node in pair])

    def pair(self, children: list[Any]) -> list[Any]:
        """``a: 1``."""
        return children

    def name_key(self, children: list[Token]) -> Node:
        """A key without quotes."""
        return Literal(_place(children[0]), str(children[0]))

    def integer_key(self, children: list[Token]) -> Node:
        """A number as a key, which is its text."""
        return Literal(_place(children[0]), str(literals.integer(children[0], _place(children[0]))))

    def expression_key(self, children: list[Node]) -> Node:
        """``(a)`` as a key."""
        return children[0]

    def text(self, children: list[Token]) -> Node:
        """``"a"``."""
        return Literal(_place(children[0]), literals.string(children[0], _place(children[0])))

    def raw_text(self, children: list[Token]) -> Node:
        """A string in back quotes, without escapes."""
        return Literal(_place(children[0]), literals.checked(children[0][1:-1], _place(children[0])))

    text_key, raw_text_key = text, raw_text

    def integer(self, children: list[Token]) -> Node:
        """``42``."""
        return Literal(_place(children[0]), literals.integer(children[0], _place(children[0])))

    def decimal(self, children: list[Token]) -> Node:
        """``0.5``."""
        return Literal(_place(children[0]), literals.floating(children[0], _place(children[0])))

    def constant(self, children: list[Token]) -> Node:
        """``true``, ``false``, ``nil`` and ``null``."""
        return Literal(_place(children[0]), CONSTANTS[children[0]])

    def arguments(self, children: list[Any]) -> list[Any]:
        """What stands between the parentheses of a call."""
        return [child for child in children if child is not None]

    def braces(self, children: list[Any]) -> Braces:
        """``{body}`` as an argument."""
        return Braces(_place(children[0]), children[1])
