"""How the last task of a run tells the harness: by a value in Redis; nobody waits with ``AsyncResult.get()``."""

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


def tell(key: str, of: int = 1) -> None:
    """Count one end; the last of so many wakes who waits."""
    if of == 1 or client().incr(f"{key}:count") == of:
        client().rpush(key, time.time())


def wait(key: str, seconds: float) -> float:
    """Wait for the signal: the time when it was given."""
    found = client().blpop([key], timeout=seconds)
    if found is None:
        raise TimeoutError(f"{key} gave no signal within {seconds:g} s")
    return float(found[1])
