"""Conditions of steps: expressions over a step's input that say whether it runs.

The one place that knows how the text of a condition is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flowerapp.core import expressions
from flowerapp.core.expressions import ExpressionError
from flowerapp.exceptions import ConditionError

NAMES = frozenset({"input"})
"""What a condition can read."""


def holds(text: str, value: Any) -> bool:
    """Whether the condition is true of an input, a JSON value; raises ConditionError, which shows no value."""
    try:
        return _read(text)(value)
    except ExpressionError as error:
        raise ConditionError(f"its condition cannot be decided: {error}") from None


def condition_problems(text: str) -> Iterator[str]:
    """The problem of a condition that cannot be read, with its place; an empty text is none."""
    try:
        if text:
            _read(text)
    except ExpressionError as error:
        yield str(error).partition("\n")[0]


def _read(text: str) -> Callable[[Any], bool]:
    """Says whether the condition holds for an input; raises ExpressionError."""
    expression = expressions.parse(text)
    expression.check_names(NAMES)
    return lambda value: expression.test({"input": value})
