"""How large a text in the arrow language may be."""

from __future__ import annotations

from flowerapp import conf

MAX_TEXT = 1_000_000
"""Most characters of a text."""
MAX_NESTING = 50
"""Most subflows inside one another in a text."""
MAX_ROUNDS = 100
"""The largest bound of loops."""


def max_steps() -> int:
    """Most steps of a workflow: ``FLOWER["MAX_TASKS"]``."""
    return conf.get().MAX_TASKS
