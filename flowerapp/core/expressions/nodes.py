"""The tree of an expression. Each node gives its value in a scope, and knows its place, depth and size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flowerapp.core.expressions.errors import Failure, suggestion
from flowerapp.core.expressions.kinds import boolean, name
from flowerapp.core.expressions.limits import MAX_DEPTH, Evaluation
from flowerapp.core.expressions.operations import Operator


class Namespace:
    """A name of the context whose keys are looked up when an expression asks for them, such as ``secrets``.

    ``lookup`` gets the key and returns a JSON value; it raises LookupError for an unknown key. An expression can read
    keys of a namespace, but cannot use it as a whole.
    """

    __slots__ = ("lookup",)

    def __init__(self, lookup: Callable[[str], Any]) -> None:
        self.lookup = lookup


class Scope:
    """What names and ``#`` mean while a part of an expression is evaluated."""

    __slots__ = ("accumulator", "evaluation", "index", "item", "names")

    def __init__(self, names: Mapping[str, Any], evaluation: Evaluation) -> None:
        self.names = names
        self.evaluation = evaluation
        self.item: Any = None
        self.index: Any = None
        self.accumulator: Any = None

    def inner(self, names: Mapping[str, Any]) -> Scope:
        """The same with other names."""
        scope = Scope(names, self.evaluation)
        scope.item, scope.index, scope.accumulator = self.item, self.index, self.accumulator
        return scope


class Node:
    """A part of an expression; ``position`` counts the characters before it.

    Raises Failure if the expression becomes too deep.
    """

    __slots__ = ("children", "depth", "pointer", "position", "size")

    def __init__(self, position: int, *children: Node) -> None:
        self.position = position
        self.children = children
        self.size: int = 1 + sum([child.size for child in children])
        """Number of nodes: the steps that one evaluation takes, without those of functions."""
        self.depth: int = 1 + max([child.depth for child in children], default=0)
        self.pointer: int | None = next((child.pointer for child in children if child.pointer is not None), None)
        """The position of a ``#`` that no enclosing function gives a value to."""
        if self.depth > MAX_DEPTH:
            raise Failure(f"the expression has more than {MAX_DEPTH} parts inside one another", position)

    def evaluate(self, scope: Scope) -> Any:
        """The value, placed Failure if there is none."""
        raise NotImplementedError

    def free_names(self) -> Iterator[tuple[str, int]]:
        """The names that the context must have, each with its position."""
        for child in self.children:
            yield from child.free_names()


class Literal(Node):
    """A value that stands in the text."""

    __slots__ = ("value",)

    def __init__(self, position: int, value: Any) -> None:
        super().__init__(position)
        self.value = value

    def evaluate(self, scope: Scope) -> Any:
        return self.value


class Name(Node):
    """A name of the context, or of a ``let``."""

    __slots__ = ("name",)

    def __init__(self, position: int, name: str) -> None:
        super().__init__(position)
        self.name = name

    def evaluate(self, scope: Scope) -> Any:
        value = self.entry(scope)
        if type(value) is Namespace:
            raise Failure(f"{self.name} has no value of its own; name one of its keys, as in {self.name}.key").at(
                self.position
            )
        return value

    def entry(self, scope: Scope) -> Any:
        """The value, or the namespace of the name."""
        try:
            return scope.names[self.name]
        except KeyError:
            raise unknown_name(self.name, list(scope.names), self.position) from None

    def free_names(self) -> Iterator[tuple[str, int]]:
        yield self.name, self.position


def unknown_name(name: str, names: list[str], position: int) -> Failure:
    """The failure of a name that the context does not have."""
    return Failure(f"unknown name {name}{suggestion(name, names)}", position)


class Pointer(Node):
    """``#``, ``#index`` or ``#acc`` in what a function does with each item."""

    __slots__ = ("attribute",)

    def __init__(self, position: int, attribute: str) -> None:
        super().__init__(position)
        self.attribute = attribute
        self.pointer = position

    def evaluate(self, scope: Scope) -> Any:
        return getattr(scope, self.attribute)


class ListNode(Node):
    """``[a, b]``."""

    __slots__ = ()

    def evaluate(self, scope: Scope) -> Any:
        _build(scope.evaluation, len(self.children), self.position)
        return [child.evaluate(scope) for child in self.children]


class ObjectNode(Node):
    """``{a: 1, (b): 2}``; its children are keys and values in turn."""

    __slots__ = ()

    def evaluate(self, scope: Scope) -> Any:
        _build(scope.evaluation, len(self.children), self.position)
        values = iter([child.evaluate(scope) for child in self.children])
        result: dict[str, Any] = {}
        for node, key in zip(self.children[::2], values, strict=False):
            if type(key) is not str:
                raise Failure(f"a key must be a string, and this is {name(key)}").at(node.position)
            result[key] = next(values)
        return result


def _build(evaluation: Evaluation, items: int, position: int) -> None:
    try:
        evaluation.build(0, items)
    except Failure as failure:
        raise failure.at(position) from None


class Let(Node):
    """``let name = value; body``."""

    __slots__ = ("name",)

    def __init__(self, position: int, name: str, value: Node, body: Node) -> None:
        super().__init__(position, value, body)
        self.name = name

    def evaluate(self, scope: Scope) -> Any:
        value, body = self.children
        scope.evaluation.step(len(scope.names))
        names = {**scope.names, self.name: value.evaluate(scope)}
        return body.evaluate(scope.inner(names))

    def free_names(self) -> Iterator[tuple[str, int]]:
        value, body = self.children
        yield from value.free_names()
        yield from (entry for entry in body.free_names() if entry[0] != self.name)


