"""Durations as people write them: seconds, or a text such as ``90``, ``1.5h``, ``300ms`` and ``1h30m``."""

from __future__ import annotations

import math
import re
from typing import Any

from flowerapp.exceptions import InvalidValueError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
"""Seconds of each unit."""
LONGEST = 10 * 365 * 86_400.0
"""Seconds of the longest duration."""
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)\s*")
_PARTS = re.compile(rf"\s*(?:{_PART.pattern})+")


def seconds_of(value: Any, what: str) -> float:
    """The seconds of a duration; raises InvalidValueError, which calls it ``what``, for anything else."""
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds):
        raise InvalidValueError(f"{what} {value!r:.100} is no duration; use seconds, as 90, or a text as '1h30m'")
    if not 0 <= seconds <= LONGEST:
        raise InvalidValueError(f"{what} {value!r:.100} is out of range; use 0 to {LONGEST:,.0f} seconds")
    return seconds


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < 1e300 else math.inf
    if not isinstance(value, str):
        return None
    if _PARTS.fullmatch(value[:100]):
        return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(value))
    try:
        return float(value)
    except ValueError:
        return None
