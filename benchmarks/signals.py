"""How the last task of a run signals its end to the harness: by a value in Redis, not by ``AsyncResult.get()``."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

VARIABLE = "BENCHMARK_SIGNALS"
"""Environment variable with the URL of the Redis database for signals."""


@functools.cache
def client() -> Any:
    """The connection, kept."""
    import redis

    return redis.Redis.from_url(os.environ[VARIABLE], socket_timeout=None)


def send(key: str, of: int = 1) -> None:
    """Count one end; the last of ``of`` ends wakes the harness."""
    if of == 1 or client().incr(f"{key}:count") == of:
        client().rpush(key, time.time())


def wait(key: str, seconds: float) -> float:
    """Wait for the signal; the time when it was sent. TimeoutError after ``seconds``."""
    value = client().blpop([key], timeout=seconds)
    if value is None:
        raise TimeoutError(f"{key} gave no signal within {seconds:g} s")
    return float(value[1])