class Conditional(Node):
    """``condition ? a : b``."""

    __slots__ = ()

    def evaluate(self, scope: Scope) -> Any:
        condition, first, second = self.children
        chosen = first if truth(condition, scope, "what stands before ?") else second
        return chosen.evaluate(scope)


def truth(node: Node, scope: Scope, what: str) -> bool:
    """The value of a node that must be a boolean."""
    value = node.evaluate(scope)
    if value is True or value is False:
        return bool(value)
    try:
        return boolean(value, what)
    except Failure as failure:
        raise failure.at(node.position) from None


class And(Node):
    """``a && b && c``; it stops at the first that is false."""

    __slots__ = ()

    def evaluate(self, scope: Scope) -> Any:
        for child in self.children:  # noqa: SIM110 - a generator takes twice the time
            if not truth(child, scope, "each side of &&"):
                return False
        return True


class Or(Node):
    """``a || b || c``; it stops at the first that is true."""

    __slots__ = ()

    def evaluate(self, scope: Scope) -> Any:
        for child in self.children:  # noqa: SIM110 - a generator takes twice the time
            if truth(child, scope, "each side of ||"):
                return True
        return False


class Not(Node):
    """``!a``."""

    __slots__ = ()

    def evaluate(self, scope: Scope) -> Any:
        return not truth(self.children[0], scope, "what ! negates")


class Unary(Node):
    """``-a`` and ``+a``."""

    __slots__ = ("function",)

    def __init__(self, position: int, function: Callable[[Evaluation, Any], Any], child: Node) -> None:
        super().__init__(position, child)
        self.function = function

    def evaluate(self, scope: Scope) -> Any:
        value = self.children[0].evaluate(scope)
        try:
            return self.function(scope.evaluation, value)
        except Failure as failure:
            raise failure.at(self.position) from None


class Arithmetic(Node):
    """``a + b - c``: operators of one strength, from left to right."""

    __slots__ = ("steps",)

    def __init__(self, first: Node, steps: list[tuple[int, Operator, Node]]) -> None:
        super().__init__(steps[0][0], first, *[node for _, _, node in steps])
        self.steps = steps

    def evaluate(self, scope: Scope) -> Any:
        value = self.children[0].evaluate(scope)
        for position, function, node in self.steps:
            operand = node.evaluate(scope)
            try:
                value = function(scope.evaluation, value, operand)
            except Failure as failure:
                raise failure.at(position) from None
        return value


class Comparison(Node):
    """``a < b <= c``: each operator between its neighbors, all of them true; ``wanted`` is False behind ``not``."""

    __slots__ = ("steps",)

    def __init__(self, first: Node, steps: list[tuple[int, Operator, bool, Node]]) -> None:
        super().__init__(steps[0][0], first, *[node for *_, node in steps])
        self.steps = steps

    def evaluate(self, scope: Scope) -> Any:
        left = self.children[0].evaluate(scope)
        for position, function, wanted, node in self.steps:
            right = node.evaluate(scope)
            try:
                if function(scope.evaluation, left, right) is not wanted:
                    return False
            except Failure as failure:
                raise failure.at(position) from None
            left = right
        return True


class Range(Node):
    """``1..3``, both ends included; empty if the first is larger."""

    __slots__ = ()

    def evaluate(self, scope: Scope) -> Any:
        low, high = (child.evaluate(scope) for child in self.children)
        if type(low) is not int or type(high) is not int:
            raise Failure(f".. needs two integers; here it has {name(low)} and {name(high)}").at(self.position)
        _build(scope.evaluation, max(0, high - low + 1), self.position)
        return list(range(low, high + 1))


class Coalesce(Node):
    """``a ?? b``: the first that is not null; ``grouped`` if it stands in parentheses."""

    __slots__ = ("grouped",)

    def __init__(self, position: int, *children: Node) -> None:
        super().__init__(position, *children)
        self.grouped = False

    def evaluate(self, scope: Scope) -> Any:
        for child in self.children:
            value = child.evaluate(scope)
            if value is not None:
                return value
        return None


class Closure(Node):
    """What a function such as ``filter`` does with each item; its value is a callable (item, index, accumulator)."""

    __slots__ = ()

    def __init__(self, body: Node) -> None:
        super().__init__(body.position, body)
        self.pointer = None

    def evaluate(self, scope: Scope) -> Any:
        (body,) = self.children
        inner, step, size = scope.inner(scope.names), scope.evaluation.step, body.size

        def call(item: Any, index: int = 0, accumulator: Any = None) -> Any:
            step(size)
            inner.item, inner.index, inner.accumulator = item, index, accumulator
            return body.evaluate(inner)

        return call


class Call(Node):
    """A call of a function of the language, with arguments that its signature accepts in number."""

    __slots__ = ("function",)

    def __init__(self, position: int, function: Callable[[Evaluation, list[Any]], Any], *arguments: Node) -> None:
        super().__init__(position, *arguments)
        self.function = function

    def evaluate(self, scope: Scope) -> Any:
        arguments = [child.evaluate(scope) for child in self.children]
        try:
            return self.function(scope.evaluation, arguments)
        except Failure as failure:
            raise failure.at(self.position) from None
