"""Errors of the arrow language: what is wrong, with line, column, a caret under the place, and what was expected."""

from __future__ import annotations

from typing import Any

from flowerapp.core.expressions import ExpressionError
from flowerapp.exceptions import InvalidError

TOO_DEEP = "the text is nested too deeply for the place where it is used"


class ArrowError(InvalidError):
    """The text is not a workflow in the arrow language.

    ``str()`` gives the message behind its place, and below it the line with a caret.
    """

    code = "invalid_arrow"

    def __init__(self, message: str, text: str = "", position: int = 0, expected: str = "") -> None:
        placed = ExpressionError(message, text, position)
        self.message = message
        """The sentence alone."""
        self.text = text
        self.position = position
        """Characters of ``text`` before the place."""
        self.line = placed.line
        self.column = placed.column
        self.expected = expected
        """What may stand at the place, in words; empty if the error is not one of grammar."""
        super().__init__(str(placed))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.text, self.position, self.expected)


class Failure(Exception):  # noqa: N818 - it becomes an ArrowError once the text is at hand
    """Something at ``position`` is wrong, counted in characters from 0."""

    def __init__(self, message: str, position: int, expected: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.expected = expected

    def in_text(self, text: str) -> ArrowError:
        """The error of the whole text."""
        return ArrowError(self.message, text, self.position, self.expected)
