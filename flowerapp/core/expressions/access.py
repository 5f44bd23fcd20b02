"""Reading from values: ``a.b``, ``a["b"]``, ``a?.b``, ``a[0]``, ``a[1:2]``. Keys and items of JSON, nothing else."""

from __future__ import annotations

from typing import Any

from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.kinds import name
from flowerapp.core.expressions.limits import Evaluation
from flowerapp.core.expressions.nodes import Name, Namespace, Node, Scope


class Tail(Node):
    """One step of an access; ``optional`` is that of ``?.``, which ends at null."""

    __slots__ = ("optional",)

    def __init__(self, position: int, optional: bool, *children: Node) -> None:
        super().__init__(position, *children)
        self.optional = optional

    def take(self, scope: Scope, value: Any) -> Any:
        """What it reads from ``value``."""
        raise NotImplementedError


class Member(Tail):
    """``.key``."""

    __slots__ = ("key",)

    def __init__(self, position: int, optional: bool, key: str) -> None:
        super().__init__(position, optional)
        self.key = key

    def take(self, scope: Scope, value: Any) -> Any:
        return value.get(self.key) if type(value) is dict else by_key(value, self.key)


class Index(Tail):
    """``[key]`` or ``[index]``."""

    __slots__ = ()

    def take(self, scope: Scope, value: Any) -> Any:
        return item(value, self.children[0].evaluate(scope))


class Section(Tail):
    """``[from:to]`` of a list or string; the end is not included, and negative numbers count from the end."""

    __slots__ = ()

    def take(self, scope: Scope, value: Any) -> Any:
        if type(value) not in {str, list}:
            raise Failure(f"[:] needs a list or a string, and this is {name(value)}")
        low, high = (_bound(child.evaluate(scope)) for child in self.children)
        part = slice(low, high)
        size = len(range(*part.indices(len(value))))
        scope.evaluation.build(*((size, 0) if type(value) is str else (0, size)))
        return value[part]


def _bound(value: Any) -> int | None:
    if value is None or type(value) is int:
        return value
    raise Failure(f"[:] needs integers, and this is {name(value)}")


class Access(Node):
    """A value and what is read from it, step by step; a ``?.`` that meets null ends the whole with null."""

    __slots__ = ("base", "tails")

    def __init__(self, base: Node, tails: list[Tail]) -> None:
        super().__init__(tails[0].position, base, *tails)
        self.base = base
        self.tails = tails

    def evaluate(self, scope: Scope) -> Any:
        base = self.base
        value = base.entry(scope) if type(base) is Name else base.evaluate(scope)
        for tail in self.tails:
            if value is None and tail.optional:
                return None
            try:
                value = tail.take(scope, value)
            except Failure as failure:
                raise failure.at(tail.position) from None
        return value


def by_key(value: Any, key: str) -> Any:
    """The value of a key: null if an object lacks it; Failure if ``value`` has no keys."""
    if type(value) is dict:
        return value.get(key)
    if type(value) is Namespace:
        return _looked_up(value, key)
    cure = "; ?. gives null here" if value is None else "; [0] reads the first item" if type(value) is list else ""
    raise Failure(f"only objects have keys, and this is {name(value)}{cure}")


def _looked_up(namespace: Namespace, key: str) -> Any:
    try:
        return namespace.lookup(key)
    except LookupError:
        raise Failure("there is no such key") from None


def item(value: Any, key: Any) -> Any:
    """What ``value[key]`` gives; Failure for an index that a list does not have."""
    if type(key) is str and type(value) is not list:
        return by_key(value, key)
    if type(value) not in {list, str}:
        raise Failure(f"[ ] needs a list or an object before it, and this is {name(value)}, with {name(key)} inside")
    if type(key) is not int:
        raise Failure(f"an index must be an integer, and this is {name(key)}")
    if not -len(value) <= key < len(value):
        raise Failure(f"the index is beyond the end: there are {len(value):,}")
    return value[key]


def get(evaluation: Evaluation, value: Any, key: Any) -> Any:
    """As ``value[key]``, but null where there is nothing."""
    return None if value is None or (type(value) in {list, str} and not _within(value, key)) else item(value, key)


def _within(value: Any, key: Any) -> bool:
    return type(key) is not int or -len(value) <= key < len(value)
