"""Errors of expressions: what is wrong, with line, column and a caret under the place."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from flowerapp.exceptions import InvalidError

SHOWN = 60
"""Most characters of a line that an error shows on each side of its place."""


class Failure(Exception):  # noqa: N818 - it becomes an ExpressionError once its place in a text is known
    """Something in an expression is wrong; ``position`` counts characters from 0, and is None until a node adds it."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position

    def at(self, position: int) -> Failure:
        """The same failure, placed at ``position`` unless it has a place already."""
        if self.position is None:
            self.position = position
        return self


class ExpressionError(InvalidError):
    """The expression is invalid, or cannot be evaluated.

    ``str()`` gives the message behind its place, and below it the line with a caret.
    """

    code = "invalid_expression"

    def __init__(self, message: str, text: str = "", position: int = 0, path: str = "") -> None:
        before = text[:position]
        self.message = message
        """The sentence alone. It names types and never shows values, which may be secret."""
        self.text = text
        self.position = position
        """Characters of ``text`` before the place."""
        self.path = path
        """Where the text stands in a larger value, such as ``BODY.items[0]``."""
        self.line = before.count("\n") + 1
        self.column = position - (before.rfind("\n") + 1) + 1
        where = f"{path}: " if path else ""
        super().__init__(f"{where}line {self.line}, column {self.column}: {message}{self._excerpt()}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.text, self.position, self.path)

    def _excerpt(self) -> str:
        """The line of the place, cut to what a terminal shows, and a line with the caret."""
        lines = self.text.split("\n")
        line, index = lines[min(self.line, len(lines)) - 1], self.column - 1
        start = max(0, index - SHOWN)
        visible = "".join(char if char.isprintable() else " " for char in line[start : index + SHOWN])
        return f"\n    {visible.rstrip()}\n    {' ' * (index - start)}^" if self.text else ""

    def moved(self, text: str, offset: int, path: str = "") -> ExpressionError:
        """The same error in a larger text, in which the expression starts at ``offset``."""
        return ExpressionError(self.message, text, offset + self.position, path)


def suggestion(name: str, names: list[str]) -> str:
    """Ends a sentence about the unknown ``name``: the closest of ``names``, or all of them."""
    close = get_close_matches(name, names, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are: {', '.join(sorted(names)[:20])}" if names else ""
