"""The statements of the hot path on PostgreSQL: composed once at import, prepared once per connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from django.db import DatabaseError

from flowerapp import conf
from flowerapp.core import process_clock
from flowerapp.querysets import clock

Row = tuple[Any, ...]
_NEVER_BY_ITSELF = 2**31
"""Uses after which psycopg prepares a statement that is not executed with ``prepare=True``."""
_LAYOUT = re.compile(r"(?:[ ]*(?:--.*)?\n)+ *")
"""Comments, indentation and empty lines of SQL."""
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def composed(parts: Mapping[str, str], result: str) -> str:
    """One statement: ``WITH name AS (part), …`` followed by ``result``, without comments and indentation."""
    ctes = ",\n".join(f"{name} AS (\n{part.strip()}\n)" for name, part in parts.items())
    return _LAYOUT.sub("\n", f"WITH {ctes}\n{result.strip()}")


def rows(connection: Any, statement: str, values: Mapping[str, Any]) -> list[Row]:
    """Run a statement of the hot path, prepared on PostgreSQL, and return all its rows.

    If the prepared statement no longer fits the tables, as after a migration, it connects anew and prepares it again.
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
        cursor.execute(clock.moved(statement), values)
        return list(cursor.fetchall())


def _cursor(connection: Any) -> Any:
    if not _prepares(connection):
        return connection.cursor()
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        return connection._prepare_cursor(_preparing()(connection.connection))


def _prepares(connection: Any) -> bool:
    """Whether statements are prepared: not behind a transaction pooler, for which Django has a setting of its own, nor
    while the clock stands, because each has a time in it then."""
    pooled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS", False)
    may_prepare = conf.get().PREPARE and not pooled and process_clock.stopped() is None
    return connection.vendor == "postgresql" and may_prepare


@cache
def _outdated() -> tuple[type[Exception], ...]:
    from psycopg import errors

    return errors.FeatureNotSupported, errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement


@cache
def _numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with ``$1`` and so on for ``%(name)s``, and the names in that order.

    psycopg would parse a text of more than 4,096 bytes anew at each execution.
    """
    names = tuple(dict.fromkeys(_PLACEHOLDER.findall(statement)))
    numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
    return _PLACEHOLDER.sub(lambda placeholder: numbers[placeholder[1]], statement), names


@cache
def _preparing() -> Any:
    import psycopg

    class Preparing(psycopg.RawCursor[Row]):
        """Prepares each statement at its first use."""

        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
            """Execute as psycopg's cursor does, but prepared.

            Under Django's threshold, None, psycopg ignores ``prepare``; under any other it keeps the texts of all
            statements. So the threshold is changed for this call only.
            """
            before = self.connection.prepare_threshold
            self.connection.prepare_threshold = _NEVER_BY_ITSELF
            try:
                text, names = _numbered(query)
                return super().execute(text, [params[name] for name in names], prepare=True)
            finally:
                self.connection.prepare_threshold = before
                if self._query is None:  # Django's log of statements reads it
                    self._query = cast("Any", SimpleNamespace(query=query.encode()))

    return Preparing
