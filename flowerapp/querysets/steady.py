"""Getting over a connection that broke, as it does when the database is restarted, and over rows that are too many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)
"""What Django raises while the database is away."""

Result = TypeVar("Result")
Row = TypeVar("Row")


def steady(statement: Callable[[], Result], patience: float = 0) -> Result:
    """Try again when the kept connection turns out to be broken: once, and then for ``patience`` seconds."""
    deadline, pause = time.monotonic() + patience, 0.0
    while True:
        try:
            return statement()
        except AWAY:
            if connection.in_atomic_block or (pause and time.monotonic() > deadline):
                raise
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2 or 0.05, 2)


def one_by_one(rows: Iterable[Row], mend: Callable[[Row], int]) -> int:
    """Mend each row for itself: one that cannot be mended is logged and does not hold up the others.

    Raises what the database raises while it is away.
    """
    count = 0
    for row in rows:
        try:
            count += mend(row)
        except AWAY:
            raise
        except Exception:
            logger.exception("could not mend %s", row)
    return count


def batched(items: Sequence[Any], size: int = 500) -> Iterable[Sequence[Any]]:
    """``items`` in slices of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))
