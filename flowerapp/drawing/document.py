"""A graph as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flowerapp.core import graph
from flowerapp.drawing.nodes import Node
from flowerapp.drawing.parts import WHOLE, Part, View, drawn, fits

MOST_NODES, MOST_EDGES = 5000, 20_000


def as_json(nodes: Iterable[Node], edges: graph.Edges, view: View = WHOLE) -> dict[str, Any]:
    """Nodes with their level, and edges from a dependency to its dependent.

    Of a part it also says around which step it is, and how many nodes and edges of the graph were left out.
    """
    view = replace(view, most_nodes=MOST_NODES, most_edges=MOST_EDGES)
    part, document = drawn(nodes, edges, view, lambda part: _document(part, view))
    if part.around is None:
        return document
    return {**document, "around": part.around, "left_out": {"nodes": part.left_steps, "edges": part.left_edges}}


def _document(part: Part, view: View) -> dict[str, Any] | None:
    if len(part.nodes) > view.most_nodes or sum(map(len, part.edges.values())) > view.most_edges:
        return None
    levels = graph.levels(part.edges)
    document = {
        "nodes": [_node(node, levels) for node in part.nodes],
        "edges": [{"from": before, "to": seq} for seq in sorted(part.edges) for before in sorted(part.edges[seq])],
    }
    return document if fits(json.dumps(document, ensure_ascii=False)) else None


def _node(node: Node, levels: dict[int, int]) -> dict[str, Any]:
    return {
        "seq": node.seq,
        "name": node.name,
        "program": node.label,
        "exec_status": None if node.status is None else int(node.status),
        "status": None if node.status is None else node.status.label,
        "level": levels.get(node.seq, 0),
        **({"waits": node.waits} if node.waits else {}),
        **({"children": {"done": node.children_done, "total": node.children}} if node.children else {}),
        **({"cached": True} if node.cached else {}),
    }
