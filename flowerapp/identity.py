"""Who this worker is: a random id per worker, shared by the processes of its pool, never reused."""

from __future__ import annotations

import os
import uuid

_worker = ""
_parent = 0


def worker() -> str:
    """Id of this worker; a process that is none gets one of its own."""
    return _worker or renew()


def renew() -> str:
    """Take a new id, in the parent before its pool starts."""
    global _worker, _parent
    _worker, _parent = uuid.uuid4().hex, os.getpid()
    return _worker


def is_parent() -> bool:
    """Whether this process took the id itself, rather than being forked by the one that did."""
    return _parent == os.getpid()


def was_forked() -> bool:
    """Whether this process was forked by the one that took the id, and shares memory with it."""
    return _parent == os.getppid()
