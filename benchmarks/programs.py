"""Programs of the workloads: they do nothing, and the last one tells."""

from __future__ import annotations

from benchmarks import signals
from flowerapp.registry import program


@program("benchmarks.noop")
def noop() -> None:
    """Do nothing."""


@program("benchmarks.tell")
def tell(key: str, of: int = 1) -> None:
    """Tell the harness."""
    signals.tell(key, of)
