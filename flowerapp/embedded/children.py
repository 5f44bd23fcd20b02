"""Programs with a time limit run in a child process, because a thread cannot be killed.

The children are forked from a process of their own that has Django ready, no threads and no connections.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection

from flowerapp import engine, registry
from flowerapp.engine import Continuation, Outcome
from flowerapp.exceptions import FlowerError, TimeLimitError
from flowerapp.models import Task
from flowerapp.querysets import Claim
from flowerapp.states import Status

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between looks whether the outcome is still wanted."""
BIRTH = 60.0
"""Seconds that a child may take to be ready; they don't count against the limit."""
BEGUN = "begun"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that an attempt may take; None has no limit."""

    hard: float | None
    soft: float | None

    def __bool__(self) -> bool:
        return bool(self.hard or self.soft)


def limits_of(claim: Claim) -> Limits:
    """The tighter of the program's limit and the task's own."""
    try:
        program = registry.get(claim.program)
    except FlowerError:
        return Limits(None, None)
    hard = min((each for each in (program.time_limit, claim.time_limit) if each), default=None)
    soft = program.soft_time_limit
    return Limits(hard, soft if soft and (hard is None or soft < hard) else None)


def perform(claim: Claim, continuation: Continuation) -> Outcome:
    """Run a claim's program: in this thread if it has no limit, else in a child."""
    limits = limits_of(claim)
    return Child(claim, limits).outcome() if limits else engine.perform(claim, continuation)


def kill_all() -> None:
    """End all children without an outcome, and start no more; their tasks stay Running, for the next start."""
    _stopping.set()
    for child in list(_living):
        child.kill()


_stopping = threading.Event()
_living: set[Child] = set()


def _context() -> BaseContext:
    methods = multiprocessing.get_all_start_methods()
    if "forkserver" not in methods:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flowerapp.embedded.template"])
    return context


class Child:
    """One attempt in a process of its own."""

    def __init__(self, claim: Claim, limits: Limits) -> None:
        self.claim = claim
        self.limits = limits
        context: Any = _context()
        self.pipe, self.other_end = context.Pipe()
        arguments = (self.other_end, claim, limits.soft, dict(settings.FLOWER))
        self.process = context.Process(target=_in_child, args=arguments, daemon=True)

    def outcome(self) -> Outcome:
        """Run it and wait for its outcome, its end, its limit, or until nobody wants it any more."""
        if _stopping.is_set():
            return engine.REFUSED
        self.process.start()
        self.other_end.close()
        _living.add(self)
        try:
            return self._watch()
        except (EOFError, OSError):
            return self._died()
        finally:
            _living.discard(self)
            self.kill()
            self.pipe.close()

    def _watch(self) -> Outcome:
        if not self.pipe.poll(BIRTH) or self.pipe.recv() != BEGUN:
            raise EOFError
        deadline = time.monotonic() + (self.limits.hard or float("inf"))
        while not self.pipe.poll(min(LOOK, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return self._timed_out()
            if not self._wanted():
                logger.info("flow %s task %s was cancelled: stopping its process", self.claim.flow_id, self.claim.seq)
                return engine.REFUSED
        received: Outcome = self.pipe.recv()
        return received

    def _wanted(self) -> bool:
        mine = Task.objects.one(self.claim.flow_id, self.claim.seq)
        return mine.filter(exec_status=Status.RUNNING, attempt=self.claim.attempt).exists()

    def _timed_out(self) -> Outcome:
        self.kill()
        try:
            received: Outcome = self.pipe.recv()
        except (EOFError, OSError):
            return engine.failed(self.claim, TimeLimitError(f"timed out after {self.limits.hard:g} s"))
        return received

    def _died(self) -> Outcome:
        if _stopping.is_set():
            return engine.REFUSED
        self.process.join(LOOK)
        place = self.claim.flow_id, self.claim.seq
        worker = Task.objects.one(*place).values_list("worker", flat=True).get()
        reason = f"its process ended without an outcome (exit code {self.process.exitcode})"
        return engine.lost(*place, reason, worker=worker)

    def kill(self) -> None:
        """End the process and what it started."""
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except (AttributeError, OSError):
            self.process.kill()
        self.process.join(LOOK)


def _in_child(pipe: Connection, claim: Claim, soft: float | None, flower: dict[str, Any]) -> None:
    from flowerapp.embedded import template  # noqa: F401 - sets Django up where the process has not been forked

    settings.FLOWER = flower
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, args=[pipe], daemon=True).start()
    pipe.send(BEGUN)
    try:
        outcome = _limited(claim, soft)
    finally:
        connection.close()
    pipe.send(outcome)


def _end_with_parent(pipe: Connection) -> None:
    """The pipe breaks when the parent ends, however it ends."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _limited(claim: Claim, soft: float | None) -> Outcome:
    if not soft or not hasattr(signal, "setitimer"):
        return engine.perform(claim)

    def raise_in_program(*_: Any) -> None:
        raise SoftTimeLimitExceeded(f"after {soft:g} s")

    signal.signal(signal.SIGALRM, raise_in_program)
    signal.setitimer(signal.ITIMER_REAL, soft)
    try:
        return engine.perform(claim)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
