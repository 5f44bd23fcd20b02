"""Give free slots of pools, and free places of workflows, to what waits for them."""

from __future__ import annotations

from flowerapp.engine import admission


def admit() -> int:
    """The number of tasks and flows admitted."""
    return admission.admit_all()
