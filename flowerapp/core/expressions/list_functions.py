"""Functions over lists and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flowerapp.core.expressions import access, operations
from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.functions import CLOSURE, function
from flowerapp.core.expressions.kinds import NUMBERS, as_text, boolean, name
from flowerapp.core.expressions.limits import Evaluation

Closure = Callable[..., Any]
CONDITION = "the condition"


def _matches(items: list[Any], condition: Closure) -> Iterator[tuple[int, Any]]:
    """The items for which the condition is true, each with its index."""
    return ((index, item) for index, item in enumerate(items) if boolean(condition(item, index), CONDITION))


def _backwards(items: list[Any], condition: Closure) -> Iterator[tuple[int, Any]]:
    indexes = range(len(items) - 1, -1, -1)
    return ((index, items[index]) for index in indexes if boolean(condition(items[index], index), CONDITION))


@function("all", "list", CLOSURE)
def all_match(evaluation: Evaluation, items: list[Any], condition: Closure) -> bool:
    """Whether the condition is true for every item."""
    return all(boolean(condition(item, index), CONDITION) for index, item in enumerate(items))


@function("any", "list", CLOSURE)
def any_matches(evaluation: Evaluation, items: list[Any], condition: Closure) -> bool:
    """Whether the condition is true for some item."""
    return next(_matches(items, condition), None) is not None


@function("none", "list", CLOSURE)
def none_matches(evaluation: Evaluation, items: list[Any], condition: Closure) -> bool:
    """Whether the condition is true for no item."""
    return not any_matches(evaluation, items, condition)


@function("one", "list", CLOSURE)
def exactly_one_matches(evaluation: Evaluation, items: list[Any], condition: Closure) -> bool:
    """Whether the condition is true for one item and no other."""
    return count(evaluation, items, condition) == 1


@function("count", "list", CLOSURE + "?")
def count(evaluation: Evaluation, items: list[Any], condition: Closure | None = None) -> int:
    """For how many items the condition is true; without one, how many are true."""
    if condition is None:
        evaluation.step(len(items))
    return sum(1 for _ in _matches(items, condition or (lambda item, index: item)))


@function("filter", "list", CLOSURE)
def filtered(evaluation: Evaluation, items: list[Any], condition: Closure) -> list[Any]:
    """The items for which the condition is true."""
    return _listed(evaluation, (item for _, item in _matches(items, condition)))


@function("map", "list", CLOSURE)
def mapped(evaluation: Evaluation, items: list[Any], change: Closure) -> list[Any]:
    """The value of the expression for each item."""
    return _listed(evaluation, (change(item, index) for index, item in enumerate(items)))


def _listed(evaluation: Evaluation, items: Iterable[Any]) -> list[Any]:
    result = []
    for item in items:
        evaluation.build(0, 1)
        result.append(item)
    return result


@function("find", "list", CLOSURE)
def find(evaluation: Evaluation, items: list[Any], condition: Closure) -> Any:
    """The first item for which the condition is true, or null."""
    return next(_matches(items, condition), (-1, None))[1]


@function("findIndex", "list", CLOSURE)
def find_index(evaluation: Evaluation, items: list[Any], condition: Closure) -> int:
    """The index of that item, or -1."""
    return next(_matches(items, condition), (-1, None))[0]


@function("findLast", "list", CLOSURE)
def find_last(evaluation: Evaluation, items: list[Any], condition: Closure) -> Any:
    """The last item for which the condition is true, or null."""
    return next(_backwards(items, condition), (-1, None))[1]


@function("findLastIndex", "list", CLOSURE)
def find_last_index(evaluation: Evaluation, items: list[Any], condition: Closure) -> int:
    """The index of that item, or -1."""
    return next(_backwards(items, condition), (-1, None))[0]


@function("groupBy", "list", CLOSURE)
def group_by(evaluation: Evaluation, items: list[Any], key: Closure) -> dict[str, list[Any]]:
    """Lists of the items under the text of their key."""
    groups: dict[str, list[Any]] = {}
    for index, item in enumerate(items):
        text = as_text(evaluation, key(item, index))
        evaluation.build(len(text), 2)
        groups.setdefault(text, []).append(item)
    return groups


@function("reduce", "list", CLOSURE, "any?")
def reduced(evaluation: Evaluation, items: list[Any], change: Closure, *initial: Any) -> Any:
    """What the expression makes of ``#acc`` and each item; without an initial value, ``#acc`` begins as the first."""
    if not items and not initial:
        raise Failure("reduce() of an empty list needs an initial value")
    value = initial[0] if initial else items[0]
    for index in range(0 if initial else 1, len(items)):
        value = change(items[index], index, value)
    return value


@function("sum", "list", CLOSURE + "?")
def total(evaluation: Evaluation, items: list[Any], value: Closure | None = None) -> Any:
    """The sum of the numbers, or of the expression's value for each item."""
    result: Any = 0
    evaluation.step(3 * len(items))
    for index, item in enumerate(items):
        result = operations.add(evaluation, result, value(item, index) if value else item)
    return result


