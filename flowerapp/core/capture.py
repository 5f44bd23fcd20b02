"""Captures what programs log and print, in the thread that runs them, and passes all of it on as before.

Two things of the process are replaced when its first attempt begins: the method by which loggers call their handlers,
so that loggers that do not propagate are captured too; and ``sys.stdout`` and ``sys.stderr``, by objects that also pass
on. A program's lines of a level below that of the root logger, such as INFO in a worker that logs warnings, are
captured as well: the level is lowered, and handlers get what they got before.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol


class Sink(Protocol):
    """What receives the lines of an attempt; its methods never raise."""

    @property
    def level(self) -> int:
        """The lowest level that it keeps."""

    def record(self, record: logging.LogRecord) -> None:
        """A record of any logger."""

    def write(self, stream: str, text: str) -> None:
        """What is written to ``stdout`` or ``stderr``."""


class _OfMainThread(NamedTuple):
    """The attempt that runs in the main thread, whose lines are also those of the threads that it starts."""

    sink: Sink
    others: list[threading.Thread]
    """The threads that ran before."""


_current: ContextVar[Sink | None] = ContextVar("flowerapp_log", default=None)
_of_main_thread: _OfMainThread | None = None
_thread = threading.local()
_replacing = threading.Lock()
"""Held to replace streams and the loggers' method, as the attempts of several threads may be the first."""


def _sink() -> Sink | None:
    """What captures the lines of this thread now."""
    if getattr(_thread, "is_silent", False):
        return None
    sink = _current.get()
    if sink is None and _of_main_thread is not None and threading.current_thread() not in _of_main_thread.others:
        return _of_main_thread.sink
    return sink


@contextmanager
def silence() -> Iterator[None]:
    """Capture nothing of this thread within the block."""
    before = getattr(_thread, "is_silent", False)
    _thread.is_silent = True
    try:
        yield
    finally:
        _thread.is_silent = before


@contextmanager
def capturing(sink: Sink, is_lasting: Callable[[], bool]) -> Iterator[None]:
    """Let ``sink`` receive what this thread logs and prints within the block.

    What was replaced in the process stays so for the next attempt if ``is_lasting()``.
    """
    global _of_main_thread
    replaced = _replace(sink.level)
    outer, token = _of_main_thread, _current.set(sink)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread:
        _of_main_thread = _OfMainThread(sink, threading.enumerate())
    try:
        yield
    finally:
        _current.reset(token)
        if in_main_thread:
            _of_main_thread = outer
        if replaced and not is_lasting():
            _restore()


def _replace(level: int) -> bool:
    """Replace what is not replaced yet; whether anything was."""
    is_higher = logging.root.level > level
    if _is_patched and not (is_higher or _is_bare(sys.stdout) or _is_bare(sys.stderr)):
        return False
    with _replacing:
        for name in ("stdout", "stderr"):
            if _is_bare(getattr(sys, name)):
                setattr(sys, name, Tee(name, getattr(sys, name)))
        if is_higher:
            _lower(level)
        _patch_loggers()
    return True


def _restore() -> None:
    """Put streams and levels back; the loggers' method stays, and does nothing."""
    for name in ("stdout", "stderr"):
        if isinstance(stream := getattr(sys, name), Tee):
            setattr(sys, name, stream.inner)
    while _levels:
        logger, level = _levels.popitem()
        logger.setLevel(level)


# Streams


class Tee:
    """A stream that passes on what is written to it, and lets the attempt of the thread have it too."""

    def __init__(self, name: str, inner: Any) -> None:
        self.name = name
        self.inner = inner

    def write(self, text: str) -> Any:
        """Write it."""
        sink = _sink()
        if sink is None:
            return self.inner.write(text)
        sink.write(self.name, text)
        with silence():  # Celery logs what is written
            return self.inner.write(text)

    def writelines(self, lines: Any) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _is_bare(stream: Any) -> bool:
    return stream is not None and type(stream) is not Tee


# Loggers

_TASK_LOGGER = "celery.task"
"""The parent of the loggers that Celery makes for tasks; it has a level of its own."""
_LIBRARIES = ("amqp", "billiard", "celery", "flowerapp", "kombu", "multiprocessing")
"""Loggers whose level stays that of the root logger: they write about the worker, and often."""
_levels: dict[logging.Logger, int] = {}
"""The loggers whose levels are changed, with the level that each had; 0 means that of its parent."""
_call_handlers = logging.Logger.callHandlers
_is_patched = False


def _lower(level: int) -> None:
    before = logging.root.level
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        if library.level == logging.NOTSET:
            _levels[library] = logging.NOTSET
            library.setLevel(before)
    for logger in (logging.root, logging.getLogger(_TASK_LOGGER)):
        if logger.level > level:
            _levels[logger] = logger.level
            logger.setLevel(level)


def _patch_loggers() -> None:
    global _is_patched, _call_handlers
    if not _is_patched:
        _is_patched, _call_handlers = True, logging.Logger.callHandlers
        logging.Logger.callHandlers = _capture_and_call  # type: ignore[assignment,method-assign]


def _capture_and_call(logger: logging.Logger, record: logging.LogRecord) -> None:
    sink = _sink()
    if sink is not None:
        sink.record(record)
    if not _levels or _passed_before(logger, record):
        with silence():  # a handler may write to sys.stderr
            _call_handlers(logger, record)


def _passed_before(logger: logging.Logger, record: logging.LogRecord) -> bool:
    """Whether the logger would have passed it on with the levels as they were."""
    parent: logging.Logger | None = logger
    while parent is not None:
        level = _levels.get(parent, parent.level)
        if level:
            return record.levelno >= level
        parent = parent.parent
    return True


def _forget() -> None:
    """In a process that a program forked: its lines are not captured, since the attempt is its parent's."""
    global _of_main_thread
    _of_main_thread = None
    _current.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
