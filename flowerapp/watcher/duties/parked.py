"""Complete parents whose children have all ended, and gates that are ready, that no process has completed."""

from __future__ import annotations

from flowerapp.engine import propagation


def complete_parked() -> int:
    """The number of tasks completed."""
    return propagation.complete_all_parked()
