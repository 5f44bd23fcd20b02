"""How large an answer may be: a page ends before it is too large, and a document leaves out what does not fit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

MOST_BYTES = 2_060_000
"""Bytes of the JSON of an answer, without what surrounds it; no answer is over 2 MiB."""
_LINE_ENDS = ("\u2028", "\u2029")
"""Characters that DRF writes as escapes of six bytes; they have three."""


def size_of(value: Any) -> int:
    """Bytes of a value's JSON, as DRF writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return len(text.encode()) + 3 * sum(map(text.count, _LINE_ENDS))


def fitting(rows: Sequence[Any], room: int = MOST_BYTES) -> int:
    """How many of the first of these rows fit into one answer, or ``room`` bytes: one at least, if there is one."""
    size = 0
    for number, row in enumerate(rows):
        size += size_of(row) + 1
        if size > room:
            return max(1, number)
    return len(rows)


def fitted(document: dict[str, Any], names: Iterable[str], whole: str | None = None) -> dict[str, Any]:
    """The document with those of its values that fit, of ``whole`` first and then of ``names``.

    A value that does not fit is null, and its bytes of JSON are in ``left_out``. The rest of the document is small.
    """
    order = sorted(names, key=lambda name: name != whole)
    left_out = dict(document.get("left_out") or {})
    room = MOST_BYTES - size_of({name: value for name, value in document.items() if name not in order})
    result = dict(document)
    for name in order:
        size = size_of(document[name])
        if size > room:
            left_out[name] = size
            result[name] = _empty(document[name])
        else:
            room -= size
    return result | {"left_out": left_out}


def _empty(value: Any) -> Any:
    return "" if isinstance(value, str) else None


def fitted_row(row: Any) -> Any:
    """A row of a list, without its largest values where they would be too large together."""
    if size_of(row) <= MOST_BYTES or not isinstance(row, dict):
        return row
    return fitted(row, sorted(row, key=lambda name: size_of(row[name])))
