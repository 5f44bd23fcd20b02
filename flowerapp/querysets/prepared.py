"""Statements that PostgreSQL plans once per connection, not at every call."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from django.db import DatabaseError

from flowerapp import conf

Row = tuple[Any, ...]
_NEVER_BY_ITSELF = 2**31
"""Uses after which psycopg prepares a statement that nobody asked it to prepare."""


def rows(connection: Any, statement: str, values: Mapping[str, Any]) -> list[Row]:
    """Run a statement of the hot path, prepared on PostgreSQL; all rows that it returns.

    Where what was prepared no longer fits, as after a migration, the connection is made anew.
    """
    try:
        return _run(connection, statement, values)
    except DatabaseError as error:
        if connection.vendor != "postgresql" or not isinstance(error.__cause__, _outdated()):
            raise
        connection.close()
        if connection.in_atomic_block:
            raise
        return _run(connection, statement, values)


def _run(connection: Any, statement: str, values: Mapping[str, Any]) -> list[Row]:
    with _cursor(connection) as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _cursor(connection: Any) -> Any:
    if not _prepares(connection):
        return connection.cursor()
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        return connection._prepare_cursor(_preparing()(connection.connection))


def _prepares(connection: Any) -> bool:
    """Whether statements are prepared: not behind a pooler of transactions, for which Django has a setting too."""
    pooled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS", False)
    return connection.vendor == "postgresql" and conf.get().PREPARE and not pooled


@cache
def _outdated() -> tuple[type[Exception], ...]:
    from psycopg import errors

    return errors.FeatureNotSupported, errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement


@cache
def _preparing() -> Any:
    import psycopg

    class Preparing(psycopg.Cursor[Row]):
        """Prepares each statement at its first use."""

        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
            """As psycopg's, prepared.

            Django's default for the threshold makes psycopg ignore ``prepare``; any other makes it keep the texts of
            all statements, so this one holds for no longer than the call.
            """
            before = self.connection.prepare_threshold
            self.connection.prepare_threshold = _NEVER_BY_ITSELF
            try:
                return super().execute(query, params, prepare=True)
            finally:
                self.connection.prepare_threshold = before
                if self._query is None:  # Django's record of statements looks here
                    self._query = cast("Any", SimpleNamespace(query=query.encode()))

    return Preparing
