"""What the CLI draws, by rich: with colors, fitted to the terminal, and redrawn in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import singledispatch
from typing import Any, TextIO, cast

from rich import console, table, text
from rich.box import SIMPLE_HEAD
from rich.live import Live

from flowerapp.management.cli import plain


@singledispatch
def drawn(what: Any) -> Any:
    """What rich prints for something of ``plain``; all else as it is."""
    return what


@drawn.register
def _text(what: plain.Text) -> text.Text:
    overflow = cast("Any", what.overflow or None)
    result = text.Text(style=what.style, overflow=overflow, no_wrap=what.no_wrap or None)
    for part, style in what.parts:
        result.append(drawn(part), style or None)
    return result


@drawn.register
def _group(what: plain.Group) -> console.Group:
    return console.Group(*map(drawn, what.members))


@drawn.register
def _table(what: plain.Table) -> table.Table:
    if what.show_header:
        result = table.Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    else:
        result = table.Table.grid(padding=(0, 2))
    for column in what.columns:
        options = {"justify": column.justify, "overflow": column.overflow, "style": column.style or None}
        result.add_column(column.header, no_wrap=column.no_wrap, **cast("Any", options))
    for cells in what.rows:
        result.add_row(*map(drawn, cells))
    return result


class Console(console.Console):
    """A terminal, or a stream that wants colors all the same."""

    def __init__(self, file: TextIO, width: int | None, *, color: bool | None, is_terminal: bool) -> None:
        super().__init__(
            file=cast("Any", file),
            force_terminal=True if color else is_terminal,
            no_color=color is False or None,
            width=width,
            markup=False,
            highlight=False,
            emoji=False,
            soft_wrap=False,
            safe_box=True,
        )

    def print(self, *objects: Any, **options: Any) -> None:
        """Print something of ``plain`` or of rich."""
        super().print(*map(drawn, objects), **options)


@contextmanager
def redrawn(where: Console) -> Iterator[Callable[[plain.Drawable], None]]:
    """Within the block, what the yielded function is called with takes the place of what it was called with before."""
    with Live(console=where, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield lambda what: live.update(drawn(what), refresh=True)
