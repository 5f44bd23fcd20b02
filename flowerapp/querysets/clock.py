"""The clock: the database's time, in UTC, the only one that counts; and the columns that keep a time.

``Now`` is the clock in a queryset, ``moved`` puts it into a statement of the hot path, and ``now`` reads it. Tests move
all three with ``advance``, so that waits, retries, leases and rescues come due at once, or stop them with ``stop``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.db import models
from django.db.models import functions
from django.db.models.expressions import DatabaseDefault
from django.utils import timezone

from flowerapp.core import process_clock
from flowerapp.querysets.db import connection

_READ = "STATEMENT_TIMESTAMP()"
"""How statements for PostgreSQL name the clock."""

advance, stop, reset = process_clock.advance, process_clock.stop, process_clock.reset


def now() -> datetime:
    """The time by the clock, in UTC; a statement on PostgreSQL, unless it stands."""
    if connection().vendor != "postgresql" or process_clock.stopped():
        return about_now()
    with connection().cursor() as cursor:
        cursor.execute(moved(f"SELECT {_READ}"))
        return utc(cursor.fetchone()[0], connection())


def about_now() -> datetime:
    """The time by this process's own clock, in UTC, moved likewise: for what people are shown, without a statement."""
    return process_clock.now()


def ago(seconds: float) -> Any:
    """The time ``seconds`` before now, in a queryset."""
    return Now() - timedelta(seconds=seconds)


def moved(statement: str) -> str:
    """A statement for PostgreSQL whose ``STATEMENT_TIMESTAMP()`` is the clock."""
    if not process_clock.is_changed():
        return statement
    at = process_clock.stopped()
    ahead = f"({_READ} + INTERVAL '{process_clock.ahead():.6f} seconds')"
    return statement.replace(_READ, ahead if at is None else f"TIMESTAMPTZ '{at.isoformat(' ')}'")


def utc(value: datetime, connection: Any) -> datetime:
    """A time in UTC, from one as the connection's driver returns it.

    Without ``USE_TZ`` that is without a zone: local on PostgreSQL, and in SQLite as it was stored.
    """
    if connection.vendor == "sqlite" and value.tzinfo in (None, connection.timezone):
        return value.replace(tzinfo=UTC)
    aware = value if value.tzinfo else value.replace(tzinfo=ZoneInfo(connection.timezone_name))
    return aware.astimezone(UTC)


def as_utc(value: datetime) -> datetime:
    """A time in UTC; one without a zone is in the host's ``TIME_ZONE``."""
    aware = timezone.make_aware(value, timezone.get_default_timezone()) if timezone.is_naive(value) else value
    try:
        return aware.astimezone(UTC)
    except OverflowError:  # within a day of the first or the last time that Python knows
        return (datetime.min if aware.year == 1 else datetime.max).replace(tzinfo=UTC)


class _TimeField(models.DateTimeField):  # type: ignore[type-arg]
    """A time, kept and compared in UTC, whatever ``USE_TZ``, ``TIME_ZONE`` and the zone of the connection are.

    Its values always have the zone UTC. One that is given without a zone is in the host's ``TIME_ZONE``.
    """

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """The value; the default of the column is the clock, also while it is moved."""
        value = super().pre_save(model_instance, add)
        return Now() if process_clock.is_changed() and isinstance(value, DatabaseDefault) else value

    def get_prep_value(self, value: Any) -> Any:
        """The value in UTC."""
        prepared = super().get_prep_value(value)
        return as_utc(prepared) if isinstance(prepared, datetime) else prepared

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """The value as the driver takes it: SQLite keeps text without a zone."""
        value = value if prepared else self.get_prep_value(value)
        return str(value.replace(tzinfo=None)) if value is not None and connection.vendor == "sqlite" else value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """The value in UTC."""
        return None if value is None else utc(value, connection)

    def deconstruct(self) -> Any:
        """For migrations it is a DateTimeField: the column is the same."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs


if TYPE_CHECKING:
    TimeField = models.DateTimeField
else:
    TimeField = _TimeField


class Now(functions.Now):
    """The clock, as a column's value or to compare with one."""

    output_field = TimeField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """The time of the statement."""
        return self.as_sql(compiler, connection, template=moved(_READ), **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """The time of the statement, as SQLite keeps it."""
        at, ahead = process_clock.stopped(), process_clock.ahead()
        modifier = f", '{ahead:+.6f} seconds'" if ahead else ""
        template = f"STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW'{modifier})"
        if at is not None:
            template = f"'{at.replace(tzinfo=None)}'"
        return self.as_sql(compiler, connection, template=template, **context)
