"""How much the tests try: more with ``FLOWER_TEST_FAULTS=long``."""

from __future__ import annotations

import os

LONG = os.environ.get("FLOWER_TEST_FAULTS") == "long"
"""Whether faults take longer and random tests try more."""


def examples(number: int) -> int:
    """``number`` of random examples, or ten times as many."""
    return number * 10 if LONG else number
