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

Entries = dict[bytes, tuple[int, int]]
"""Digest of a message's id → the last two seqs of the process that continued from it."""


class ProcessTable:
    """Shared memory: each process writes an entry of its own, the parent reads them all."""

    _ENTRY = struct.Struct("=i8sii")  # pid, digest of the message's id, the seq before, this seq
    _SIZE = 8192

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._ENTRY.size * self._SIZE)

    def claim(self) -> bool:
        """Take this process's entry; False if another living process has it."""
        pid = self._ENTRY.unpack_from(self._memory, self._offset())[0]
        if pid not in (0, os.getpid()) and is_alive(pid):
            return False
        self.write("", 0, 0)
        return True

    def write(self, celery_id: str, before: int, seq: int) -> None:
        """This process continues with the task ``seq`` after ``before``; ``celery_id`` is its message's."""
        self._ENTRY.pack_into(self._memory, self._offset(), os.getpid(), _digest(celery_id), before, seq)

    def read(self) -> Entries:
        """All entries."""
        return {digest: (before, seq) for pid, digest, before, seq in self._ENTRY.iter_unpack(self._memory) if pid}

    def _offset(self) -> int:
        return os.getpid() % self._SIZE * self._ENTRY.size


def _digest(celery_id: str) -> bytes:
    return hashlib.blake2b(celery_id.encode(), digest_size=8).digest()


process_table = ProcessTable()
"""That of this worker: made before its pool is forked, so that all of it shares the memory."""


def refs_of(celery_id: str, entries: Entries) -> list[TaskRef]:
    """The tasks that the process with this message may be at, according to ``entries``; the last is where it is now.

    The message's own task or, if its process continued, the last two tasks. Empty for messages that are none of ours.
    """
    ref = ref_of(celery_id)
    if ref is None:
        return []
    return [TaskRef(ref.flow_id, seq) for seq in entries.get(_digest(celery_id), ())] or [ref]
