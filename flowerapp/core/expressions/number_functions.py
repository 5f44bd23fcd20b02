"""Functions over numbers, and those whose value is chance or the time."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flowerapp.core.expressions import operations
from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.functions import function
from flowerapp.core.expressions.kinds import NUMBERS, name
from flowerapp.core.expressions.limits import MAX_BITS, Evaluation


def numbers(evaluation: Evaluation, what: str, values: list[Any]) -> list[Any]:
    """The numbers of a list, or Failure if one is none."""
    evaluation.step(len(values))
    for value in values:
        if type(value) not in NUMBERS:
            raise Failure(f"{what}() needs numbers, and one of them is {name(value)}")
    return values


def _spread(evaluation: Evaluation, what: str, arguments: tuple[Any, ...]) -> list[Any]:
    """The numbers among the arguments and in those that are lists."""
    values: list[Any] = []
    for argument in arguments:
        values += argument if type(argument) is list else [argument]
        evaluation.step(len(values))
    if not values:
        raise Failure(f"{what}() needs at least one number")
    return numbers(evaluation, what, values)


@function("max", "any", "any*")
def maximum(evaluation: Evaluation, *arguments: Any) -> Any:
    """The largest of numbers and lists of numbers."""
    return max(_spread(evaluation, "max", arguments))


@function("min", "any", "any*")
def minimum(evaluation: Evaluation, *arguments: Any) -> Any:
    """The smallest of numbers and lists of numbers."""
    return min(_spread(evaluation, "min", arguments))


@function("abs", "number")
def absolute(evaluation: Evaluation, value: float) -> float:
    """Without its sign."""
    return abs(value)


@function("ceil", "number")
def ceiling(evaluation: Evaluation, value: float) -> int:
    """The next larger integer."""
    return math.ceil(value)


@function("floor", "number")
def floor(evaluation: Evaluation, value: float) -> int:
    """The next smaller integer."""
    return math.floor(value)


@function("round", "number")
def rounded(evaluation: Evaluation, value: float) -> int:
    """The nearest integer; halves away from zero."""
    if type(value) is int:
        return value
    whole = math.floor(abs(value))
    whole += abs(value) - whole >= 0.5
    return whole if value >= 0 else -whole


@function("mean", "list")
def mean(evaluation: Evaluation, values: list[Any]) -> Any:
    """The average, 0 of an empty list."""
    total: Any = 0
    for value in numbers(evaluation, "mean", values):
        total = operations.add(evaluation, total, value)
    return operations.divide(evaluation, total, len(values)) if values else 0


@function("median", "list")
def median(evaluation: Evaluation, values: list[Any]) -> Any:
    """The value in the middle, or the average of the two; 0 of an empty list."""
    evaluation.build(0, len(values))
    ordered = sorted(numbers(evaluation, "median", values))
    middle = len(ordered) // 2
    if not ordered or len(ordered) % 2:
        return ordered[middle] if ordered else 0
    return mean(evaluation, ordered[middle - 1 : middle + 1])


def _bitwise(word: str, calculate: Callable[[int, int], int]) -> None:
    @function(word, "integer", "integer")
    def body(evaluation: Evaluation, left: int, right: int) -> int:
        return evaluation.integer(calculate(left, right))


_bitwise("bitand", lambda left, right: left & right)
_bitwise("bitor", lambda left, right: left | right)
_bitwise("bitxor", lambda left, right: left ^ right)
_bitwise("bitnand", lambda left, right: left & ~right)


@function("bitnot", "integer")
def bitnot(evaluation: Evaluation, value: int) -> int:
    """With every bit turned."""
    return ~value


@function("bitshl", "integer", "integer")
def shift_left(evaluation: Evaluation, value: int, bits: int) -> int:
    """Shifted to the left."""
    if not 0 <= bits <= MAX_BITS:
        raise Failure(f"bitshl() shifts by 0 to {MAX_BITS:,} bits")
    return evaluation.integer(value << bits)


@function("bitshr", "integer", "integer")
def shift_right(evaluation: Evaluation, value: int, bits: int) -> int:
    """Shifted to the right; the sign stays."""
    if bits < 0:
        raise Failure("bitshr() shifts by at least 0 bits")
    return value >> min(bits, MAX_BITS)


@function("randomInt", "integer?")
def random_integer(evaluation: Evaluation, end: int = 1 << 63) -> int:
    """A random integer of at least 0, and below ``end``."""
    if end < 1:
        raise Failure("randomInt() needs a number of at least 1")
    return secrets.randbelow(end)


@function("sequence", "integer", "integer")
def sequence(evaluation: Evaluation, start: int, stop: int) -> list[int]:
    """The integers from ``start`` up to ``stop``, which is not included."""
    evaluation.build(0, max(0, stop - start))
    return list(range(start, stop))


def time_text(time: datetime) -> str:
    """A time in UTC, of one width, so that texts compare as the times do."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


@function("now")
def now(evaluation: Evaluation) -> str:
    """The time, as ``2026-01-31T10:00:00.000000Z``."""
    return time_text(evaluation.clock())


@function("date", "string")
def date(evaluation: Evaluation, text: str) -> str:
    """An ISO 8601 date or time as ``now()`` writes it; without a zone it is taken as UTC."""
    try:
        time = datetime.fromisoformat(text)
        return time_text(time if time.tzinfo else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise Failure("date() needs a date or time such as 2026-01-31 or 2026-01-31T10:00:00+01:00") from None


UNITS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
"""Nanoseconds of each unit."""
