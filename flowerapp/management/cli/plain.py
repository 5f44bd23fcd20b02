"""The part of rich that the CLI uses, in plain text: for projects without rich. No colors, nothing redrawn."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

SIMPLE_HEAD = None
"""A table's box; a plain table has a line below its header."""


class Text:
    """A text whose style is ignored."""

    def __init__(self, text: str = "", style: str = "", **_: Any) -> None:
        self.plain = text

    @classmethod
    def assemble(cls, *parts: Any, **_: Any) -> Text:
        """The parts one after the other: strings, texts, or pairs of a string and its style."""
        result = cls()
        for part in parts:
            result.append(part[0] if isinstance(part, tuple) else part)
        return result

    def append(self, text: Any, style: str = "") -> Text:
        """Add a string or a text, and return this one."""
        self.plain += str(text)
        return self

    def __str__(self) -> str:
        return self.plain

    def __bool__(self) -> bool:
        return bool(self.plain)


class Group:
    """What is printed one below the other."""

    def __init__(self, *members: Any) -> None:
        self.members = members

    def __str__(self) -> str:
        return "\n".join(map(str, self.members))


class Column:
    """A column's header, and on which side its cells stand."""

    no_wrap = True

    def __init__(self, header: str, justify: str) -> None:
        self.header = header
        self.justify = justify


class Table:
    """Cells in columns as wide as their widest cell."""

    def __init__(self, *, show_header: bool = True, **_: Any) -> None:
        self.show_header = show_header
        self.columns: list[Column] = []
        self.rows: list[list[str]] = []

    @classmethod
    def grid(cls, **_: Any) -> Table:
        """A table without a header."""
        return cls(show_header=False)

    def add_column(self, header: str = "", *, justify: str = "left", **_: Any) -> None:
        """Add a column on the right."""
        self.columns.append(Column(header, justify))

    def add_row(self, *cells: Any) -> None:
        """Add a row at the bottom."""
        self.rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        headers = [[column.header for column in self.columns]] if self.show_header else []
        widths = [max(map(_width, cells)) for cells in zip(*headers, *self.rows, strict=True)]
        lines = [["-" * width for width in widths] for _ in headers]
        return "\n".join(self._line(cells, widths) for cells in [*headers, *lines, *self.rows])

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        sides = [column.justify == "right" for column in self.columns]
        parts = zip(cells, widths, sides, strict=True)
        return "  ".join(_padded(cell, width, to_right=right) for cell, width, right in parts).rstrip()


def _padded(text: str, width: int, *, to_right: bool) -> str:
    padding = " " * (width - _width(text))
    return padding + text if to_right else text + padding


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)


class Console:
    """A stream that texts, groups and tables are printed to, unbroken."""

    def __init__(self, *, file: TextIO, width: int | None = None, **_: Any) -> None:
        self.file = file
        size = shutil.get_terminal_size()
        self.width = width or size.columns
        self.height = size.lines

    def print(self, what: Any = "", **_: Any) -> None:
        """Print something and a line break; nothing for a table without rows and header."""
        text = str(what)
        if not text and isinstance(what, Table):
            return
        try:
            self.file.write(f"{text}\n")
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """End the process with exit code 1; no reader is left."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1)
