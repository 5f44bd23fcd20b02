"""Mermaid flowcharts."""

from __future__ import annotations

from collections.abc import Iterable

from flowerapp import graph
from flowerapp.drawing.colours import LIGHT
from flowerapp.drawing.nodes import SYMBOLS, Node, clean, collapse

MERMAID_EDGES = 500
"""Edges above which Mermaid refuses a drawing unless its ``maxEdges`` is raised."""


def mermaid(nodes: Iterable[Node], edges: graph.Edges) -> str:
    """A Mermaid flowchart."""
    drawn, depends = collapse(nodes, edges)
    lines = ["flowchart TD"]
    for node in drawn:
        state = "" if node.status is None else f"<br/>{SYMBOLS[node.status]} {node.note}"
        style = "" if node.status is None else f":::{node.word.lower()}"
        lines.append(f'    t{node.seq}["{_mermaid_text(node.title)}{state}"]{style}')
    arrows = [f"    t{before} --> t{seq}" for seq in sorted(depends) for before in sorted(depends[seq])]
    if len(arrows) > MERMAID_EDGES:
        lines.insert(1, f"    %% {len(arrows)} edges: raise maxEdges in Mermaid's settings, {MERMAID_EDGES} by default")
    used = {node.status for node in drawn if node.status is not None}
    styles = [
        f"    classDef {status.label.lower()} fill:{colour.fill},stroke:{colour.line},color:{colour.text}"
        for status, colour in LIGHT.items()
        if status in used
    ]
    return "\n".join([*lines, *arrows, *styles]) + "\n"


def _mermaid_text(text: str) -> str:
    """Text in Mermaid's entity codes, where it could end a label or be taken for markup."""
    return "".join(f"#{ord(each)};" if each in '"#<>&`\\;*_~[]{}()|%' else each for each in clean(text))
