"""The front door of the arrow language: a workflow as a line of text, such as ``fetch → resize | caption → publish``.

>>> from flowerapp.workflows import arrow
>>> graph = arrow.compile_text("fetch → ? `$.pages` { print } → archive")
>>> [(step.index, step.kind.value, step.name, step.depends_on) for step in graph.steps][:2]
[(1, 'task', 'fetch', ()), (2, 'start', '', (1,))]

The language is that of docs/arrow.md. ``parse`` gives the tree of a text, ``compile_text`` and ``compile_document`` a
checked graph of numbered steps. What is wrong with a text is an ``ArrowError`` with line and column.

Modules, each of which knows those above it: ``limits``, ``errors``, ``syntax``; ``yaml_scan``, ``yaml_values``,
``literals``; ``grammar``, ``lexer``, ``builder``, ``parser``; ``graph``, ``declarations``, ``scopes``, ``loops``,
``unrolling``, ``compiler``.
"""

from flowerapp.workflows.arrow.compiler import compile_document, compile_text
from flowerapp.workflows.arrow.errors import ArrowError
from flowerapp.workflows.arrow.graph import FLOW_START, Graph, Kind, Position, Step
from flowerapp.workflows.arrow.parser import parse
from flowerapp.workflows.arrow.syntax import Document

__all__ = [
    "FLOW_START",
    "ArrowError",
    "Document",
    "Graph",
    "Kind",
    "Position",
    "Step",
    "compile_document",
    "compile_text",
    "parse",
]
