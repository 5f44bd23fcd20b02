"""Drawings of a graph of steps: plain text, Mermaid, SVG and JSON.

Pure functions over nodes and ``{seq: seqs it depends on}``. A level of the graph that is wider than ``WIDEST`` is
drawn with some of its tasks, the failed and running ones first, and one node "… N more", so that a drawing stays
readable. Of a graph that is too large all the same, a part is drawn (``parts.py``): no drawing is over ``MOST_BYTES``.
"""

from flowerapp.drawing.document import as_json
from flowerapp.drawing.mermaid import mermaid
from flowerapp.drawing.nodes import WIDEST, Node, clean, of_steps
from flowerapp.drawing.parts import MOST_BYTES, View
from flowerapp.drawing.svg import stylesheet, svg
from flowerapp.drawing.text import ascii

__all__ = [
    "MOST_BYTES",
    "WIDEST",
    "Node",
    "View",
    "as_json",
    "ascii",
    "clean",
    "mermaid",
    "of_steps",
    "stylesheet",
    "svg",
]
