"""The tree of a path: what it selects from a value, lazily, and the conditions in its filters."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.kinds import NUMBERS, items_of
from flowerapp.core.expressions.limits import MAX_DEPTH, Evaluation


@dataclass(slots=True)
class Scope:
    """What ``$`` means, and the account of the evaluation."""

    root: Any
    evaluation: Evaluation


class Node:
    """A part of a path. Raises Failure if the path becomes too deep."""

    __slots__ = ("depth", "position")

    def __init__(self, position: int, *children: Node) -> None:
        self.position = position
        self.depth: int = 1 + max([child.depth for child in children], default=0)
        if self.depth > MAX_DEPTH:
            raise Failure(f"the path has more than {MAX_DEPTH} parts inside one another", position)


# Selectors: what a step of a path reads from one value


class Selector(Node):
    """One entry between brackets, or what follows a dot."""

    __slots__ = ()

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        """What it reads from ``value``; nothing if there is nothing."""
        raise NotImplementedError


class Key(Selector):
    """``.key`` and ``["key"]``."""

    __slots__ = ("key",)

    def __init__(self, position: int, key: str) -> None:
        super().__init__(position)
        self.key = key

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        return (value[self.key],) if type(value) is dict and self.key in value else ()


class Index(Selector):
    """``[0]``; a negative one counts from the end."""

    __slots__ = ("index",)

    def __init__(self, position: int, index: int) -> None:
        super().__init__(position)
        self.index = index

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        return (value[self.index],) if type(value) is list and -len(value) <= self.index < len(value) else ()


class Section(Selector):
    """``[0:3]`` and ``[0:9:2]``."""

    __slots__ = ("section",)

    def __init__(self, position: int, section: slice) -> None:
        super().__init__(position)
        self.section = section

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        if type(value) is not list:
            return ()
        return (value[index] for index in range(*self.section.indices(len(value))))


class All(Selector):
    """``*``: all items of a list, all values of an object."""

    __slots__ = ()

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        return iter(items_of(value))


class Length(Selector):
    """``.length()`` of a string or list."""

    __slots__ = ()

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        return (len(value),) if type(value) in {str, list} else ()


class Filter(Selector):
    """``[?(condition)]``: the value itself, if the condition holds for it."""

    __slots__ = ("condition",)

    def __init__(self, position: int, condition: Condition) -> None:
        super().__init__(position, condition)
        self.condition = condition

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        return (value,) if self.condition.holds(scope, value) else ()


class Segment(Node):
    """A step of a path; ``deep`` is that of ``..``, which reads from a value and all that is in it."""

    __slots__ = ("deep", "selectors")

    def __init__(self, position: int, deep: bool, selectors: list[Selector]) -> None:
        super().__init__(position, *selectors)
        self.deep = deep
        self.selectors = selectors

    def over(self, scope: Scope, values: Iterable[Any]) -> Iterator[Any]:
        """What it reads from each of ``values``, one by one."""
        for value in values:
            for source in _descendants(scope, value) if self.deep else (value,):
                for selector in self.selectors:
                    scope.evaluation.step()
                    for match in selector.select(scope, source):
                        scope.evaluation.step()
                        yield match


def _descendants(scope: Scope, value: Any) -> Iterator[Any]:
    """A value and all values in it, outer ones before inner ones."""
    waiting = [iter((value,))]
    while waiting:
        for item in waiting[-1]:
            scope.evaluation.step()
            yield item
            waiting.append(iter(items_of(item)))
            break
        else:
            waiting.pop()


class Path(Node):
    """``$`` or ``@`` with what is read from it."""

    __slots__ = ("from_root", "segments")

    def __init__(self, position: int, from_root: bool, segments: list[Segment]) -> None:
        super().__init__(position, *segments)
        self.from_root = from_root
        self.segments = segments
        if len(segments) > MAX_DEPTH:
            raise Failure(f"the path has more than {MAX_DEPTH} steps", position)

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        """What it reads, one by one."""
        values: Iterable[Any] = (scope.root if self.from_root else value,)
        for segment in self.segments:
            values = segment.over(scope, values)
        return values


# Conditions of filters


class Condition(Node):
    """What may stand in a filter."""

    __slots__ = ()

    def holds(self, scope: Scope, value: Any) -> bool:
        """Whether it holds for ``value``, which ``@`` names."""
        raise NotImplementedError


class Exists(Condition):
    """A path alone: whether it reads anything."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        super().__init__(path.position, path)
        self.path = path

    def holds(self, scope: Scope, value: Any) -> bool:
        return any(True for _ in self.path.select(scope, value))


