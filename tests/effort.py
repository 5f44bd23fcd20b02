"""How much the tests try: more with ``FLOWER_TEST_FAULTS=long``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

LONG = os.environ.get("FLOWER_TEST_FAULTS") == "long"
"""Whether faults take longer and random tests try more."""


def examples(number: int) -> int:
    """``number`` of random examples, or ten times as many."""
    return number * 10 if LONG else number


quick = settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate, Phase.shrink]
)
"""For tests that make many texts of one seed: no example is kept, and none has a deadline."""
seeds = st.integers(0, 2**32)
"""Seeds of such tests."""
