"""Shows the worker's parent which task each continuing process of its pool runs.

The parent knows only the messages that it gave to its processes. A process that continues writes the task that it is at
into shared memory, and the parent reads it there: so a kill, a cancel and a rescue meet the right task.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct

from flowerapp.core.identity import is_alive
from flowerapp.core.messages import TaskRef
from flowerapp.executors.celery.routes import ref_of

Entries = dict[bytes, tuple[str, str]]
"""Digest of a message's id → the last two tasks of the process that continued from it, as Celery's ids without flow."""


class ProcessTable:
    """Shared memory: each process writes an entry of its own, the parent reads them all."""

    _ENTRY = struct.Struct("=i8s24s24s")  # pid, digest of the message's id, the task before, this task
    _SIZE = 8192
    _IDLE, _BUSY = b"\1", b"\2"

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._ENTRY.size * self._SIZE)
        self._work = mmap.mmap(-1, self._SIZE)
        """Whether each process is idle or busy, in the order of the entries."""

    def claim(self) -> bool:
        """Take this process's entry; False if another living process has it."""
        pid = self._ENTRY.unpack_from(self._memory, self._offset())[0]
        if pid not in (0, os.getpid()) and is_alive(pid):
            return False
        self.write("", "", "")
        self.set_busy(False)
        return True

    def set_busy(self, busy: bool) -> None:
        """This process runs a Celery task, or waits for one; after ``claim``."""
        place = os.getpid() % self._SIZE
        self._work[place : place + 1] = self._BUSY if busy else self._IDLE

    def another_is_idle(self) -> bool:
        """Whether another process of this worker waits for a task: then it takes what comes, and no message waits for
        this one."""
        place = self._work.find(self._IDLE)
        while place >= 0:
            pid = self._ENTRY.unpack_from(self._memory, place * self._ENTRY.size)[0]
            if pid != os.getpid() and is_alive(pid):
                return True
            place = self._work.find(self._IDLE, place + 1)
        return False

    def write(self, celery_id: str, before: str, now: str) -> None:
        """This process continues with the task ``now`` after ``before``; all are Celery's ids, the first that of its
        message."""
        tasks = (_in_flow(task).encode() for task in (before, now))
        self._ENTRY.pack_into(self._memory, self._offset(), os.getpid(), _digest(celery_id), *tasks)

    def read(self) -> Entries:
        """All entries."""
        entries = (entry for entry in self._ENTRY.iter_unpack(self._memory) if entry[0])
        return {digest: (_text(before), _text(now)) for _, digest, before, now in entries}

    def _offset(self) -> int:
        return os.getpid() % self._SIZE * self._ENTRY.size


def _in_flow(celery_id: str) -> str:
    """The part of a Celery id that follows the flow: seq and token."""
    return ":".join(celery_id.rsplit(":", 2)[1:])


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


def _digest(celery_id: str) -> bytes:
    return hashlib.blake2b(celery_id.encode(), digest_size=8).digest()


process_table = ProcessTable()
"""That of this worker: made before its pool is forked, so that all of it shares the memory."""


def ids_of(celery_id: str, entries: Entries) -> list[str]:
    """Celery's ids of the tasks that the process with this message may be at, according to ``entries``; the last is
    where it is now.

    The message's own task or, if its process continued, the last two tasks. Empty for messages that are none of ours.
    """
    ref = ref_of(celery_id)
    if ref is None:
        return []
    return [f"{ref.flow_id}:{task}" for task in entries.get(_digest(celery_id), ())] or [celery_id]


def refs_of(celery_id: str, entries: Entries) -> list[TaskRef]:
    """The same as tasks of flows."""
    return [ref for ref in map(ref_of, ids_of(celery_id, entries)) if ref is not None]
