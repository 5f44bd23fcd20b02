"""The types of JSON values, as functions ask for them and errors name them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.limits import ITEM, MAX_LEVELS, Evaluation

NUMBERS = frozenset({int, float})
TYPES: dict[str, frozenset[type]] = {
    "string": frozenset({str}),
    "number": NUMBERS,
    "integer": frozenset({int}),
    "boolean": frozenset({bool}),
    "list": frozenset({list}),
    "object": frozenset({dict}),
    "any": frozenset({str, int, float, bool, list, dict, type(None)}),
}
"""The Python types of each type that a function may ask for. They are compared exactly, so a boolean is no integer."""
NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
GO_NAMES: dict[type, str] = {
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    list: "array",
    dict: "map",
    type(None): "nil",
}
"""What ``type()`` gives, as users of expr-lang expect it."""


SURROGATE = re.compile("[\ud800-\udfff]")


def name(value: Any) -> str:
    """The type of a value in words, such as ``a string``."""
    return NAMES.get(type(value), "not a JSON value")


def boolean(value: Any, what: str) -> bool:
    """``value``, which must be a boolean; ``what`` begins the error's sentence."""
    if value is True or value is False:
        return bool(value)
    raise Failure(f"{what} must be true or false, and this is {name(value)}")


def items_of(value: Any) -> list[Any]:
    """What stands directly in a list or object."""
    if type(value) is list:
        return value
    return list(value.values()) if type(value) is dict else []


def measure(evaluation: Evaluation, value: Any) -> None:
    """Count a whole value, shared parts as often as they occur.

    Raises Failure if it is too large, too deep or not JSON.
    """
    level = [value]
    for _ in range(MAX_LEVELS + 1):
        if not level:
            return
        following: list[Any] = []
        for item in level:
            _count(evaluation, item)
            following += items_of(item)
        level = following
    raise Failure(f"the value has more than {MAX_LEVELS} lists and objects inside one another")


def _count(evaluation: Evaluation, value: Any) -> None:
    kind = type(value)
    if kind is str:
        evaluation.build(len(text(value)))
    elif kind is dict:
        evaluation.build(sum(map(_key_length, value)), len(value))
    elif kind is list:
        evaluation.build(0, len(value))
    elif kind is int:
        evaluation.integer(value)
    elif kind not in NAMES or (kind is float and not math.isfinite(value)):
        raise Failure("the value is not a JSON value")
    evaluation.build(ITEM)


def _key_length(key: Any) -> int:
    if type(key) is str:
        return len(text(key))
    raise Failure("an object has a key that is not a string")


def text(value: str) -> str:
    """``value`` if JSON and the database can hold it."""
    if "\0" in value:
        raise Failure("a string must not have a NUL character")
    if not value.isascii() and SURROGATE.search(value):
        raise Failure("a string must not have half of a surrogate pair")
    return value


def json_text(evaluation: Evaluation, value: Any) -> str:
    """``value`` as JSON text without blanks."""
    measure(evaluation, value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_text(evaluation: Evaluation, value: Any) -> str:
    """``value`` as it stands in text: a string as it is, ``3`` for ``3.0``, ``true``, ``null``, JSON for the rest."""
    if type(value) is str:
        return value
    if type(value) is float and value.is_integer() and math.fabs(value) < 1e21:
        return str(int(value))
    return json_text(evaluation, value)


def go_text(evaluation: Evaluation, value: Any) -> str:
    """``value`` as Go prints it, for the YAML front door: ``<nil>``, ``[1 2]``, ``map[k:v]``; numbers stay plain."""
    if value is None:
        return "<nil>"
    if type(value) not in {list, dict}:
        return as_text(evaluation, value)
    measure(evaluation, value)
    return _go_text(evaluation, value)


def _go_text(evaluation: Evaluation, value: Any) -> str:
    if type(value) is list:
        return f"[{' '.join(_go_text(evaluation, item) for item in value)}]"
    if type(value) is dict:
        return f"map[{' '.join(f'{key}:{_go_text(evaluation, value[key])}' for key in sorted(value))}]"
    return go_text(evaluation, value)