class Constant(Condition):
    """``true`` or ``false``."""

    __slots__ = ("value",)

    def __init__(self, position: int, value: bool) -> None:
        super().__init__(position)
        self.value = value

    def holds(self, scope: Scope, value: Any) -> bool:
        return self.value


class Not(Condition):
    """``not a``."""

    __slots__ = ("operand",)

    def __init__(self, position: int, operand: Condition) -> None:
        super().__init__(position, operand)
        self.operand = operand

    def holds(self, scope: Scope, value: Any) -> bool:
        return not self.operand.holds(scope, value)


class Junction(Condition):
    """``a and b``, or ``a or b`` if ``stops`` is True: what the first condition must be to decide the whole."""

    __slots__ = ("operands", "stops")

    def __init__(self, position: int, stops: bool, operands: list[Condition]) -> None:
        super().__init__(position, *operands)
        self.operands = operands
        self.stops = stops

    def holds(self, scope: Scope, value: Any) -> bool:
        decided = any(operand.holds(scope, value) is self.stops for operand in self.operands)
        return decided is self.stops


class Value(Node):
    """A JSON value in a comparison."""

    __slots__ = ("value",)

    def __init__(self, position: int, value: Any) -> None:
        super().__init__(position)
        self.value = value

    def select(self, scope: Scope, value: Any) -> Iterable[Any]:
        """The value."""
        return (self.value,)


Operand = Path | Value


class Comparison(Condition):
    """``a = b``: whether it is so for any of the values on each side."""

    __slots__ = ("left", "right", "sign")

    def __init__(self, position: int, sign: str, left: Operand, right: Operand) -> None:
        super().__init__(position, left, right)
        self.sign = sign
        self.left = left
        self.right = right

    def holds(self, scope: Scope, value: Any) -> bool:
        compare, evaluation = COMPARISONS[self.sign], scope.evaluation
        others = list(self.right.select(scope, value))
        return any(
            compare(evaluation, first, second)
            for first in self.left.select(scope, value)
            for second in _counted(evaluation, others)
        )


def _counted(evaluation: Evaluation, values: list[Any]) -> Iterator[Any]:
    for value in values:
        evaluation.step()
        yield value


# Comparisons: a boolean counts as the number 0 or 1

ORDERED = NUMBERS | {bool}


def equal(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """Whether two JSON values are equal."""
    waiting = [(left, right)]
    while waiting:
        first, second = waiting.pop()
        evaluation.step()
        if type(first) is list and type(second) is list and len(first) == len(second):
            waiting += zip(first, second, strict=True)
        elif type(first) is dict and type(second) is dict and first.keys() == second.keys():
            waiting += [(item, second[key]) for key, item in first.items()]
        elif not _same(evaluation, first, second):
            return False
    return True


def _same(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """Whether two values that are no lists or objects are equal."""
    if type(left) is str and type(right) is str:
        evaluation.look(left)
    elif {type(left), type(right)} & {list, dict}:
        return False
    return bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Evaluation, Any, Any], bool]:
    """A comparison of two numbers or two strings; it does not hold for others."""

    def holds(evaluation: Evaluation, left: Any, right: Any) -> bool:
        if type(left) is str and type(right) is str:
            evaluation.look(left)
        elif type(left) not in ORDERED or type(right) not in ORDERED:
            return False
        return compare(left, right)

    return holds


COMPARISONS: dict[str, Callable[[Evaluation, Any, Any], bool]] = {
    "=": equal,
    "==": equal,
    "!=": lambda evaluation, left, right: not equal(evaluation, left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
}
