"""Getting over a connection that broke, as it does when the database is restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

Result = TypeVar("Result")


def steady(statement: Callable[[], Result], patience: float = 0) -> Result:
    """Try again when the kept connection turns out to be broken: once, and then for ``patience`` seconds."""
    deadline, pause = time.monotonic() + patience, 0.0
    while True:
        try:
            return statement()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or (pause and time.monotonic() > deadline):
                raise
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2 or 0.05, 2)
