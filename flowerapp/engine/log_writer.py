"""Writes the lines of the attempts of this process to the database: in batches, in a thread of its own.

So a program that logs does not wait for the database, and a task that logs nothing costs no statement. A process that
is killed loses the lines of its last second. An unreachable database never fails a task: its lines wait for
``KEEP_SECONDS``, then they are dropped, and a line says so once it is back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from django.db import connections

from flowerapp.core import capture, executor, logs
from flowerapp.models import Log
from flowerapp.querysets import LogRow, batched
from flowerapp.querysets.db import CONNECTION_ERRORS, connection

logger = logs.logger(__name__)

PERIOD = 1.0
"""Seconds from a line to the batch that it is written with."""
IDLE_SECONDS = 30.0
"""Seconds without a line after which the thread closes its connection."""
KEEP_SECONDS = 30.0
"""Seconds for which lines are kept while the database is unreachable."""
MOST_ROWS = 20_000
"""Most lines that are kept meanwhile."""
MOST_NOTES = 1000
"""Most attempts whose dropped lines are counted."""
BATCH = 1000
"""Most lines of one statement."""


class Source(Protocol):
    """The log of an attempt."""

    def take(self) -> list[LogRow]:
        """The rows that are to be written now."""


class LogWriter:
    """The writer of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._queued: list[Source] = []
        self._kept: list[LogRow] = []
        self._dropped: Counter[tuple[str, int, int]] = Counter()
        self._unreachable_since: float | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()

    @property
    def is_running(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def put(self, source: Source) -> None:
        """Write what this log has: within ``PERIOD``, or at ``write`` where the process that sends tasks runs them."""
        with self._lock:
            self._queued.append(source)
            if not self.is_running and not executor.current().runs_here:
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="flowerapp-log", daemon=True)
                self._thread.start()
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Write what there is and end the thread, which may take ``seconds``."""
        thread = self._thread
        self._stop.set()
        self._wake.set()
        if thread is not None:
            thread.join(seconds)

    def _run(self) -> None:
        with capture.silence():
            while not self._stop.is_set():
                if not self._wake.wait(IDLE_SECONDS):
                    connections.close_all()
                    continue
                self._stop.wait(PERIOD)
                self._wake.clear()
                self.write()
                if self._kept:
                    self._wake.set()
            self.write()
            connections.close_all()

    def write(self) -> None:
        """Write what there is now, in this thread; never raises."""
        with self._writing, capture.silence():
            try:
                self._keep(self._taken())
                self._write_kept()
            except CONNECTION_ERRORS as error:
                self._on_disconnect(error)
            except Exception:
                logger.exception("%d lines of task logs could not be written", len(self._kept))
                self._drop(self._kept)

    def _taken(self) -> list[LogRow]:
        with self._lock:
            sources, self._queued = self._queued, []
        return [row for source in sources for row in _rows_of(source)]

    def _keep(self, rows: Sequence[LogRow]) -> None:
        room = max(0, MOST_ROWS - len(self._kept)) if self._unreachable_since is not None else len(rows)
        self._kept += rows[:room]
        self._count(rows[room:])

    def _write_kept(self) -> None:
        rows = [*self._kept, *self._notes()]
        for batch in batched(rows, BATCH):
            Log.objects.write(batch)
            del self._kept[: len(batch)]
        self._dropped.clear()
        self._unreachable_since = None

    def _notes(self) -> list[LogRow]:
        """A line for each attempt whose lines were dropped."""
        text = "… {:,} lines are not stored: the database did not take them"
        return [LogRow(*key, time.time(), logging.WARNING, "", text.format(n)) for key, n in self._dropped.items()]

    def _on_disconnect(self, error: Exception) -> None:
        if connection().in_atomic_block:
            self._drop(self._kept)
            return
        connection().close()
        now = time.monotonic()
        self._unreachable_since = self._unreachable_since or now
        if now - self._unreachable_since > KEEP_SECONDS:
            logger.warning(
                "%d lines of task logs are dropped: the database is unreachable (%r)", len(self._kept), error
            )
            self._drop(self._kept)
            self._unreachable_since = None

    def _drop(self, rows: list[LogRow]) -> None:
        self._count(rows)
        rows.clear()

    def _count(self, rows: Sequence[LogRow]) -> None:
        """Remember how many lines of each attempt are dropped, for a note; of the first ``MOST_NOTES`` attempts."""
        for row in rows:
            key = (row.flow_id, row.seq, row.attempt)
            if key in self._dropped or len(self._dropped) < MOST_NOTES:
                self._dropped[key] += 1


def _rows_of(source: Source) -> list[LogRow]:
    """The rows of one log; its error costs the others none of theirs."""
    try:
        return source.take()
    except Exception:
        logger.exception("lines of the log of a task could not be prepared, and are not stored")
        return []


writer = LogWriter()
"""That of this process."""


def _renew() -> None:
    """In a forked process, which has no thread of its parent, and whose lines are its own."""
    writer.__init__()  # type: ignore[misc] # its locks may be held by a thread that is not there


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
