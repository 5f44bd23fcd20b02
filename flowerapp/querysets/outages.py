"""Errors of a database that pass: it is unreachable, or others block it. Made again, the call succeeds."""

from __future__ import annotations

import sqlite3
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError

RETRY_SECONDS = 5
"""Seconds after which a caller should try again."""

_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
"""SQLite's primary result codes of locks and of files that cannot be read or written now."""
_CLASSES = ("08", "40", "53", "57", "58")
"""PostgreSQL's classes: connection, transaction rollback, insufficient resources, operator intervention, system."""
_CODES = ("55P03", "25006")
"""PostgreSQL's codes in other classes: a lock is not available, and a server that became read-only at a failover."""


def is_outage(error: BaseException) -> bool:
    """Whether an error is one of Django's for a database that is unreachable or blocked, and no mistake."""
    if not isinstance(error, (DatabaseError, InterfaceError)):
        return False
    cause: Any = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE
    state = getattr(cause, "sqlstate", None)
    if state is None:  # the driver has no answer of the server
        return isinstance(error, (OperationalError, InterfaceError))
    return state.startswith(_CLASSES) or state in _CODES
