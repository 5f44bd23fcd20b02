"""How large values of JSON are as they are stored, so that large ones need not be read."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, F, Func, IntegerField, JSONField, TextField, Value, When
from django.db.models.functions import Cast
from django.db.models.lookups import GreaterThan


class _OfText(Func):
    """Bytes of a text."""

    function = "OCTET_LENGTH"
    output_field = IntegerField()
    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """As SQLite counts them."""
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


class _Stored(_OfText):
    """Bytes of a column as the database keeps it, on PostgreSQL perhaps compressed; read without the value."""

    function = "PG_COLUMN_SIZE"


def bytes_of(column: str, most: int) -> Case:
    """Bytes of a value's JSON text; of one that is kept in more than ``most`` bytes the number of those, unread."""
    stored = _Stored(F(column))
    as_text = _OfText(Cast(F(column), TextField()))
    return Case(When(GreaterThan(stored, most), then=stored), default=as_text, output_field=IntegerField())


def if_small(column: str, most: int, output_field: Any = None) -> Case:
    """The value, or NULL where its JSON text has more than ``most`` bytes."""
    small = When(GreaterThan(bytes_of(column, most), most), then=Value(None))
    return Case(small, default=F(column), output_field=output_field or JSONField())
