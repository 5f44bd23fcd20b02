"""Diagrams in Mermaid's language."""

from __future__ import annotations

from collections.abc import Iterable

from flowerapp.core import graph
from flowerapp.drawing.colors import LIGHT
from flowerapp.drawing.nodes import LABEL_COLUMNS, Node, clean, collapse, shortened
from flowerapp.drawing.parts import WHOLE, Part, View, drawn, fits

MERMAID_EDGES = 500
"""Edges above which Mermaid refuses a drawing unless its ``maxEdges`` is raised."""


def mermaid(nodes: Iterable[Node], edges: graph.Edges, view: View = WHOLE) -> str:
    """A Mermaid diagram."""
    _, text = drawn(nodes, edges, view, lambda part: _drawn(part, view))
    return text


def _drawn(part: Part, view: View) -> str | None:
    shown, depends = collapse(part.nodes, part.edges)
    if len(shown) > view.most_nodes or sum(map(len, depends.values())) > view.most_edges:
        return None
    lines = ["flowchart TD"]
    if part.note:
        lines.append(f'    note["{_mermaid_text(part.note)}"]')
    for node in shown:
        state = f"<br/>{node.style.symbol} {node.note}" if node.style else ""
        style = f":::{node.style.color}" if node.style else ""
        title = _mermaid_text(shortened(node.title, LABEL_COLUMNS))
        lines.append(f'    t{node.seq}["{title}{state}"]{style}')
    arrows = [f"    t{before} --> t{seq}" for seq in sorted(depends) for before in sorted(depends[seq])]
    if len(arrows) > MERMAID_EDGES:
        lines.insert(1, f"    %% {len(arrows)} edges: raise maxEdges in Mermaid's settings, {MERMAID_EDGES} by default")
    used = {node.style.color for node in shown if node.style}
    styles = [
        f"    classDef {token} fill:{colors.fill},stroke:{colors.line},color:{colors.text}"
        for token, colors in LIGHT.items()
        if token in used
    ]
    return fits("\n".join([*lines, *arrows, *styles]) + "\n")


def _mermaid_text(text: str) -> str:
    """Text with Mermaid's entity codes for characters that could end a label or count as markup."""
    return "".join(f"#{ord(char)};" if char in '"#<>&`\\;*_~[]{}()|%' else char for char in clean(text))
