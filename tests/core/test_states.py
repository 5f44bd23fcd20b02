"""States and priorities."""

from __future__ import annotations

import pytest

from flowerapp import states
from flowerapp.states import Status


def test_the_numbers_are_the_originals() -> None:
    assert {state.label: state.value for state in Status} == {
        "Wait": 0,
        "Running": 1,
        "Suspend": 2,
        "Finish": 3,
        "Ignore": 9,
    }
    assert set(Status) == states.OPEN | states.SATISFIED
    assert not states.OPEN & states.SATISFIED


@pytest.mark.parametrize(("nice", "clamped"), [(-100, -20), (-20, -20), (0, 0), (19, 19), (99, 19)])
def test_priorities_are_clamped(nice: int, clamped: int) -> None:
    assert states.clamp_priority(nice) == clamped
