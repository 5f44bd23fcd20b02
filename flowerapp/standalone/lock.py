"""The lock that allows one standalone server for each SQLite file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from flowerapp.exceptions import StateConflictError
from flowerapp.querysets.db import connection


class AlreadyRunningError(StateConflictError):
    """Another standalone server uses this database."""

    code = "already_running"


def take() -> IO[str] | None:
    """Take the lock of this project's SQLite file and return the lock file; None if the database is on a server.

    The lock lasts until the returned file is closed or the process ends, so keep a reference to it. Raises
    AlreadyRunningError.
    """
    if connection().vendor != "sqlite":
        return None
    path = Path(str(connection().settings_dict["NAME"])).with_suffix(".lock")
    path.touch(mode=0o600)
    file = path.open("a+", encoding="utf-8")
    try:
        _lock(file)
    except OSError:
        file.seek(0)
        pid = file.read().strip() or "unknown"
        file.close()
        message = f"another standalone server (process {pid}) already uses {path.parent}; stop it first"
        raise AlreadyRunningError(f"{message}, or set FLOWER_STATE_DIR to another directory") from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _lock(file: IO[str]) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(2**20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
