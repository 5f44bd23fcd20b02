"""Conditions over one value: a path if the text begins with ``$``, or else an expression over ``input``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowerapp.core.expressions.parser import parse
from flowerapp.core.expressions.paths import parse_path

INPUT = "input"
"""The name of the value in an expression."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read, as guards of the arrow language have them."""

    text: str
    test: Callable[[Any], bool]

    def holds(self, value: Any) -> bool:
        """Whether it holds for a JSON value, the input of the step that it guards.

        Raises ExpressionError, with the place, if the condition gives no answer or reaches a limit.
        """
        return self.test(value)


def condition(text: str) -> Condition:
    """The condition of a text; raises ExpressionError with line, column and what was expected."""
    if text.lstrip().startswith("$"):
        return Condition(text, parse_path(text).matches)
    expression = parse(text)
    expression.check_names([INPUT])
    return Condition(text, lambda value: expression.test({INPUT: value}))
