"""Literals as text: as they were written, or else as JSON where JSON has a form for them, or else as YAML."""

from __future__ import annotations

import json
import re
from typing import Any

from flowerapp.workflows.arrow import literals
from flowerapp.workflows.arrow.syntax import Literal

ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that a string of YAML has only as escapes, besides those that JSON escapes too."""
EXPONENT = re.compile(r"^(-?\d+)e")


def literal_text(literal: Literal, bracket: str) -> str:
    """A literal with its delimiters; ``bracket`` is ``(`` for parameters and ``<`` for a source."""
    if literal.written and _stays(literal.written):
        return literal.written
    value, closing = literal.value, literals.CLOSING[bracket]
    if value == {} and isinstance(value, dict):
        return bracket + closing
    if isinstance(value, (dict, list)):
        return f"{bracket}{_json(value)}{closing}"
    return f"{bracket}- {_scalar(value)} -{closing}"


def _stays(written: str) -> bool:
    """Whether a literal ends at the same place whatever follows it on its line: a quote may be open at its end."""
    if not written.startswith("-", 1):
        return True
    return all(literals.yaml_scan(f"{written} x{quote}", 0).end == len(written) - 2 for quote in "'\"")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _scalar(value: Any) -> str:
    """A number, text or constant as YAML reads it."""
    if isinstance(value, str):
        return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", _json(value))
    return EXPONENT.sub(r"\1.0e", _json(value))
