"""How large a text in the arrow language may be."""

from __future__ import annotations

from flowerapp import conf

MAX_TEXT = 1_000_000
"""Most characters of a text."""
MAX_NESTING = 50
"""Most subflows inside one another in a text."""
MAX_YAML_WORK = 2_000_000
"""The largest sum of the depths of all brackets in the YAML of a text, which takes a few seconds to read."""
MAX_VALUES = 16 * 1024 * 1024
"""Most characters of JSON of the parameters and values of all steps together."""
MAX_EDGES = 1_000_000
"""Most edges of a flow; labels can give many in a short text."""
MAX_ROUNDS = 100
"""The largest bound of loops."""


def max_steps() -> int:
    """Most steps of a workflow: ``FLOWER["MAX_TASKS"]``."""
    return conf.get().MAX_TASKS
