"""The patch of kombu's Redis transport, and whether it is still needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as RedisConnectionError

CLOSED = SimpleNamespace(connection=SimpleNamespace(client=None))
"""What of a channel is left when its connection was closed."""


def test_a_closed_channel_is_a_connection_error() -> None:
    channel: Any = transport.Channel
    with pytest.raises(RedisConnectionError, match="closed"):
        channel._connparams(CLOSED)


def test_kombu_still_needs_the_patch() -> None:
    channel: Any = transport.Channel
    with pytest.raises(AttributeError, match="hostname"):
        channel._connparams.__wrapped__(CLOSED)
