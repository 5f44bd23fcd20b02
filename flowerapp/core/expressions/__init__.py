"""Expressions over JSON values, for conditions, templates, cache keys and lists of children.

>>> from flowerapp.core import expressions
>>> expressions.parse('input.count > 3 && "new" in input.tags').evaluate({"input": {"count": 4, "tags": ["new"]}})
True
>>> expressions.template({"to": "{{ input.user }}", "text": "Hello {{ input.user.name }}"}).names
frozenset({'input'})

The language is that of docs/expressions.md. Nothing is evaluated by Python: an expression reads keys and items of JSON
values and calls the functions of ``FUNCTIONS``. Its text, depth, steps and what it builds are bounded (``limits``).

Modules, each of which knows those above it: ``errors``, ``limits``; ``kinds``; ``pattern_parser``, ``patterns``;
``operations``; ``functions`` and the modules that fill its register; ``nodes``, ``access``; ``grammar``, ``literals``,
``builder``; ``parser``; ``templates``. Beside them is the dialect of JSONPath in which guards may be written:
``path_nodes``, ``path_grammar``, ``path_builder``, ``paths``; and ``conditions``, which takes either.
"""

from flowerapp.core.expressions.conditions import Condition, condition
from flowerapp.core.expressions.errors import ExpressionError
from flowerapp.core.expressions.functions import FUNCTIONS
from flowerapp.core.expressions.kinds import as_text, go_text
from flowerapp.core.expressions.nodes import Namespace
from flowerapp.core.expressions.parser import Context, Expression, names, parse
from flowerapp.core.expressions.paths import Path, parse_path
from flowerapp.core.expressions.templates import Template, parse_either, template

__all__ = [
    "FUNCTIONS",
    "Condition",
    "Context",
    "Expression",
    "ExpressionError",
    "Namespace",
    "Path",
    "Template",
    "as_text",
    "condition",
    "go_text",
    "names",
    "parse",
    "parse_either",
    "parse_path",
    "template",
]
