"""The object that the programs of a flow share: read, and changed by compare-and-set."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from typing import Any

from flowerapp.core import values
from flowerapp.exceptions import ContendedStateError, InvalidValueError, UnknownFlowError
from flowerapp.models import Flow

State = dict[str, Any]

TRIES = 100
"""Times that a change is tried against those of others."""
LONGEST_PAUSE = 0.25
"""Seconds between two tries, at most."""


def get_state(flow_id: str) -> State:
    """The shared state of a flow as it is now; raises UnknownFlowError."""
    return _read(flow_id)[0]


def changed(state: State, change: Callable[[State], State | None]) -> State:
    """What ``change`` makes of a copy of the state; raises InvalidValueError for no JSON object, or a large one."""
    proposed = copy.deepcopy(state)
    returned = change(proposed)
    result = values.check(proposed if returned is None else returned, "shared state")
    if not isinstance(result, dict):
        raise InvalidValueError(f"shared state must be a JSON object, not {type(result).__name__}")
    return result


def change_state(flow_id: str, change: Callable[[State], State | None]) -> State:
    """Change the shared state of a flow as if no other process did meanwhile; the state that was stored.

    ``change`` gets a copy, and changes it or returns another. It is called again when another process was quicker, so
    it should do nothing else. Raises InvalidValueError where the result is no JSON object or too large, and
    ContendedStateError after ``TRIES`` tries.
    """
    for tries in range(TRIES):
        state, version = _read(flow_id)
        new = changed(state, change)
        if new == state or Flow.objects.replace_state(flow_id, version, new):
            return new
        time.sleep(random.uniform(0, min(0.002 * 2 ** min(tries, 10), LONGEST_PAUSE)))  # noqa: S311 - spreads the tries
    raise ContendedStateError(
        f"the shared state of flow {flow_id} was changed by others each of {TRIES} times; change it less often"
    )


def _read(flow_id: str) -> tuple[State, int]:
    row: tuple[State, int] | None = Flow.objects.filter(pk=flow_id).values_list("state", "state_version").first()
    if row is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    return row
