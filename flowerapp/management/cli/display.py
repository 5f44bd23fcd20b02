"""What the CLI draws with: rich on terminals where it is installed, plain text elsewhere."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO, TypeAlias

from flowerapp.management.cli import plain
from flowerapp.management.cli.plain import Drawable, Group, Table, Text

if TYPE_CHECKING:
    from flowerapp.management.cli import terminal

__all__ = ["REDRAWS", "Console", "Drawable", "Group", "Table", "Text", "console"]

Console: TypeAlias = "plain.Console | terminal.Console"
REDRAWS = find_spec("rich") is not None
"""Whether progress can be redrawn in place."""


def console(file: TextIO, width: int | None, *, color: bool | None, is_terminal: bool) -> Console:
    """A console for a stream; ``color`` is None where the terminal decides, else whether the user wants it."""
    if not REDRAWS or not (is_terminal or color):
        return plain.Console(file, width)
    from flowerapp.management.cli import terminal

    return terminal.Console(file, width, color=color, is_terminal=is_terminal)
