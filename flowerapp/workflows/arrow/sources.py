"""What a flow keeps as its source: a text, or the compiled form of one whose text is lost, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flowerapp.core import values
from flowerapp.workflows.arrow.compiler import compile_text
from flowerapp.workflows.arrow.forms import from_compiled_form
from flowerapp.workflows.arrow.graph import Graph

_BEGINNING = '{"F":'
"""No text begins so: a name never begins with a quote."""


def form_text(form: Mapping[str, Any]) -> str:
    """A compiled form as a source."""
    return json.dumps({"F": form["F"], "T": form["T"]}, ensure_ascii=False, separators=(",", ":"))


def is_form(source: str) -> bool:
    """Whether a source is a compiled form."""
    return source.startswith(_BEGINNING)


def graph_of_source(source: str) -> Graph:
    """The graph of a source; raises ArrowError for a text and InvalidValueError for a form that cannot be used."""
    if not is_form(source):
        return compile_text(source)
    form = values.parsed(source, "the compiled form")
    return from_compiled_form(form)
