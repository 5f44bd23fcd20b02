"""Keeps tests from the developer's broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from kombu import Connection, Producer

from flowerapp.exceptions import FlowerError

IN_MEMORY = ("memory", "flower-memory")
"""Types of transports that stay in this process."""


class BrokerGuardError(FlowerError):
    """A test tried to reach a broker."""

    code = "broker_guard"


@contextmanager
def guarded() -> Iterator[None]:
    """Within the block nothing connects to a broker or publishes to one, except to one in this process's memory.

    Raises BrokerGuardError where code tries it.
    """
    guards = [
        mock.patch.object(Connection, "_establish_connection", _refusing(Connection._establish_connection, _itself)),
        mock.patch.object(Producer, "publish", _refusing(Producer.publish, _connection_of)),
    ]
    with guards[0], guards[1]:
        yield


def _itself(connection: Any) -> Any:
    return connection


def _connection_of(producer: Any) -> Any:
    return producer.connection


def _refusing(original: Callable[..., Any], connection_of: Callable[[Any], Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection = connection_of(self)
        if connection.transport_cls not in IN_MEMORY and connection.transport.driver_type not in IN_MEMORY:
            raise BrokerGuardError(
                f"a test may not reach the broker {connection.as_uri()}: set CELERY_TASK_ALWAYS_EAGER in the test "
                "settings, or replace what sends to it"
            )
        return original(self, *args, **kwargs)

    return method
