"""The part of a graph that is drawn: all of it, or where that would be too large, the steps around one of them.

So the size of a drawing and the time that it takes are bounded, whatever the graph is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from flowerapp.core import graph
from flowerapp.drawing.nodes import Node
from flowerapp.states import Status

MOST_BYTES = 1_500_000
"""Size of the largest drawing."""
MOST_STEPS, MOST_EDGES = 20_000, 200_000
"""Steps and edges of the largest graph that is looked at as a whole."""
SPARE = 20
"""How many times as many edges as are drawn a part may have before its wide levels are folded."""

Drawing = TypeVar("Drawing")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What to draw of a graph, and how much of it at most."""

    around: int | None = None
    """Seq of the step that a part is about; without it the first that failed, or runs, or the first of all."""
    unread_steps: int = 0
    """Steps of the graph that are not among those to draw."""
    unread_edges: int = 0
    """Edges of the graph that are not among those to draw."""
    most_nodes: int = 1000
    most_edges: int = 2000


WHOLE = View()
"""The whole graph, if it is not too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Steps that are drawn together."""

    nodes: list[Node]
    """In order of seq."""
    edges: dict[int, list[int]]
    """Those between them."""
    around: int | None = None
    """The step that the part is about; None for the whole graph."""
    left_steps: int = 0
    left_edges: int = 0

    @property
    def note(self) -> str:
        """What was left out, and how to see it; empty if nothing was."""
        if self.around is None:
            return ""
        total = len(self.nodes) + self.left_steps
        return (
            f"{self.left_steps:,} of {total:,} steps are left out: these are around step {self.around}. "
            "Name another with around; the list of tasks has all."
        )


def drawn(
    nodes: Iterable[Node], edges: graph.Edges, view: View, draw: Callable[[Part], Drawing | None]
) -> tuple[Part, Drawing]:
    """The largest part that ``draw`` can draw, with its drawing; ``draw`` answers None for one that is too large."""
    for part in _parts(nodes, edges, view):
        drawing = draw(part)
        if drawing is not None:
            return part, drawing
    raise AssertionError("a part of one step is small")


def fits(text: str) -> str | None:
    """A drawing, or None if it has too many bytes."""
    return text if len(text) <= MOST_BYTES and len(text.encode()) <= MOST_BYTES else None


def _parts(nodes: Iterable[Node], edges: graph.Edges, view: View) -> Iterator[Part]:
    """The whole graph if it may be small enough, then parts of it that are ever smaller."""
    ordered = sorted(nodes, key=lambda node: node.seq)
    seqs = {node.seq for node in ordered}
    is_known = len(ordered) <= MOST_STEPS and sum(map(len, edges.values())) <= MOST_EDGES
    if is_known and not view.unread_steps:
        yield Part(nodes=ordered, edges={seq: [step for step in edges.get(seq, ()) if step in seqs] for seq in seqs})
    around = _focus(ordered, view.around)
    total = view.unread_edges + sum(len(edges.get(seq, ())) for seq in seqs)
    part = Part(nodes=ordered, edges={seq: list(edges.get(seq, ())) for seq in seqs}, around=around)
    size = view.most_nodes
    while size:
        part = _window(part, size)
        kept = sum(map(len, part.edges.values()))
        left = len(ordered) + view.unread_steps - len(part.nodes)
        if kept <= view.most_edges * SPARE:
            yield replace(part, left_steps=left, left_edges=total - kept)
        size //= 2


def _focus(ordered: list[Node], around: int | None) -> int:
    """The step that a part is about."""
    ranks = {Status.SUSPEND: 0, Status.RUNNING: 1}
    if any(node.seq == around for node in ordered):
        return around or 0
    return min(ordered, key=lambda node: (ranks.get(node.status, 2) if node.status else 2, node.seq)).seq


def _window(part: Part, size: int) -> Part:
    """The ``size`` steps around the one that the part is about, in order of seq."""
    at = bisect_left(part.nodes, part.around or 0, key=lambda node: node.seq)
    first = max(0, min(at - size // 2, len(part.nodes) - size))
    nodes = part.nodes[first : first + size]
    seqs = {node.seq for node in nodes}
    return replace(
        part, nodes=nodes, edges={seq: [before for before in part.edges[seq] if before in seqs] for seq in seqs}
    )
