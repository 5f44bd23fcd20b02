"""Records the log of one attempt: bounded while its program runs, masked and written by ``log_writer``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from flowerapp import conf
from flowerapp.core import capture, executor, masking, process_clock, values
from flowerapp.core.masking import Secrets
from flowerapp.core.task_log import EDGE, LEVELS, LONGEST_LINE, LONGEST_RAW, BoundedLog, Line, LineJoiner, message_of
from flowerapp.engine import log_writer
from flowerapp.querysets import Claim, LogRow

LONGEST_SOURCE = 100
"""Characters of a source that are stored."""
LONGEST_BROKEN = LONGEST_LINE - 100
"""Characters that are stored of a line that was broken off, beside a note that says so."""
STREAM_LEVELS = {"stdout": logging.INFO, "stderr": logging.WARNING}


class Recorder:
    """The log of an attempt; a ``capture.Sink``.

    ``secrets`` returns what the lines must not quote. Its methods never raise, and keep nothing once it is closed.
    """

    def __init__(self, claim: Claim, secrets: Callable[[], Secrets]) -> None:
        self.level = LEVELS.get(conf.get().TASK_LOG or "", logging.CRITICAL + 1)
        self._claim = claim
        self._secrets = secrets
        self._lock = threading.RLock()
        self._lines: BoundedLog | None = None
        self._joiners: dict[str, LineJoiner] = {}
        self._is_queued = False
        self._is_closed = False

    @property
    def is_on(self) -> bool:
        """Whether it keeps any line."""
        return self.level <= logging.CRITICAL

    @property
    def has_lines(self) -> bool:
        """Whether it was given any."""
        return self._lines is not None

    def say(self, level: int, source: str, message: str, ts: float | None = None, left_out: int = 0) -> None:
        """Keep a line if its level is high enough.

        ``ts`` are seconds since 1970, by default now; ``left_out`` is how many characters follow that are not kept.
        """
        if level < self.level:
            return
        if len(message) > LONGEST_RAW:
            message = values.cut(_masked(message, self._secrets()), LONGEST_LINE)
        line = Line(_moment(ts), level, source, message, left_out)
        with self._lock:
            if self._is_closed:
                return
            if self._lines is None:
                self._lines = BoundedLog(conf.get().TASK_LOG_BYTES)
            self._lines.add(line)
            self._queue()

    def record(self, record: logging.LogRecord) -> None:
        """Keep a record of a logger."""
        if record.levelno >= self.level:
            self.say(record.levelno, str(record.name), message_of(record), record.created)

    def write(self, stream: str, text: str) -> None:
        """Keep the lines that are written to a stream; one without an end waits for it, or for the attempt's."""
        level = STREAM_LEVELS[stream]
        if level < self.level or not isinstance(text, str):
            return
        with self._lock:
            joiner = self._joiners.setdefault(stream, LineJoiner())
            for line, left_out in joiner.write(text):
                self.say(level, stream, line, left_out=left_out)

    def close(self) -> None:
        """The attempt has ended: keep what has no end of line yet, and the last lines of a log that is full."""
        with self._lock:
            for stream, joiner in self._joiners.items():
                if joiner:
                    line, left_out = joiner.end()
                    self.say(STREAM_LEVELS[stream], stream, line, left_out=left_out)
            self._is_closed = True
            if self._lines is not None:
                self._lines.close()
                self._queue()

    def _queue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            log_writer.writer.put(self)

    def take(self) -> list[LogRow]:
        """The rows of the lines since the last call; they quote no secret."""
        with self._lock:
            self._is_queued = False
            lines = self._lines.take() if self._lines is not None else []
        secrets = self._secrets() if lines else masking.NO_SECRETS
        sources = {source: _masked(source, secrets)[:LONGEST_SOURCE] for source in {line.source for line in lines}}
        return [self._row(line, sources[line.source], secrets) for line in lines]

    def _row(self, line: Line, source: str, secrets: Secrets) -> LogRow:
        message = _masked(line.message, secrets)
        if line.left_out:
            message = f"{message[:-EDGE][:LONGEST_BROKEN]}… {line.left_out:,} characters are left out"
        return LogRow(*self._claim.ref, self._claim.attempt, line.ts, line.level, source, message)


def _moment(ts: float | None) -> float:
    """Seconds since 1970 of a line of ``ts``, by default now; by flowerapp's clock where a test changed that."""
    return process_clock.now().timestamp() if process_clock.is_changed() else ts or time.time()


def _masked(text: str, secrets: Secrets) -> str:
    return str(masking.masked(values.text(text), secrets))


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Record what this thread logs and prints within the block.

    Where tasks run in the process that sends them, the lines are written when the block ends; elsewhere, while it runs.
    """
    captured: Any = capture.capturing(recorder, is_lasting) if recorder.is_on else nullcontext()
    try:
        with captured:
            yield
    finally:
        recorder.close()
        if recorder.has_lines and (not log_writer.writer.is_running or executor.current().runs_here):
            log_writer.writer.write()


def is_lasting() -> bool:
    """Whether this process is there to run programs."""
    return not executor.current().runs_here