@function("sort", "list", "string?")
def sort(evaluation: Evaluation, items: list[Any], order: str = "asc") -> list[Any]:
    """In order: numbers or strings, ``desc`` from the largest."""
    return _sorted(evaluation, "sort", items, items, order)


@function("sortBy", "list", CLOSURE, "string?")
def sort_by(evaluation: Evaluation, items: list[Any], key: Closure, order: str = "asc") -> list[Any]:
    """In the order of the expression's value for each item."""
    return _sorted(evaluation, "sortBy", items, [key(item, index) for index, item in enumerate(items)], order)


def _sorted(evaluation: Evaluation, what: str, items: list[Any], keys: list[Any], order: str) -> list[Any]:
    if order not in {"asc", "desc"}:
        raise Failure(f'{what}() sorts in the order "asc" or "desc"')
    evaluation.build(0, len(items))
    weight = sum(1 + (len(key) >> 6) for key in keys if type(key) is str) or len(items)
    evaluation.step(weight * len(items).bit_length())
    if not all(type(key) in NUMBERS for key in keys) and not all(type(key) is str for key in keys):
        raise Failure(f"{what}() needs numbers alone or strings alone")
    indexes = sorted(range(len(items)), key=keys.__getitem__, reverse=order == "desc")
    return [items[index] for index in indexes]


@function("first", "list")
def first(evaluation: Evaluation, items: list[Any]) -> Any:
    """The first item, or null."""
    return items[0] if items else None


@function("last", "list")
def last(evaluation: Evaluation, items: list[Any]) -> Any:
    """The last item, or null."""
    return items[-1] if items else None


@function("take", "list", "integer")
def take(evaluation: Evaluation, items: list[Any], number: int) -> list[Any]:
    """The first items, at most ``number``."""
    if number < 0:
        raise Failure("take() needs a number of at least 0")
    evaluation.build(0, min(number, len(items)))
    return items[:number]


@function("reverse", "list")
def backwards(evaluation: Evaluation, items: list[Any]) -> list[Any]:
    """From the last to the first."""
    evaluation.build(0, len(items))
    return items[::-1]


@function("concat", "list", "list*")
def concat(evaluation: Evaluation, *lists: list[Any]) -> list[Any]:
    """The items of all lists."""
    evaluation.build(0, sum(map(len, lists)))
    return [item for items in lists for item in items]


@function("flatten", "list")
def flatten(evaluation: Evaluation, items: list[Any]) -> list[Any]:
    """The items, and the items of lists among them, at any depth."""
    result, waiting = [], items[::-1]
    evaluation.build(0, len(items))
    while waiting:
        item = waiting.pop()
        evaluation.build(0, 1)
        if type(item) is list:
            evaluation.build(0, len(item))
            waiting += item[::-1]
        else:
            result.append(item)
    return result


@function("uniq", "list")
def unique(evaluation: Evaluation, items: list[Any]) -> list[Any]:
    """Each item once, where it first occurs."""
    seen: set[Any] = set()
    groups: list[Any] = []
    return _listed(evaluation, (item for item in items if _is_new(evaluation, seen, groups, item)))


def _is_new(evaluation: Evaluation, seen: set[Any], groups: list[Any], item: Any) -> bool:
    evaluation.step()
    if type(item) in {list, dict}:
        fresh = not operations.member_of(evaluation, item, groups)
        groups += [item] if fresh else []
        return fresh
    key = _key(evaluation, item)
    fresh = key not in seen
    seen.add(key)
    return fresh


def _key(evaluation: Evaluation, item: Any) -> tuple[bool, str]:
    """What equal scalars have alike. It is text, because numbers can be chosen so that all have the same hash."""
    if type(item) is str:
        return True, item
    if type(item) is float and item.is_integer():
        item = int(item)
    return False, str(evaluation.integer(item) if type(item) is int else item)


@function("keys", "object")
def keys(evaluation: Evaluation, value: dict[str, Any]) -> list[str]:
    """The keys of an object."""
    evaluation.build(0, len(value))
    return list(value)


@function("values", "object")
def values(evaluation: Evaluation, value: dict[str, Any]) -> list[Any]:
    """The values of an object."""
    evaluation.build(0, len(value))
    return list(value.values())


@function("toPairs", "object")
def to_pairs(evaluation: Evaluation, value: dict[str, Any]) -> list[list[Any]]:
    """The keys and values of an object, as lists of two."""
    evaluation.build(0, 4 * len(value))
    return [[key, item] for key, item in value.items()]


@function("fromPairs", "list")
def from_pairs(evaluation: Evaluation, pairs: list[Any]) -> dict[str, Any]:
    """An object of lists of two."""
    evaluation.build(0, 2 * len(pairs))
    if not all(type(pair) is list and len(pair) == 2 and type(pair[0]) is str for pair in pairs):
        raise Failure("fromPairs() needs a list of pairs such as ['key', 1]")
    return dict(pairs)


@function("len", "any")
def length(evaluation: Evaluation, value: Any) -> int:
    """How many characters, items or keys there are."""
    if type(value) not in {str, list, dict}:
        raise Failure(f"len() needs a string, a list or an object, and this is {name(value)}")
    return len(value)


function("get", "any", "any")(access.get)
