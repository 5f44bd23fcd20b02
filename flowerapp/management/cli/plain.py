"""What the CLI draws: texts, groups and tables, and a console that prints them in plain text.

They know their styles, which ``terminal`` shows where a person looks on and rich is installed. Nothing here imports
rich, because that takes longer than most commands.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, TextIO


class Text:
    """A text whose parts have styles, in rich's words."""

    def __init__(self, text: str = "", style: str = "", *, overflow: str = "", no_wrap: bool = False) -> None:
        self.style = style
        """Of all parts, beside their own."""
        self.overflow = overflow
        self.no_wrap = no_wrap
        self.parts: list[tuple[str | Text, str]] = [(text, "")] if text else []

    @classmethod
    def assemble(cls, *parts: Any) -> Text:
        """The parts one after the other: strings, texts, or pairs of a string and its style."""
        result = cls()
        for part in parts:
            result.append(*part) if isinstance(part, tuple) else result.append(part)
        return result

    def append(self, text: str | Text, style: str = "") -> Text:
        """Add a string or a text, and return this one."""
        self.parts.append((text, style))
        return self

    def __str__(self) -> str:
        return "".join(str(part) for part, _ in self.parts)

    def __bool__(self) -> bool:
        return bool(str(self))


class Group:
    """What is printed one below the other."""

    def __init__(self, *members: Drawable) -> None:
        self.members = members

    def __str__(self) -> str:
        return "\n".join(map(str, self.members))


class Column:
    """A column's header, on which side its cells stand, and their style."""

    def __init__(self, header: str, justify: str, overflow: str, style: str, *, no_wrap: bool) -> None:
        self.header = header
        self.justify = justify
        self.overflow = overflow
        self.style = style
        self.no_wrap = no_wrap


class Table:
    """Cells in columns as wide as their widest cell."""

    def __init__(self, *, show_header: bool = True) -> None:
        self.show_header = show_header
        self.columns: list[Column] = []
        self.rows: list[tuple[Drawable, ...]] = []

    def add_column(
        self,
        header: str = "",
        *,
        justify: str = "left",
        overflow: str = "ellipsis",
        style: str = "",
        no_wrap: bool = False,
    ) -> None:
        """Add a column on the right."""
        self.columns.append(Column(header, justify, overflow, style, no_wrap=no_wrap))

    def add_row(self, *cells: Drawable) -> None:
        """Add a row at the bottom."""
        self.rows.append(cells)

    def __str__(self) -> str:
        headers = [[column.header for column in self.columns]] if self.show_header else []
        rows = [[str(cell) for cell in cells] for cells in self.rows]
        widths = [max(map(_width, cells)) for cells in zip(*headers, *rows, strict=True)]
        lines = [["-" * width for width in widths] for _ in headers]
        return "\n".join(self._line(cells, widths) for cells in [*headers, *lines, *rows])

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        sides = [column.justify == "right" for column in self.columns]
        parts = zip(cells, widths, sides, strict=True)
        return "  ".join(_padded(cell, width, to_right=right) for cell, width, right in parts).rstrip()


Drawable = str | Text | Group | Table


def _padded(text: str, width: int, *, to_right: bool) -> str:
    padding = " " * (width - _width(text))
    return padding + text if to_right else text + padding


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)


def _lines(what: Drawable, width: int) -> Iterator[str]:
    """Lines of what is printed; those of texts are at most ``width`` characters long, as far as their words are."""
    if isinstance(what, Group):
        for member in what.members:
            yield from _lines(member, width)
    elif isinstance(what, Table):
        yield str(what)
    else:
        for line in str(what).split("\n"):
            yield from textwrap.wrap(line, width, drop_whitespace=False, break_on_hyphens=False) or [""]


class Console:
    """A stream that texts, groups and tables are printed to."""

    def __init__(self, file: TextIO, width: int | None = None) -> None:
        self.file = file
        size = shutil.get_terminal_size()
        self.width = width or size.columns
        self.height = size.lines

    def print(self, what: Drawable = "", *, soft_wrap: bool = False) -> None:
        """Print something and a line break, unbroken with ``soft_wrap``; nothing for a table without rows or header."""
        text = str(what) if soft_wrap else "\n".join(line.rstrip() for line in _lines(what, self.width))
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
