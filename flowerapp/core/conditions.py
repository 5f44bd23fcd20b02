"""Conditions of steps, which say over a step's input whether it runs; ``expressions.conditions`` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowerapp.core.expressions import ExpressionError
from flowerapp.core.expressions.conditions import condition
from flowerapp.exceptions import ConditionError


def holds(text: str, value: Any) -> bool:
    """Whether the condition is true of an input, a JSON value; raises ConditionError, which shows no value."""
    try:
        return condition(text).holds(value)
    except ExpressionError as error:
        raise ConditionError(f"its condition cannot be decided: {error}") from None


def condition_problems(text: str) -> Iterator[str]:
    """The problem of a condition that cannot be read, with its place; an empty text is none."""
    try:
        if text:
            condition(text)
    except ExpressionError as error:
        yield str(error).partition("\n")[0]
