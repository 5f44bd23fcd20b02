"""Who this worker is: a random id per worker, shared by the processes of its pool, never reused."""

from __future__ import annotations

import uuid

_worker = ""


def worker() -> str:
    """Id of this worker; a process that is none gets one of its own."""
    return _worker or renew()


def renew() -> str:
    """Take a new id, in the parent before its pool starts."""
    global _worker  # noqa: PLW0603 - one per process, inherited by the pool
    _worker = uuid.uuid4().hex
    return _worker
