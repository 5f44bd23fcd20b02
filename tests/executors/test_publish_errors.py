"""Which errors in publishing say that the broker is unreachable, and which are about one message."""

from __future__ import annotations

import kombu
import pytest
from amqp.exceptions import FrameSyntaxError, NotFound
from kombu.exceptions import EncodeError
from kombu.exceptions import OperationalError as LibraryError

from flowerapp.executors.celery import publish_errors


@pytest.mark.parametrize(
    ("error", "about_all"),
    [
        (LibraryError("gone"), True),
        (ConnectionResetError("gone"), True),
        (TimeoutError("gone"), True),
        (NotFound("no exchange"), False),
        (EncodeError("object"), False),
        (TypeError("object"), False),
        (KeyError("exchange"), False),
        (FrameSyntaxError("Table type"), False),
        (FrameSyntaxError("frame", (60, 40), "Channel.publish", 502), True),
    ],
    ids=repr,
)
def test_which_errors_are_about_all_messages(error: Exception, about_all: bool) -> None:
    errors = kombu.Connection("amqp://").connection_errors
    assert publish_errors.is_about_all(error, errors) is about_all
    wrapped = LibraryError(str(error))
    wrapped.__cause__ = error
    assert publish_errors.is_about_all(wrapped, errors) is about_all


@pytest.mark.parametrize(
    ("name", "text", "about_all"),
    [
        ("ConnectionError", "gone", True),
        ("TimeoutError", "gone", True),
        ("OutOfMemoryError", "command not allowed when used memory > 'maxmemory'.", True),
        ("ReadOnlyError", "You can't write against a read only replica.", True),
        ("ResponseError", "MISCONF Redis is configured to save RDB snapshots", True),
        ("ResponseError", "WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("DataError", "Invalid input of type: 'dict'", False),
    ],
)
def test_which_errors_of_redis_are_about_all_messages(name: str, text: str, about_all: bool) -> None:
    redis = pytest.importorskip("redis")
    error = getattr(redis.exceptions, name)(text)
    assert publish_errors.is_about_all(error, kombu.Connection("redis://").connection_errors) is about_all
