"""A patch of kombu's Redis transport.

In kombu 5.7.0 a channel whose connection has been closed fails with AttributeError when it touches Redis. Celery takes
that for a programming error and ends the worker, for example when Redis restarts while a task with late
acknowledgement runs. Here it becomes the connection error that Celery knows how to survive.
``tests/faults/test_kombu_patches.py`` fails when kombu no longer needs this.
"""

from __future__ import annotations

import functools
from typing import Any


def install() -> None:
    """Patch the transport, where it is installed."""
    try:
        from kombu.transport import redis as transport
        from redis.exceptions import ConnectionError as RedisConnectionError
    except ImportError:
        return
    channel: Any = transport.Channel
    original = channel._connparams
    if getattr(original, "__wrapped__", None) is not None:
        return

    @functools.wraps(original)
    def connparams(self: Any, asynchronous: bool = False) -> Any:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the channel's connection is closed")
        return original(self, asynchronous=asynchronous)

    channel._connparams = connparams
