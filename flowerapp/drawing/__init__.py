"""Drawings of a graph of steps: plain text, Mermaid, SVG and JSON.

Pure functions over nodes and ``{seq: seqs it depends on}``. A level of the graph that is wider than ``WIDEST`` is
drawn with some of its tasks, the failed and running ones first, and one node "… N more", so that a drawing stays
readable and small.
"""

from flowerapp.drawing.flowchart import mermaid
from flowerapp.drawing.lanes import ascii
from flowerapp.drawing.nodes import (
    STEP_COLUMNS,
    SYMBOLS,
    SYMBOLS_ASCII,
    WIDEST,
    Node,
    as_json,
    children_done,
    clean,
    of_steps,
)
from flowerapp.drawing.picture import svg

__all__ = [
    "STEP_COLUMNS",
    "SYMBOLS",
    "SYMBOLS_ASCII",
    "WIDEST",
    "Node",
    "as_json",
    "ascii",
    "children_done",
    "clean",
    "mermaid",
    "of_steps",
    "svg",
]
