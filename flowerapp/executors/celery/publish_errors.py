"""Errors in publishing: is the broker unreachable for all messages, or is the error about one message?

The place decides first. An error before ``Producer.publish``, such as a router's, is about the message, whatever its
type. Of those that ``publish`` raises, these are about all messages: broken connections, timeouts, and a Redis that
takes no writes. A queue that refuses is about the messages of this queue.
"""

from __future__ import annotations

from typing import Any

from kombu.exceptions import InconsistencyError
from kombu.exceptions import OperationalError as LibraryError

from flowerapp.executors.celery.versions import BatchPublishError


class UnreachableError(Exception):
    """The broker takes no messages now."""


class WatchedProducer:
    """A producer whose ``publish`` raises UnreachableError where the error is about all messages.

    In a batch it raises BatchPublishError for every other error of ``publish``, which may have broken the batch: the
    messages are then to be published one by one.
    """

    def __init__(self, producer: Any, *, batched: bool = False) -> None:
        self._producer = producer
        self._batched = batched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, *arguments: Any, **options: Any) -> Any:
        """Publish one message."""
        try:
            return self._producer.publish(*arguments, **options)
        except BatchPublishError:
            raise
        except Exception as error:
            if is_about_all(error, self._producer.connection.connection_errors):
                raise UnreachableError(reason_of(error)) from error
            if self._batched:
                raise BatchPublishError(reason_of(error)) from error
            raise


_OF_ONE_QUEUE = ("WRONGTYPE", "No permissions to access a key", "this user has no permissions to access")
"""What Redis answers if the error is about one key only."""


def is_about_all(error: BaseException, connection_errors: tuple[type[BaseException], ...]) -> bool:
    """Whether an error of ``publish`` says that no message can be published.

    ``connection_errors`` are those of the transport.
    """
    cause = _cause_of(error)
    if type(cause).__module__.startswith("redis."):
        return type(cause).__name__ != "DataError" and not any(text in str(cause) for text in _OF_ONE_QUEUE)
    if isinstance(cause, (LookupError, InconsistencyError)) or _is_encoding(cause):
        return False
    return isinstance(cause, (*connection_errors, LibraryError, OSError))


def _is_encoding(error: BaseException) -> bool:
    """Whether py-amqp could not write a value; it is a connection error by its type, but nothing was sent."""
    return type(error).__name__ == "FrameSyntaxError" and not getattr(error, "method_sig", None)


def _cause_of(error: BaseException) -> BaseException:
    """The transport's own error, which kombu wraps."""
    return error.__cause__ if isinstance(error, LibraryError) and error.__cause__ else error


def reason_of(error: BaseException) -> str:
    """The error in words, with its type."""
    cause = _cause_of(error)
    text = cause.args[0] if len(cause.args) == 1 and isinstance(cause.args[0], str) else str(cause)
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
