"""Plain text: one row for each task, joined by lines as version control draws its history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from flowerapp.core import graph
from flowerapp.drawing.nodes import LABEL_COLUMNS, NO_STATUS, Node, clean, collapse, shortened
from flowerapp.drawing.parts import WHOLE, Part, View, drawn, fits
from flowerapp.selectors.status_style import BEGUN, STYLES

SPACED = 60
"""Most nodes of a text drawing that has a line between any two."""
WIDEST = 100
"""Most columns of lines beside each other."""
MOST_LISTED = 10
"""Tasks that one follows and that a list names."""


_PLAIN = (
    str.maketrans("│─├┤┼╰╯┴╭╮┬…–", "|-+++''+..+.-")
    | {ord(style.symbol): style.plain_symbol for style in (*STYLES, BEGUN)}
    | {ord(NO_STATUS): "*"}
)


def ascii(nodes: Iterable[Node], edges: graph.Edges, *, unicode: bool = True, view: View = WHOLE) -> str:
    """A drawing in lines of text, one for each task in an order in which they could run.

    Where it would be wider than ``WIDEST`` columns of lines, it is a list: each task with those that it follows.
    Without ``unicode`` its lines and symbols are plain ASCII.
    """
    _, text = drawn(nodes, edges, view, lambda part: _drawn(part, view))
    return text if unicode else text.translate(_PLAIN)


def _drawn(part: Part, view: View) -> str | None:
    shown, depends = collapse(part.nodes, part.edges)
    if len(shown) > view.most_nodes or sum(map(len, depends.values())) > view.most_edges:
        return None
    by_seq = {node.seq: node for node in shown}
    after = graph.followers(depends)
    order = graph.order(depends)
    columns = _Columns(spaced=len(shown) <= SPACED)
    for seq in order:
        columns.add(by_seq[seq], after[seq])
        if len(columns.targets) > WIDEST:
            return fits(_noted(part, _list([by_seq[seq] for seq in order], depends)))
    return fits(_noted(part, columns.text()))


def _noted(part: Part, text: str) -> str:
    return f"{part.note}\n\n{text}" if part.note else text


def _list(nodes: Iterable[Node], edges: graph.Edges) -> str:
    """A line for each task, with the seqs of those that it follows."""
    lines = [f"{_symbol(node)}  {_title(node)}{_after(sorted(edges[node.seq]))}" for node in nodes]
    return "\n".join([f"A drawing would be over {WIDEST} columns of lines wide; as a list:", "", *lines]) + "\n"


def _after(before: Sequence[int]) -> str:
    if not before:
        return ""
    more = f" and {len(before) - MOST_LISTED:,} more" if len(before) > MOST_LISTED else ""
    return f"  after {', '.join(map(str, before[:MOST_LISTED]))}{more}"


def _symbol(node: Node) -> str:
    return node.style.symbol if node.style else NO_STATUS


def _title(node: Node) -> str:
    word = f"  {node.note}" if node.note else ""
    return clean(shortened(node.title, LABEL_COLUMNS)) + word


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
        self.rows.append((self._bars(column, _symbol(node)), _title(node)))
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
