"""What several statements share: retries while the database is unreachable, batches, its clock, and states in SQL."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection, models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now
from django.utils import timezone

from flowerapp.states import Status

logger = logging.getLogger(__name__)

CONNECTION_ERRORS = (OperationalError, InterfaceError)
"""What Django raises while the database is unreachable."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Row = TypeVar("Row")


def retry_on_disconnect(seconds: float = 0) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorator: if the kept connection is broken, connect anew and call again: once, then for ``seconds``.

    The decorated function must be a single transaction. Inside another transaction the error is raised at once.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.wraps(function)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            deadline, pause = time.monotonic() + seconds, 0.0
            while True:
                try:
                    return function(*args, **kwargs)
                except CONNECTION_ERRORS:
                    if connection.in_atomic_block or (pause and time.monotonic() > deadline):
                        raise
                    connection.close()
                    time.sleep(pause)
                    pause = min(pause * 2 or 0.05, 2)

        return call

    return decorate


def each_isolated(rows: Iterable[Row], repair: Callable[[Row], int]) -> int:
    """Call ``repair`` for each row by itself, and return the sum of what it returns.

    An error is logged and does not block the other rows, except ``CONNECTION_ERRORS``, which are raised.
    """
    count = 0
    for row in rows:
        try:
            count += repair(row)
        except CONNECTION_ERRORS:
            raise
        except Exception:
            logger.exception("could not repair %s", row)
    return count


def batched(items: Sequence[Any], size: int = 500) -> Iterable[Sequence[Any]]:
    """``items`` in parts of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def database_now() -> datetime:
    """The time of the database, which is the only clock that counts."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT STATEMENT_TIMESTAMP()")
        now: datetime = cursor.fetchone()[0]
        return now


def ago(seconds: float) -> Any:
    """The database's time ``seconds`` before now."""
    return Now() - timedelta(seconds=seconds)


def status_case(condition: Q, status: Status) -> Case:
    """``status`` where the condition holds, else the present state."""
    return Case(
        When(condition, then=Value(int(status))), default=F("exec_status"), output_field=models.SmallIntegerField()
    )


def in_sql(states: Iterable[Status]) -> str:
    """States as a list for SQL's IN: ``0, 1, 2``."""
    return ", ".join(str(int(state)) for state in sorted(states))
