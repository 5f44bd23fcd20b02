"""Cursors whose statements PostgreSQL plans once per connection, not at every call."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from flowerapp import conf

Row = tuple[Any, ...]
_NEVER_BY_ITSELF = 2**31
"""Uses after which psycopg prepares a statement that nobody asked it to prepare."""


def rows(connection: Any, statement: str, values: Mapping[str, Any]) -> list[Row]:
    """Run a statement of the hot path, prepared on PostgreSQL; all rows that it returns."""
    with _cursor(connection) as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _cursor(connection: Any) -> Any:
    if connection.vendor != "postgresql" or not conf.get().PREPARE:
        return connection.cursor()
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    driver = connection.connection
    if driver.prepare_threshold is None:  # Django's default, with which psycopg ignores ``prepare``
        driver.prepare_threshold = _NEVER_BY_ITSELF
    with connection.wrap_database_errors:
        return connection._prepare_cursor(_preparing()(driver))


@cache
def _preparing() -> Any:
    import psycopg

    class Preparing(psycopg.Cursor[Row]):
        """Prepares each statement at its first use."""

        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
            """As psycopg's, prepared."""
            try:
                return super().execute(query, params, prepare=True)
            finally:
                if self._query is None:  # Django's record of statements looks here
                    self._query = cast("Any", SimpleNamespace(query=query.encode()))

    return Preparing
