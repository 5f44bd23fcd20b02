"""Complete parents whose children have all ended, and that no process has completed."""

from __future__ import annotations

from flowerapp.engine import propagation


def complete_parents() -> int:
    """The number of parents completed."""
    return propagation.complete_parents()
