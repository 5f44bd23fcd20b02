"""Plain text: one row for each task, in lanes as version control draws its history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from flowerapp import graph
from flowerapp.drawing.nodes import NO_STATUS, SYMBOLS, SYMBOLS_ASCII, Node, clean, collapse

SPACED = 60
"""Most nodes of a text drawing that has a line between any two."""


_PLAIN = (
    str.maketrans("│─├┤┼╰╯┴╭╮┬…–", "|-+++''+..+.-")
    | {ord(symbol): SYMBOLS_ASCII[status] for status, symbol in SYMBOLS.items()}
    | {ord(NO_STATUS): "*"}
)


def ascii(nodes: Iterable[Node], edges: graph.Edges, *, unicode: bool = True) -> str:
    """A drawing in lines of text, one for each task in an order in which they could run.

    Without ``unicode`` its lines and signs are of plain ASCII.
    """
    drawn, depends = collapse(nodes, edges)
    by_seq = {node.seq: node for node in drawn}
    after = graph.followers(depends)
    lanes = _Lanes(spaced=len(drawn) <= SPACED)
    for seq in graph.order(depends):
        lanes.add(by_seq[seq], after[seq])
    return lanes.text() if unicode else lanes.text().translate(_PLAIN)


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
class _Lanes:
    """Columns of a text drawing: each leads to the task that it waits for."""

    spaced: bool
    targets: list[int | None] = field(default_factory=list)
    """The seq that each column leads to; None for a free one."""
    rows: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    """Whether the row above ended a column, so that a root must not seem to follow it."""

    def add(self, node: Node, after: Collection[int]) -> None:
        """Draw a task, and the lines from it to those that wait for it."""
        if node.seq in self.targets:
            lane = self.targets.index(node.seq)
        else:
            if self.ended:
                self.rows.append((self._bars(), ""))
            lane = self._free()
        self.targets[lane] = node.seq
        symbol = NO_STATUS if node.status is None else SYMBOLS[node.status]
        word = f"  {node.note}" if node.note else ""
        self.rows.append((self._bars(lane, symbol), clean(node.title) + word))
        self._lead_on(lane, sorted(after))

    def _free(self) -> int:
        if None not in self.targets:
            self.targets.append(None)
        return self.targets.index(None)

    def _lead_on(self, lane: int, after: Sequence[int]) -> None:
        above = [target is not None for target in self.targets]
        self.targets[lane] = None
        for seq in after:
            if seq not in self.targets:
                self.targets[lane if self.targets[lane] is None else self._free()] = seq
        above += [False] * (len(self.targets) - len(above))
        joined = {self.targets.index(seq) for seq in after} | {lane}
        self.ended = not after
        if after and (len(joined) > 1 or self.spaced):
            self.rows.append((self._crossings(above, joined), ""))

    def _bars(self, lane: int = -1, symbol: str = "") -> str:
        signs = ["│" if target is not None else " " for target in self.targets]
        if symbol:
            signs[lane] = symbol
        return " ".join(signs).rstrip()

    def _crossings(self, above: Sequence[bool], joined: set[int]) -> str:
        first, last = min(joined), max(joined)
        row = ""
        for lane, target in enumerate(self.targets):
            inside = first <= lane < last
            if lane in joined and first < last:
                sign = _SIDES[above[lane], target is not None, lane > first, lane < last]
            elif target is not None:
                sign = "│"
            else:
                sign = "─" if first < lane < last else " "
            row += sign + ("─" if inside else " ")
        return row.rstrip()

    def text(self) -> str:
        """The drawing, its titles in one column while that is near."""
        width = max((len(row) for row, title in self.rows if title), default=0)
        lines = (f"{row:<{width}}  {title}" if title else row for row, title in self.rows)
        return "\n".join(line.rstrip() for line in lines) + "\n" if self.rows else ""
