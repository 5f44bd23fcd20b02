"""Pages of a list: the rows before or after a row, found by the columns that the list is sorted by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import BooleanField, DateTimeField, Expression, F, Field, Func, QuerySet, TextField, Value
from django.db.models.functions import Cast

from flowerapp.core import values

_TEXT = "text_of_"
"""Prefix of the annotation that has a time as it is stored."""


class Anchor(NamedTuple):
    """A row of a list that a page begins before, after or at."""

    columns: list[Any]
    """Values of the columns that the list is sorted by, as JSON."""
    backward: bool = False
    """Whether the rows before the anchor are wanted, and not those after it."""
    inclusive: bool = False
    """Whether the row itself is one of them."""


def page(rows: QuerySet[Any], ordering: Sequence[str], anchor: Anchor | None, size: int) -> list[Any]:
    """At most ``size`` rows from an anchor on, or the first ones, in the order in which they are met from there.

    ``ordering`` are columns that together are unique, all ascending or all with ``-`` in front. Raises ValueError for a
    anchor of another list.
    """
    descending = ordering[0].startswith("-")
    names = [name.lstrip("-") for name in ordering]
    rows = rows.annotate(**{_TEXT + name: Cast(name, TextField()) for name in names if _is_text(rows, name)})
    if anchor is not None:
        descending ^= anchor.backward
        operator = ("<" if descending else ">") + ("=" if anchor.inclusive else "")
        rows = rows.filter(_Compared(*map(F, names), *_checked(rows, names, anchor.columns), operator=operator))
    return list(rows.order_by(*(f"-{name}" if descending else name for name in names))[:size])


def anchor_of(row: Any, ordering: Sequence[str]) -> list[Any]:
    """The columns of a row, as JSON."""
    names = [name.lstrip("-") for name in ordering]
    cells = [
        row[name] if isinstance(row, Mapping) else getattr(row, _TEXT + name, getattr(row, name)) for name in names
    ]
    return [value if isinstance(value, int) else str(value) for value in cells]


def _is_text(rows: QuerySet[Any], name: str) -> bool:
    """Whether a column is a time that the database compares as text, so that its digits count."""
    return connections[rows.db].vendor == "sqlite" and isinstance(rows.model._meta.get_field(name), DateTimeField)


def _checked(rows: QuerySet[Any], names: Sequence[str], columns: Sequence[Any]) -> list[Value]:
    if len(columns) != len(names):
        raise ValueError
    fields = [cast("Field[Any, Any]", rows.model._meta.get_field(name)) for name in names]
    checked = [_value(field, column) for field, column in zip(fields, columns, strict=True)]
    return [
        Value(column, TextField()) if _is_text(rows, name) else value
        for name, column, value in zip(names, columns, checked, strict=True)
    ]


def _value(field: Field[Any, Any], column: Any) -> Value:
    """A column of an anchor for the database; raises ValueError if the field cannot have such a value."""
    if type(column) not in (int, str) or not values.storable(str(column)):
        raise ValueError
    try:
        value = field.to_python(column)
        field.run_validators(value)
    except (ValidationError, OverflowError, TypeError) as error:
        raise ValueError from error
    return Value(value, output_field=field)


class _Compared(Func):
    """``(first, …) < (second, …)``: half of the expressions on each side."""

    output_field = BooleanField()

    def __init__(self, *sides: Expression | F, operator: str) -> None:
        super().__init__(*sides)
        self.extra["operator"] = operator

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        """Both sides as rows, which an index of these columns finds as it is sorted by them."""
        texts, parameters = [], []
        for side in self.get_source_expressions():
            text, bound = compiler.compile(side)
            texts.append(text)
            parameters += bound
        half = len(texts) // 2
        return f"({', '.join(texts[:half])}) {self.extra['operator']} ({', '.join(texts[half:])})", parameters
