"""Programs that sleep, under the names of the original engine."""

from __future__ import annotations

import random
import time
from typing import Annotated, Any

from pydantic import Field

from flowerapp.registry import program

LONGEST_RANDOM_SLEEP = 3.0
"""In seconds."""


@program("EchoRandomTimeSleep")
def echo_random_time_sleep() -> dict[str, Any]:
    """Sleep for a random time of up to 3 s and return the seconds slept."""
    seconds = round(random.uniform(0, LONGEST_RANDOM_SLEEP), 3)  # noqa: S311 - no secret
    time.sleep(seconds)
    return {"slept": seconds}


@program("EchoParamTimeSleep")
def echo_param_time_sleep(
    seconds: Annotated[float, Field(alias="SLEEP_TIME_SECOND", ge=0, le=86_400, description="Seconds to sleep.")] = 1,
) -> dict[str, Any]:
    """Sleep for SLEEP_TIME_SECOND seconds and return them."""
    time.sleep(seconds)
    return {"slept": seconds}
