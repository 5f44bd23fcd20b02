"""Plain text: one row for each task, joined by lines as version control draws its history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from flowerapp.core import graph
from flowerapp.drawing.nodes import NO_STATUS, Node, clean, collapse
from flowerapp.selectors.status_style import STYLES

SPACED = 60
"""Most nodes of a text drawing that has a line between any two."""


_PLAIN = (
    str.maketrans("│─├┤┼╰╯┴╭╮┬…–", "|-+++''+..+.-")
    | {ord(style.symbol): style.plain_symbol for style in STYLES}
    | {ord(NO_STATUS): "*"}
)


def ascii(nodes: Iterable[Node], edges: graph.Edges, *, unicode: bool = True) -> str:
    """A drawing in lines of text, one for each task in an order in which they could run.

    Without ``unicode`` its lines and symbols are plain ASCII.
    """
    drawn, depends = collapse(nodes, edges)
    by_seq = {node.seq: node for node in drawn}
    after = graph.followers(depends)
    columns = _Columns(spaced=len(drawn) <= SPACED)
    for seq in graph.order(depends):
        columns.add(by_seq[seq], after[seq])
    return columns.text() if unicode else columns.text().translate(_PLAIN)


_SIDES = {
    (True, True, False, True): "├",
    (True, True, True, False): "┤",
    (True, True, True, True): "┼",
    (True, False, False, True): "╰",
    (True, False, True, False): "╯",
    (True, False, True, True): "┴",
    (False, True, False, True): "╭",
    (False, True, True, False): "╮",
    (False, True, True, True): "┬",
}
"""Character of a crossing by the sides that it has a line to: up, down, left, right."""


@dataclass
class _Columns:
    """Columns of a text drawing: each leads down to one task."""

    spaced: bool
    targets: list[int | None] = field(default_factory=list)
    """The seq that each column leads to; None for a free one."""
    rows: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    """Whether the row above ended a column, so that a root must not seem to follow it."""

    def add(self, node: Node, after: Collection[int]) -> None:
        """Draw a task, and the lines from it to its dependents."""
        if node.seq in self.targets:
            column = self.targets.index(node.seq)
        else:
            if self.ended:
                self.rows.append((self._bars(), ""))
            column = self._free()
        self.targets[column] = node.seq
        symbol = node.style.symbol if node.style else NO_STATUS
        word = f"  {node.note}" if node.note else ""
        self.rows.append((self._bars(column, symbol), clean(node.title) + word))
        self._lead_to_dependents(column, sorted(after))

    def _free(self) -> int:
        if None not in self.targets:
            self.targets.append(None)
        return self.targets.index(None)

    def _lead_to_dependents(self, column: int, after: Sequence[int]) -> None:
        above = [target is not None for target in self.targets]
        self.targets[column] = None
        for seq in after:
            if seq not in self.targets:
                self.targets[column if self.targets[column] is None else self._free()] = seq
        above += [False] * (len(self.targets) - len(above))
        joined = {self.targets.index(seq) for seq in after} | {column}
        self.ended = not after
        if after and (len(joined) > 1 or self.spaced):
            self.rows.append((self._crossings(above, joined), ""))

    def _bars(self, column: int = -1, symbol: str = "") -> str:
        characters = ["│" if target is not None else " " for target in self.targets]
        if symbol:
            characters[column] = symbol
        return " ".join(characters).rstrip()

    def _crossings(self, above: Sequence[bool], joined: set[int]) -> str:
        first, last = min(joined), max(joined)
        row = ""
        for column, target in enumerate(self.targets):
            inside = first <= column < last
            if column in joined and first < last:
                char = _SIDES[above[column], target is not None, column > first, column < last]
            elif target is not None:
                char = "│"
            else:
                char = "─" if first < column < last else " "
            row += char + ("─" if inside else " ")
        return row.rstrip()

    def text(self) -> str:
        """The drawing, with its titles in one column."""
        width = max((len(row) for row, title in self.rows if title), default=0)
        lines = (f"{row:<{width}}  {title}" if title else row for row, title in self.rows)
        return "\n".join(line.rstrip() for line in lines) + "\n" if self.rows else ""
