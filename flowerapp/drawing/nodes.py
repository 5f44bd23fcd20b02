"""What all drawings share: nodes, signs, and the folding of wide levels."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flowerapp import graph
from flowerapp.states import SATISFIED, Status

WIDEST = 20
"""Most tasks of one level that are drawn one by one."""

SYMBOLS = {Status.WAIT: "○", Status.RUNNING: "▶", Status.SUSPEND: "✗", Status.FINISH: "✓", Status.IGNORE: "–"}
"""One sign for each state, so that colour is never the only one."""
SYMBOLS_ASCII = {Status.WAIT: "o", Status.RUNNING: ">", Status.SUSPEND: "!", Status.FINISH: "+", Status.IGNORE: "-"}
"""The same for terminals without Unicode."""
NO_STATUS = "●"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a drawing."""

    seq: int
    label: str
    """Name of its program."""
    status: Status | None = None
    """None in the drawing of a definition."""
    more: int = 0
    """Number of tasks that this node stands for, if they are not drawn one by one."""
    counts: tuple[tuple[Status, int], ...] = ()
    """How many of those are in which state."""
    children: int = 0
    """Children that it has added, which are not drawn."""
    done: int = 0
    """How many of those have ended."""

    @property
    def title(self) -> str:
        """``3 HTTPPostRequest``, or what the node stands for."""
        return self.label if self.more else f"{self.seq} {self.label}"

    @property
    def word(self) -> str:
        """The state in a word, or how many are in which; empty without one."""
        if self.status is None:
            return ", ".join(f"{count:,} {status.label}" for status, count in self.counts)
        return self.status.label

    @property
    def note(self) -> str:
        """The state, and how far its children are; empty without a state."""
        return f"{self.word}, {self.done:,} of {self.children:,} children" if self.children else self.word


STEP_COLUMNS = ("task_exec_seq", "program", "exec_status", "depends_on", "children", "pending")
"""Columns of a task that ``of_steps`` takes."""


def of_steps(rows: Iterable[tuple[Any, ...]]) -> tuple[list[Node], dict[int, list[int]]]:
    """Nodes and edges of a flow from ``STEP_COLUMNS`` of its steps."""
    nodes, edges = [], {}
    for seq, program, number, depends_on, children, pending in rows:
        status = Status(number)
        done = children_done(status, children, pending)
        nodes.append(Node(seq=seq, label=program, status=status, children=children, done=done))
        edges[seq] = depends_on
    return nodes, edges


def children_done(status: Status, children: int, pending: int) -> int:
    """How many of a task's ``children`` have ended: all with the task itself, else those that it does not wait for."""
    return children if status in SATISFIED else max(0, children - pending)


def as_json(nodes: Iterable[Node], edges: graph.Edges) -> dict[str, Any]:
    """The whole graph: nodes with their level, and edges from a dependency to what waits for it."""
    levels = graph.levels(edges)
    return {
        "nodes": [
            {
                "seq": node.seq,
                "program": node.label,
                "exec_status": None if node.status is None else int(node.status),
                "status": node.word or None,
                "level": levels.get(node.seq, 0),
                **({"children": {"done": node.done, "total": node.children}} if node.children else {}),
            }
            for node in sorted(nodes, key=lambda node: node.seq)
        ],
        "edges": [
            {"from": before, "to": seq} for seq in sorted(edges) for before in sorted(edges[seq]) if before in edges
        ],
    }


def collapse(nodes: Iterable[Node], edges: graph.Edges, widest: int = WIDEST) -> tuple[list[Node], dict[int, set[int]]]:
    """The graph with each level's tasks beyond ``widest`` as one node, which takes over their edges."""
    by_seq = {node.seq: node for node in nodes}
    known = {seq: {each for each in edges.get(seq, ()) if each in by_seq} for seq in by_seq}
    by_level: dict[int, list[int]] = {}
    for seq, level in sorted(graph.levels(known).items()):
        by_level.setdefault(level, []).append(seq)
    stands_for = {seq: seq for seq in by_seq}
    more = {}
    for level, seqs in by_level.items():
        hidden = sorted(seqs, key=lambda each: _rank(by_seq[each]))[widest:] if len(seqs) > widest + 1 else []
        seq = max(by_seq, default=0) + 1 + level
        stands_for.update(dict.fromkeys(hidden, seq))
        if hidden:
            more[seq] = _more(seq, [by_seq[each] for each in hidden])
    kept = [node for seq, node in sorted(by_seq.items()) if stands_for[seq] == seq]
    drawn: dict[int, set[int]] = {node.seq: set() for node in [*kept, *more.values()]}
    for seq, depends in known.items():
        drawn[stands_for[seq]].update(stands_for[each] for each in depends)
    return kept + list(more.values()), drawn


def _more(seq: int, hidden: Sequence[Node]) -> Node:
    counts = Counter(node.status for node in hidden if node.status is not None)
    only = next(iter(counts)) if len(counts) == 1 else None
    several = tuple(sorted(counts.items())) if only is None else ()
    return Node(seq=seq, label=f"… {len(hidden):,} more", status=only, more=len(hidden), counts=several)


def _rank(node: Node) -> tuple[int, int]:
    """Failed ones are drawn first, then running ones."""
    urgent = (Status.SUSPEND, Status.RUNNING)
    return (urgent.index(node.status) if node.status in urgent else len(urgent), node.seq)


def clean(text: str) -> str:
    """``text`` on one line, without control characters, which neither a terminal nor XML should get."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(each) in {"Cc", "Cs"} else each for each in text)
