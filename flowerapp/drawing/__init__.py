"""Drawings of a graph of steps: plain text, Mermaid, SVG and JSON.

Pure functions over nodes and ``{seq: seqs it depends on}``. A level of the graph that is wider than ``WIDEST`` is
drawn with some of its tasks, the failed and running ones first, and one node "… N more", so that a drawing stays
readable and small.
"""

from flowerapp.drawing.mermaid import mermaid
from flowerapp.drawing.nodes import WIDEST, Node, as_json, clean, of_steps
from flowerapp.drawing.svg import svg
from flowerapp.drawing.text import ascii

__all__ = ["WIDEST", "Node", "as_json", "ascii", "clean", "mermaid", "of_steps", "svg"]
