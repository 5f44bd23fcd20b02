"""The front door of the arrow language: a workflow as a line of text, such as ``fetch → resize | caption → publish``.

>>> from flowerapp.workflows import arrow
>>> graph = arrow.compile_text("fetch → ? `$.pages` { print } → archive")
>>> [(step.index, step.kind.value, step.name, step.depends_on) for step in graph.steps][:2]
[(1, 'task', 'fetch', ()), (2, 'start', '', (1,))]
>>> arrow.format_text("A->B")
'A → B\\n'

The language is that of docs/arrow.md. ``parse`` gives the tree of a text, ``compile_text`` and ``compile_document`` a
checked graph of numbered steps, ``format_text`` and ``format_document`` the text again, ``compiled_form`` and
``from_compiled_form`` the JSON that littleflow's archives carry, ``diagram`` a state diagram for Mermaid, ``lint_text``
notes on what may not be meant. What is wrong with a text is an ``ArrowError`` with line and column.

Modules, each of which knows those above it: ``limits``, ``errors``, ``sizes``, ``syntax``; ``yaml_scan``,
``literals``; ``grammar``, ``lexer``, ``builder``, ``parser``; ``graph``, ``declarations``, ``scopes``, ``loops``,
``unrolling``, ``compiler``; ``written``, ``formatter``, ``forms``, ``sources``, ``masks``; ``diagram``, ``lint``.
"""

from flowerapp.workflows.arrow.compiler import compile_document, compile_text
from flowerapp.workflows.arrow.diagram import diagram
from flowerapp.workflows.arrow.errors import ArrowError
from flowerapp.workflows.arrow.formatter import format_document, format_text
from flowerapp.workflows.arrow.forms import compiled_form, from_compiled_form
from flowerapp.workflows.arrow.graph import FLOW_START, Graph, Kind, Position, Step
from flowerapp.workflows.arrow.lint import Note, lint_text
from flowerapp.workflows.arrow.lowering import plan_of_graph, plan_of_text
from flowerapp.workflows.arrow.parser import parse
from flowerapp.workflows.arrow.sources import form_text, graph_of_source
from flowerapp.workflows.arrow.syntax import Document

__all__ = [
    "FLOW_START",
    "ArrowError",
    "Document",
    "Graph",
    "Kind",
    "Note",
    "Position",
    "Step",
    "compile_document",
    "compile_text",
    "compiled_form",
    "diagram",
    "form_text",
    "format_document",
    "format_text",
    "from_compiled_form",
    "graph_of_source",
    "lint_text",
    "parse",
    "plan_of_graph",
    "plan_of_text",
]
