"""Diagrams in Mermaid's language."""

from __future__ import annotations

from collections.abc import Iterable

from flowerapp.core import graph
from flowerapp.drawing.colors import LIGHT
from flowerapp.drawing.nodes import Node, clean, collapse

MERMAID_EDGES = 500
"""Edges above which Mermaid refuses a drawing unless its ``maxEdges`` is raised."""


def mermaid(nodes: Iterable[Node], edges: graph.Edges) -> str:
    """A Mermaid diagram."""
    drawn, depends = collapse(nodes, edges)
    lines = ["flowchart TD"]
    for node in drawn:
        state = f"<br/>{node.style.symbol} {node.note}" if node.style else ""
        style = f":::{node.style.color}" if node.style else ""
        lines.append(f'    t{node.seq}["{_mermaid_text(node.title)}{state}"]{style}')
    arrows = [f"    t{before} --> t{seq}" for seq in sorted(depends) for before in sorted(depends[seq])]
    if len(arrows) > MERMAID_EDGES:
        lines.insert(1, f"    %% {len(arrows)} edges: raise maxEdges in Mermaid's settings, {MERMAID_EDGES} by default")
    used = {node.style.color for node in drawn if node.style}
    styles = [
        f"    classDef {token} fill:{colors.fill},stroke:{colors.line},color:{colors.text}"
        for token, colors in LIGHT.items()
        if token in used
    ]
    return "\n".join([*lines, *arrows, *styles]) + "\n"


def _mermaid_text(text: str) -> str:
    """Text with Mermaid's entity codes for characters that could end a label or count as markup."""
    return "".join(f"#{ord(char)};" if char in '"#<>&`\\;*_~[]{}()|%' else char for char in clean(text))
