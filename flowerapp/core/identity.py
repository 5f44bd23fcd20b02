"""The identity of this worker: a random id that the processes of its pool share and that is never reused."""

from __future__ import annotations

import os
import uuid
from typing import NamedTuple

REMOTE = "remote:"
"""How the column ``worker`` begins of a task that another system has claimed; ids of workers have no colon."""
LONGEST_REMOTE = 64 - len(REMOTE)
"""Characters of the longest name of a remote worker; the column is varchar(64)."""

_worker = ""
_parent = 0


def worker() -> str:
    """The id of this worker; a process outside any worker gets an id of its own."""
    return _worker or renew()


def renew() -> str:
    """Set and return a new id; a worker's parent process calls this before it starts its pool."""
    global _worker, _parent
    _worker, _parent = uuid.uuid4().hex, os.getpid()
    return _worker


def use(worker: str) -> None:
    """In a process that performs an attempt for another one: take the id of its worker."""
    global _worker
    _worker = worker


def is_parent() -> bool:
    """Whether this process set the id itself, so that it is not a pool child that inherited it."""
    return _parent == os.getpid()


def was_forked() -> bool:
    """Whether this process is a direct child of the one that set the id, so that both can share memory."""
    return _parent == os.getppid()


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has that id, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


class Process(NamedTuple):
    """The process that runs an attempt."""

    worker: str
    """The random id of its worker."""
    pid: int | None
    """Its process id; None matches every process of the worker."""


NO_PROCESS = Process("", 0)
"""Matches no process."""


def process() -> Process:
    """This process."""
    return Process(worker(), os.getpid())
