"""What all drawings share: nodes, and the folding of wide levels."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowerapp.core import graph
from flowerapp.core.names import titled, visible
from flowerapp.selectors.status_style import STYLES, Style, task_style
from flowerapp.states import Status

if TYPE_CHECKING:
    from flowerapp.selectors.graphs import Step

WIDEST = 20
"""Most tasks of one level that are drawn one by one."""

LABEL_COLUMNS = 80
"""Columns of the longest title in text and Mermaid."""

NO_STATUS = "●"
"""Symbol of a step of a definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a drawing."""

    seq: int
    label: str
    """Name of its program."""
    name: str = ""
    """Its own name, if it has one."""
    status: Status | None = None
    """None in the drawing of a definition."""
    ignored_by: str = ""
    """Why it is Ignore, as its column has it."""
    waits: str = ""
    """What it waits for, of a wait that has begun."""
    more: int = 0
    """Number of tasks that this node stands for, if they are not drawn one by one."""
    counts: tuple[tuple[Style, int], ...] = ()
    """Styles of those tasks, each with its number."""
    children: int = 0
    """Children that it has added, which are not drawn."""
    children_done: int = 0
    """How many of those are Finish."""
    children_text: str = ""
    """Numbers of its children in words."""

    cached: bool = False
    """Whether it took the output that another task had stored."""

    @property
    def style(self) -> Style | None:
        """Looks of its state; None without one."""
        return None if self.status is None else task_style(self.status, self.ignored_by, begun=bool(self.waits))

    @property
    def title(self) -> str:
        """``3 load``, for a step without a name ``3 HTTPPostRequest``; or what the node stands for."""
        return self.label if self.more else titled(self.seq, self.name, self.label)

    @property
    def tooltip(self) -> str:
        """All that there is to say: title, program, state."""
        program = f" ({self.label})" if self.name and self.label else ""
        return f"{self.title}{program} – {self.note}" if self.note else f"{self.title}{program}"

    @property
    def word(self) -> str:
        """The state in a word, or the states of the tasks that it stands for; empty without one."""
        if self.style is None:
            return ", ".join(f"{count:,} {style.word}" for style, count in self.counts)
        return self.style.word

    @property
    def note(self) -> str:
        """The state, what it waits for, how many children are done, and whether its output was stored."""
        cached = "cached" if self.cached else ""
        return ", ".join(filter(None, [self.word, self.waits, self.children_text, cached]))


def of_steps(steps: Iterable[Step]) -> tuple[list[Node], dict[int, list[int]]]:
    """Nodes and edges of a flow."""
    nodes, edges = [], {}
    for step in steps:
        edges[step.seq] = step.depends_on
        nodes.append(
            Node(
                seq=step.seq,
                label=step.program,
                name=step.name,
                status=step.status,
                ignored_by=step.ignored_by,
                cached=step.cached,
                waits=step.waits,
                **_children(step),
            )
        )
    return nodes, edges


def _children(step: Step) -> dict[str, Any]:
    of = step.children
    return {"children": of.total, "children_done": of.done, "children_text": of.children_text} if of else {}


def collapse(nodes: Iterable[Node], edges: graph.Edges, widest: int = WIDEST) -> tuple[list[Node], dict[int, set[int]]]:
    """The graph with each level's tasks beyond ``widest`` as one node, which takes over their edges."""
    by_seq = {node.seq: node for node in nodes}
    inner = {seq: {before for before in edges.get(seq, ()) if before in by_seq} for seq in by_seq}
    stands_for = {seq: seq for seq in by_seq}
    more = []
    for level, seqs in _by_level(inner).items():
        hidden = sorted(seqs, key=lambda seq: _rank(by_seq[seq]))[widest:] if len(seqs) > widest + 1 else []
        if hidden:
            more.append(_more(max(by_seq) + 1 + level, [by_seq[seq] for seq in hidden]))
            stands_for.update(dict.fromkeys(hidden, more[-1].seq))
    kept = [node for seq, node in sorted(by_seq.items()) if stands_for[seq] == seq]
    drawn: dict[int, set[int]] = {node.seq: set() for node in [*kept, *more]}
    for seq, depends in inner.items():
        drawn[stands_for[seq]].update(stands_for[before] for before in depends)
    return kept + more, drawn


def _by_level(edges: graph.Edges) -> dict[int, list[int]]:
    levels: dict[int, list[int]] = {}
    for seq, level in sorted(graph.levels(edges).items()):
        levels.setdefault(level, []).append(seq)
    return levels


def _more(seq: int, hidden: Sequence[Node]) -> Node:
    """The node that stands for ``hidden``: with their state if they share one, else with the number of each."""
    label = f"… {len(hidden):,} more"
    styles = Counter(None if node.status is None else task_style(node.status, node.ignored_by) for node in hidden)
    if len(styles) == 1:
        return Node(seq=seq, label=label, status=hidden[0].status, ignored_by=hidden[0].ignored_by, more=len(hidden))
    counts = tuple((style, styles[style]) for style in STYLES if style in styles)
    return Node(seq=seq, label=label, more=len(hidden), counts=counts)


def _rank(node: Node) -> tuple[int, int]:
    """Failed ones are drawn first, then running ones."""
    urgent = (Status.SUSPEND, Status.RUNNING)
    return (urgent.index(node.status) if node.status in urgent else len(urgent), node.seq)


def shortened(text: str, columns: int) -> str:
    """``text``, or its beginning where it would be wider."""
    width = 0
    for index, char in enumerate(text):
        width += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if width > columns:
            return text[: max(1, index - 1)] + "…"
    return text


def clean(text: str) -> str:
    """``text`` on one line, with escapes for what breaks terminals and XML, or misleads a reader."""
    return visible(text)
