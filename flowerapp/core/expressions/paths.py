"""Paths: the dialect of JSONPath in which guards of the arrow language are written.

``$.items[0]`` holds for a value from which it reads anything, and ``$[?(@.status=0)]`` if the condition holds for the
value itself. docs/arrow.md has the language; it is that of littleflow's guards, with ``==``, ``&&``, ``||``, ``!`` and
single quotes besides.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from lark import Lark, UnexpectedToken

from flowerapp.core.expressions.errors import ExpressionError, Failure
from flowerapp.core.expressions.grammar import accepted
from flowerapp.core.expressions.limits import MAX_TEXT, Evaluation
from flowerapp.core.expressions.path_builder import Builder
from flowerapp.core.expressions.path_grammar import GRAMMAR, expectation
from flowerapp.core.expressions.path_nodes import Path as Root
from flowerapp.core.expressions.path_nodes import Scope

TOO_DEEP = "the path is nested too deeply for the place where it is used"


class Path:
    """A path that was read and can be tested any number of times, by several threads at once."""

    __slots__ = ("root", "text")

    def __init__(self, text: str, root: Root) -> None:
        self.text = text
        self.root = root

    def __repr__(self) -> str:
        return f"Path({self.text!r})"

    def matches(self, value: Any) -> bool:
        """Whether it reads anything from a JSON value; raises ExpressionError if that takes too many steps."""
        try:
            return any(True for _ in self.root.select(Scope(value, Evaluation()), value))
        except Failure as failure:
            position = self.root.position if failure.position is None else failure.position
            raise ExpressionError(failure.message, self.text, position) from None
        except RecursionError:
            raise ExpressionError(TOO_DEEP, self.text) from None


@lru_cache(maxsize=512)
def parse_path(text: str) -> Path:
    """The path of a text; raises ExpressionError with line, column and what was expected."""
    if len(text) > MAX_TEXT:
        message = f"the path has {len(text):,} characters; the limit is {MAX_TEXT:,}"
        raise ExpressionError(message, text[: MAX_TEXT + 1], MAX_TEXT)
    try:
        return Path(text, _lark().parse(text))  # type: ignore[arg-type] # the builder makes a node
    except Failure as failure:
        raise ExpressionError(failure.message, text, failure.position or 0) from None
    except RecursionError:
        raise ExpressionError(TOO_DEEP, text) from None
    except UnexpectedToken as error:
        raise _unexpected(text, error) from None


@cache
def _lark() -> Lark:
    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True, transformer=Builder())


def _unexpected(text: str, error: UnexpectedToken) -> ExpressionError:
    position = len(text) if error.token.type == "$END" else error.token.start_pos or 0
    rest = text[position : position + 40]
    if error.token.type == "UNKNOWN" and rest[0] in "\"'":
        return ExpressionError(f"the string is not closed; expected {rest[0]}", text, position)
    expected = expectation(accepted(error) - {"_NEVER", "UNKNOWN"})
    return ExpressionError(f"expected {expected}, and here is {_shown(rest)}", text, position)


def _shown(rest: str) -> str:
    match = re.match(r"\w{1,20}|[^\w\s()\[\]{},;]{1,2}|.", rest.strip())
    return "the end" if match is None else match[0] if match[0].isprintable() else ascii(match[0])
