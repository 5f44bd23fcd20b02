"""One server per database file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from django.db import connection

from flowerapp.exceptions import StateConflictError


class AlreadyRunningError(StateConflictError):
    """Another standalone server works on this database."""

    code = "already_running"


def take() -> IO[str] | None:
    """Lock the SQLite file of this project until the process ends; None for a database on a server.

    Keep what is returned. Raises AlreadyRunningError.
    """
    if connection.vendor != "sqlite":
        return None
    path = Path(str(connection.settings_dict["NAME"])).with_suffix(".lock")
    held = path.open("a+", encoding="utf-8")
    try:
        _lock(held)
    except OSError:
        held.seek(0)
        pid = held.read().strip() or "unknown"
        held.close()
        message = f"another standalone server (process {pid}) already works on {path.parent}; stop it first"
        raise AlreadyRunningError(f"{message}, or set FLOWER_STATE_DIR to another directory") from None
    held.truncate(0)
    held.write(f"{os.getpid()}\n")
    held.flush()
    return held


def _lock(file: IO[str]) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(2**20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
