"""Programs of the workloads: they do nothing, and the last one signals its end."""

from __future__ import annotations

from benchmarks import signals
from flowerapp.registry import program


@program("benchmarks.noop")
def noop() -> None:
    """Do nothing."""


@program("benchmarks.tell")
def signal_end(key: str, of: int = 1) -> None:
    """Signal the end to the harness."""
    signals.send(key, of)
