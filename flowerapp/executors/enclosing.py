"""Transactions that enclose a run of tasks, as that of a ``TestCase``: they are never committed.

What waits for their commit is called once the task that asked for it has ended, as it would be in a worker; and an
error in a program, which breaks such a transaction, is undone so far that the run can continue.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections

from flowerapp.core import logs

logger = logs.logger(__name__)

_IN_ERROR = 3
"""libpq's status of a transaction in which a statement has failed."""


def _enclosed() -> list[Any]:
    """The connections of this thread that are in a transaction."""
    return [connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block]


class OnCommit:
    """The calls that the enclosing transactions keep for their commit, from now on; earlier ones are left alone."""

    def __init__(self) -> None:
        self._earlier = {connection.alias: len(connection.run_on_commit) for connection in _enclosed()}

    def run(self) -> None:
        """Make them; an error of a robust one is logged."""
        for connection in _enclosed():
            earlier = self._earlier.setdefault(connection.alias, 0)
            while calls := connection.run_on_commit[earlier:]:
                del connection.run_on_commit[earlier:]
                for _, call, robust in calls:
                    _make(call, robust=robust)


def _make(call: Any, *, robust: bool) -> None:
    try:
        call()
    except Exception:
        if not robust:
            raise
        logger.exception("%r failed, which was to be called on commit", call)


@contextmanager
def survived() -> Iterator[None]:
    """Let the enclosing transactions survive an error in the block.

    Where a statement has failed, all that the block wrote to that database is undone; in a worker, which has no
    enclosing transaction, what was written before the statement stays.
    """
    with ExitStack() as stack:
        for connection in _enclosed():
            stack.enter_context(_survived(connection))
        yield


@contextmanager
def _survived(connection: Any) -> Iterator[None]:
    savepoint = connection.savepoint()
    was_broken = connection.needs_rollback
    try:
        yield
    finally:
        if connection.in_atomic_block and not was_broken:
            _restore(connection, savepoint)


def _restore(connection: Any, savepoint: Any) -> None:
    if connection.needs_rollback or _is_in_error(connection):
        connection.needs_rollback = False
        connection.savepoint_rollback(savepoint)
    else:
        connection.savepoint_commit(savepoint)


def _is_in_error(connection: Any) -> bool:
    info = getattr(connection.connection, "info", None)
    return getattr(info, "transaction_status", None) == _IN_ERROR
