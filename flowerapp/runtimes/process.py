"""Runs a function in a process of its own, which can be killed at a time limit; a thread cannot.

Where the platform has a fork server, the processes are forked from one that has set Django up and has neither threads
nor database connections; elsewhere each is spawned.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from django.conf import settings
from django.db import connections

from flowerapp.core.executor import Limits
from flowerapp.exceptions import FlowerError, TimeLimitError

POLL_SECONDS = 1.0
"""Seconds between two checks whether the result is still wanted."""
START_SECONDS = 60.0
"""Seconds that a process may take to start; they do not count against the limits."""
STARTED = "started"
"""The message that a process sends just before it calls the function."""


class ProcessEnded(FlowerError):  # noqa: N818 - an outcome, not the caller's error
    """The process ended without a result."""

    code = "process_ended"


class ProcessUnwanted(FlowerError):  # noqa: N818 - an outcome too
    """The process was stopped because its result is no longer wanted."""

    code = "process_unwanted"


_stopping = threading.Event()
_alive: set[ProgramProcess] = set()


def kill_all() -> None:
    """Kill all running processes and refuse to start more; for the shutdown of a worker."""
    _stopping.set()
    for process in list(_alive):
        process.kill()


def _context() -> BaseContext:
    methods = multiprocessing.get_all_start_methods()
    if "forkserver" not in methods:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flowerapp.runtimes.template"])
    return context


class ProgramProcess:
    """A process that makes one call: ``function(argument)``. Both, and the result, must be picklable.

    ``soft_limit_error`` is the exception raised in the function at the soft limit.
    """

    def __init__(
        self, function: Callable[[Any], Any], argument: Any, limits: Limits, soft_limit_error: type[Exception]
    ) -> None:
        self.limits = limits
        context: Any = _context()
        self.pipe, self.child_pipe = context.Pipe()
        arguments = (self.child_pipe, function, argument, limits.soft, soft_limit_error, dict(settings.FLOWER))
        self.process = context.Process(target=_run_in_child, args=arguments, daemon=True)

    def result(self, wanted: Callable[[], bool]) -> Any:
        """Start the process, wait for it, and return what the function returned.

        ``wanted`` is called every ``POLL_SECONDS``; once it returns False the process is killed. Raises TimeLimitError
        at the hard limit, ProcessUnwanted if ``wanted`` or ``kill_all`` stopped the process, and ProcessEnded if it
        ended without a result, such as by an exception of the function.
        """
        if _stopping.is_set():
            raise ProcessUnwanted
        self.process.start()
        self.child_pipe.close()
        _alive.add(self)
        try:
            return self._watch(wanted)
        except (EOFError, OSError):
            raise self._end_error() from None
        finally:
            _alive.discard(self)
            self.kill()
            self.pipe.close()

    def _watch(self, wanted: Callable[[], bool]) -> Any:
        if not self.pipe.poll(START_SECONDS) or self.pipe.recv() != STARTED:
            raise EOFError
        deadline = time.monotonic() + (self.limits.hard or float("inf"))
        while not self.pipe.poll(min(POLL_SECONDS, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return self._time_out()
            if not wanted():
                raise ProcessUnwanted
        return self.pipe.recv()

    def _time_out(self) -> Any:
        """Kill the process; if its result arrived at the last moment, return it."""
        self.kill()
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            raise TimeLimitError(f"timed out after {self.limits.hard:g} s") from None

    def _end_error(self) -> FlowerError:
        """The error that says why the pipe broke before a result came."""
        if _stopping.is_set():
            return ProcessUnwanted()
        self.process.join(POLL_SECONDS)
        return ProcessEnded(f"its process ended without an outcome (exit code {self.process.exitcode})")

    def kill(self) -> None:
        """Kill the process and its own child processes."""
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except (AttributeError, OSError):
            self.process.kill()
        self.process.join(POLL_SECONDS)


def _run_in_child(
    pipe: Connection,
    function: Callable[[Any], Any],
    argument: Any,
    soft: float | None,
    soft_limit_error: type[Exception],
    flower: dict[str, Any],
) -> None:
    from flowerapp.runtimes import template  # noqa: F401 - sets Django up in a spawned process

    settings.FLOWER = flower
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, args=[pipe], daemon=True).start()
    pipe.send(STARTED)
    try:
        _set_alarm(soft, soft_limit_error)
        result = function(argument)
    finally:
        _set_alarm(0, soft_limit_error)
        connections.close_all()
    pipe.send(result)


def _end_with_parent(pipe: Connection) -> None:
    """Kill this process and its children when the parent ends: the pipe then breaks, even if the parent was killed."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _set_alarm(seconds: float | None, error: type[Exception]) -> None:
    """Raise ``error`` in the main thread after ``seconds``; 0 cancels the alarm, None sets none."""
    if seconds is None or not hasattr(signal, "setitimer"):
        return

    def raise_in_program(*_: Any) -> None:
        raise error(f"after {seconds:g} s")

    signal.signal(signal.SIGALRM, raise_in_program)
    signal.setitimer(signal.ITIMER_REAL, seconds)
