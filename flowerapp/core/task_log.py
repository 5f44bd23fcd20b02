"""The log of one attempt: its lines, and the bounds that keep them few enough to store."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

LEVELS: dict[str, int] = {name: getattr(logging, name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
"""The levels of lines, by the names that ``FLOWER["TASK_LOG"]`` and filters have for them."""
LONGEST_LINE = 20_000
"""Characters of a line that are kept."""
LONGEST_RAW = 4 * LONGEST_LINE
"""Characters of a line that are kept until it is masked; more than are stored, so that its secrets are whole."""
EDGE = 4096
"""Characters at the end of a line that was broken off, which may be the beginning of a secret."""
ROW_SIZE = 100
"""Bytes that a line counts beside those of its text, as its row in the database has other columns."""
TAIL = 4
"""One part in so many of the room is for the last lines."""


class Line(NamedTuple):
    """A line, or several that were logged together, such as an error with its traceback."""

    ts: float
    """Seconds since 1970, by the clock of the process."""
    level: int
    source: str
    """Name of the logger, ``stdout``, ``stderr`` or ``ctx.log``."""
    message: str
    left_out: int = 0
    """Characters that follow the message and are not kept."""

    @property
    def size(self) -> int:
        """Bytes that it counts."""
        text = self.message[:LONGEST_LINE]
        return ROW_SIZE + (len(text) if text.isascii() else len(text.encode("utf-8", "replace")))


def level_name(level: int) -> str:
    """The name of a level, or of the next lower one that has a name."""
    return next((name for name, value in reversed(LEVELS.items()) if level >= value), "DEBUG")


def message_of(record: logging.LogRecord) -> str:
    """What a record says, with its error's traceback and its stack; never raises."""
    try:
        parts = [record.getMessage()]
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            parts.append("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        parts += [record.stack_info] if record.stack_info else []
        return "\n".join(parts)
    except Exception as error:  # arguments that do not fit, or that cannot be shown
        return f"{record.msg!s:.1000} (its message cannot be shown: {type(error).__name__})"


class BoundedLog:
    """The lines of one attempt within ``most`` bytes: the first ones at once, and the last ones when it ends.

    In between it says how many are left out. Not safe for threads by itself.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = most - most // TAIL
        self._ready: list[Line] = []
        self._tail: deque[Line] = deque()
        self._tail_size = 0
        self._is_full = False
        self._left_out = 0

    def add(self, line: Line) -> None:
        """Add a line."""
        if not self._is_full:
            self._room -= line.size
            if self._room >= 0:
                self._ready.append(line)
                return
            self._is_full = True
            note = f"… the log is full ({self._most:,} bytes); the last lines come when the attempt ends"
            self._ready.append(Line(line.ts, logging.WARNING, "", note))
        self._tail.append(line)
        self._tail_size += line.size
        while self._tail_size > self._most // TAIL and len(self._tail) > 1:
            self._tail_size -= self._tail.popleft().size
            self._left_out += 1

    def take(self) -> list[Line]:
        """The lines since the last call that can be stored now."""
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> None:
        """The attempt has ended: let ``take`` return the last lines, and how many are left out before them."""
        if self._left_out:
            note = f"… {self._left_out:,} lines left out"
            self._ready.append(Line(self._tail[0].ts, logging.WARNING, "", note))
        self._ready += self._tail
        self._tail.clear()
        self._left_out = 0


class LineJoiner:
    """Makes lines of what is written to a stream piece by piece.

    A carriage return begins the line anew, as on a terminal, so that a progress bar is one line.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._dropped = 0
        self._returned = False

    def write(self, text: str) -> Iterator[tuple[str, int]]:
        """The lines that the text ends, each with what ``end`` returns; what follows them waits for its end."""
        *ended, rest = text.split("\n")
        for piece in ended:
            self._keep(piece)
            yield self.end()
        self._keep(rest)

    def end(self) -> tuple[str, int]:
        """The line so far, and how many characters of its end are not kept; the next one begins."""
        ended = "".join(self._parts), self._dropped
        self._begin()
        return ended

    def __bool__(self) -> bool:
        return bool(self._parts)

    def _begin(self) -> None:
        self._parts, self._size, self._dropped, self._returned = [], 0, 0, False

    def _keep(self, piece: str) -> None:
        _, returned, last = piece.rstrip("\r").rpartition("\r")
        if piece and (self._returned or returned):
            self._begin()
        self._returned = piece.endswith("\r") or (self._returned and not piece)
        room = LONGEST_RAW - self._size
        kept = last[: max(0, room)]
        self._dropped += len(last) - len(kept)
        if kept:
            self._parts.append(kept)
            self._size += len(kept)
