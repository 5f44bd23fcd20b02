"""From text to an expression, once for each text."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from lark import Lark, UnexpectedToken

from flowerapp.core.expressions.builder import Builder
from flowerapp.core.expressions.errors import ExpressionError, Failure
from flowerapp.core.expressions.grammar import GRAMMAR, accepted, expectation
from flowerapp.core.expressions.kinds import boolean, measure
from flowerapp.core.expressions.limits import MAX_TEXT, Evaluation, utc_now
from flowerapp.core.expressions.nodes import Node, Scope, unknown_name

SHORT = 1_000
"""Most characters of the texts that the large cache keeps."""
TOO_DEEP = "the expression is nested too deeply for the place where it is used"
SCALARS = frozenset({bool, type(None)})
HINTS = {
    "=": "write == to compare",
    "&": "write && or and",
    "|": "a | is followed by a function, as in x | upper(); write || or or for a choice",
    "%}": "an expression ends with }}",
}
"""What is meant by some tokens that are not expected."""

Context = Mapping[str, Any]
"""JSON values and namespaces by name."""


class Expression:
    """An expression that was read and can be evaluated any number of times, by several threads at once."""

    __slots__ = ("names", "root", "text")

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self.root = root
        self.names: frozenset[str] = frozenset(name for name, _ in root.free_names())
        """The names that it takes from its context."""

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, context: Context, clock: Callable[[], datetime] = utc_now) -> Any:
        """Its value over a context, a JSON value.

        ``context`` maps names to JSON values, or to a Namespace whose keys are looked up when needed; ``clock`` is what
        ``now()`` asks. Raises ExpressionError, with the place, if there is no value or a limit is reached.
        """
        return self.evaluate_in(context, Evaluation(clock))

    def test(self, context: Context, clock: Callable[[], datetime] = utc_now) -> bool:
        """Its value as a condition; raises ExpressionError if it is not true or false."""
        value = self.evaluate(context, clock)
        try:
            return boolean(value, "a condition")
        except Failure as failure:
            raise self.error(failure) from None

    def evaluate_in(self, context: Context, evaluation: Evaluation) -> Any:
        """Its value, on an account that it shares with other expressions."""
        try:
            evaluation.step(self.root.size)
            value = self.root.evaluate(Scope(context, evaluation))
            if type(value) not in SCALARS:
                measure(evaluation, value)
            return value
        except Failure as failure:
            raise self.error(failure) from None
        except RecursionError:
            raise self.error(Failure(TOO_DEEP)) from None

    def check_names(self, names: Collection[str]) -> None:
        """Raise ExpressionError at the first name that is not among ``names``."""
        for name, position in self.root.free_names():
            if name not in names:
                raise self.error(unknown_name(name, list(names), position))

    def error(self, failure: Failure) -> ExpressionError:
        """A failure with its place in the text; without one, it is that of the whole."""
        position = self.root.position if failure.position is None else failure.position
        return ExpressionError(failure.message, self.text, position)


def parse(text: str) -> Expression:
    """The expression of a text; raises ExpressionError with line, column and what was expected."""
    if len(text) > MAX_TEXT:
        message = f"the expression has {len(text):,} characters; the limit is {MAX_TEXT:,}"
        raise ExpressionError(message, text[: MAX_TEXT + 1], MAX_TEXT)
    return _short(text) if len(text) <= SHORT else _long(text)


def _parse(text: str) -> Expression:
    try:
        return Expression(text, _lark().parse(text))  # type: ignore[arg-type] # the builder makes a node
    except Failure as failure:
        raise ExpressionError(failure.message, text, failure.position or 0) from None
    except RecursionError:
        raise ExpressionError(TOO_DEEP, text) from None
    except UnexpectedToken as error:
        raise ExpressionError(_unexpected(text, error), text, _position(text, error)) from None


_short = lru_cache(maxsize=512)(_parse)
_long = lru_cache(maxsize=16)(_parse)


@cache
def _lark() -> Lark:
    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True, transformer=Builder())


def _position(text: str, error: UnexpectedToken) -> int:
    """Where the text stops to be an expression; at its end if more is needed."""
    return len(text) if error.token.type == "$END" else error.token.start_pos or 0


def _unexpected(text: str, error: UnexpectedToken) -> str:
    rest = text[_position(text, error) :]
    if error.token.type == "UNKNOWN" and rest[0] in "\"'`":
        return f"the string is not closed; expected {rest[0]}"
    expected = expectation(accepted(error) - {"_NEVER"})
    hint = next((f"; {hint}" for start, hint in HINTS.items() if rest.startswith(start)), "")
    return f"expected {expected}, and here is {_shown(rest)}{hint}"


def _shown(rest: str) -> str:
    match = re.match(r"\w{1,20}|[^\w\s()\[\]{},;]{1,2}|.", rest.strip())
    return "the end" if match is None else match[0] if match[0].isprintable() else ascii(match[0])


def names(expression: Expression) -> frozenset[str]:
    """The names that an expression takes from its context."""
    return expression.names
