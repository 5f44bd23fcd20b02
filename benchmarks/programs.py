"""Programs of the workloads: they do nothing, work or log, and the last one of a run signals its end."""

from __future__ import annotations

import logging

from benchmarks import signals, work
from flowerapp.registry import program

logger = logging.getLogger(__name__)


@program("benchmarks.noop")
def noop() -> None:
    """Do nothing."""


@program("benchmarks.nap")
def nap(seconds: float) -> None:
    """Sleep."""
    work.do("nap", seconds)


@program("benchmarks.burn")
def burn(seconds: float) -> None:
    """Use processor time."""
    work.do("burn", seconds)


@program("benchmarks.log")
def log() -> None:
    """Log two lines, which workers show at Celery's default level."""
    logger.warning("the first of two lines")
    logger.warning("the second of %d lines", 2)


@program("benchmarks.tell")
def signal_end(key: str, of: int = 1, kind: str = "noop", seconds: float = 0.0) -> None:
    """Do the work, and signal the end to the harness."""
    work.do(kind, seconds)
    signals.send(key, of)
