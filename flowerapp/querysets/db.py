"""What several statements share: which database, transactions, retries while it is unreachable, batches."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar

from django.apps import apps
from django.db import InterfaceError, OperationalError, connections, models, router, transaction
from django.db.models import Case, F, Q, Value, When

from flowerapp.core import executor, logs
from flowerapp.states import Status

logger = logs.logger(__name__)

CONNECTION_ERRORS = (OperationalError, InterfaceError)
"""What Django raises while the database is unreachable."""


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Row = TypeVar("Row")
Model = TypeVar("Model", bound=models.Model)


def alias() -> str:
    """The database that the host's routers give flowerapp's tables to; all is written to it and read from it."""
    return router.db_for_write(apps.get_model("flowerapp", "Task"))


VENDORS = ("postgresql", "sqlite")
"""The kinds of databases that flowerapp's tables may be in, by Django's names."""


_NO_ENGINE = "django.db.backends.dummy"
"""What Django takes for a database without settings."""


class Refusal(NamedTuple):
    """Why something cannot be used, and what to do instead; two sentences without a full stop."""

    reason: str
    cure: str


def refused_database(alias: str) -> Refusal | None:
    """Why flowerapp's tables cannot be in this database; None if they can."""
    if connections.settings.get(alias, {}).get("ENGINE", _NO_ENGINE) == _NO_ENGINE:
        return Refusal(
            f"flowerapp's tables have no database: DATABASES has nothing under {alias!r}",
            "Add it, or let DATABASE_ROUTERS give the app 'flowerapp' a database that is there",
        )
    database = connections[alias]
    if database.vendor in VENDORS:
        return None
    kind = "MySQL or MariaDB" if database.vendor == "mysql" else database.display_name
    return Refusal(
        f"flowerapp's tables cannot be in the database {alias!r}: it is {kind}",
        f"Use PostgreSQL or SQLite for {alias!r}, or let DATABASE_ROUTERS give the app 'flowerapp' another database",
    )


def connection() -> Any:
    """The connection to that database."""
    return connections[alias()]


@contextmanager
def atomic(using: str = "") -> Iterator[None]:
    """A transaction in that database or another, or a savepoint in one; as a decorator, ``@atomic()``."""
    database = connections[using or alias()]
    with ExitStack() as stack:
        with _writing(database):
            stack.enter_context(transaction.atomic(using=database.alias))
        yield
    if connection().in_atomic_block:
        _call_in_tests()


def one_look() -> bool:
    """Let the transaction that has just begun see one state of the database; False where it cannot.

    On PostgreSQL only the outermost transaction can, before its first statement. A transaction on SQLite always does.
    """
    database = connection()
    if database.vendor != "postgresql":
        return True
    if len(database.savepoint_ids) or not database.in_atomic_block:
        return False
    with database.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    return True


@contextmanager
def _writing(database: Any) -> Iterator[None]:
    """What begins within is a transaction that writes, also where the host has left SQLite's default.

    One that first reads would fail at once where another writes before it does, whatever the ``timeout``.
    """
    if database.vendor != "sqlite" or database.in_atomic_block:
        yield
        return
    database.ensure_connection()
    before = database.transaction_mode
    database.transaction_mode = before or "IMMEDIATE"
    try:
        yield
    finally:
        database.transaction_mode = before


def on_commit(call: Callable[[], Any]) -> None:
    """Call after the commit, or now outside a transaction; an error of the call is logged.

    Where tasks run in this process, a ``TestCase``, whose transaction is never committed, does not keep the call
    waiting.
    """
    transaction.on_commit(_OnCommit(call), using=alias())
    if connection().in_atomic_block:
        _call_in_tests()


@dataclass(frozen=True, slots=True)
class _OnCommit:
    """A call of flowerapp's, as distinct from those of the host."""

    call: Callable[[], Any]

    def __call__(self) -> None:
        try:
            self.call()
        except Exception:
            if executor.current().propagates:
                raise
            logger.exception("%r failed on commit", self.call)


def _call_in_tests() -> None:
    """Make the calls that only the transactions of a ``TestCase`` keep waiting, where tasks run in this process."""
    if not executor.current().runs_here or not _is_in_a_test_only():
        return
    calls = connection().run_on_commit
    while due := [entry for entry in calls if isinstance(entry[1], _OnCommit)]:
        calls.remove(due[0])
        due[0][1]()


def is_never_committed() -> bool:
    """Whether the outermost transaction is that of a ``TestCase``."""
    blocks = connection().atomic_blocks
    return bool(blocks) and getattr(blocks[0], "_from_testcase", False)


def _is_in_a_test_only() -> bool:
    """Whether all open transactions are those of Django's ``TestCase``."""
    return all(getattr(block, "_from_testcase", False) for block in connection().atomic_blocks)


class PrimaryManager(models.Manager[Model]):
    """Reads from the database that is written to, for the rows of a replica may be old."""

    def get_queryset(self) -> Any:
        """All rows."""
        queryset: Any = super().get_queryset()
        queryset._db = self._db or alias()
        return queryset


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
                    if connection().in_atomic_block or (pause and time.monotonic() > deadline):
                        raise
                    connection().close()
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


def status_case(condition: Q, status: Status) -> Case:
    """``status`` where the condition holds, else the present state."""
    return Case(
        When(condition, then=Value(int(status))), default=F("exec_status"), output_field=models.SmallIntegerField()
    )


def in_sql(states: Iterable[Status]) -> str:
    """States as a list for SQL's IN: ``0, 1, 2``."""
    return ", ".join(str(int(state)) for state in sorted(states))
