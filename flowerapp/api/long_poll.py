"""Requests that wait for something to come: without a transaction or a connection, and only a few at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import connections
from rest_framework.request import Request

PAUSE = 0.5
"""Seconds between two looks."""

Found = TypeVar("Found")

_lock = threading.Lock()
_waiting = 0
"""Requests of this process that wait."""


def may_wait(request: Request) -> bool:
    """Whether a request may wait: other threads of the process then answer others.

    Under ASGI, Django's views share one thread.
    """
    return bool(request.META.get("wsgi.multithread"))


def first(look: Callable[[], list[Found]], seconds: float, most: int) -> list[Found]:
    """What ``look`` finds, now or within ``seconds``; empty if that is nothing.

    It waits only while fewer than ``most`` requests of this process do.
    """
    result = look()
    if result or seconds <= 0:
        return result
    with _place(most) as is_free:
        deadline = time.monotonic() + seconds
        while is_free and not result and (left := deadline - time.monotonic()) > 0:
            _close_connections()
            time.sleep(min(PAUSE, left))
            result = look()
    return result


@contextmanager
def _place(most: int) -> Iterator[bool]:
    """Whether this request may wait."""
    global _waiting
    with _lock:
        is_free = _waiting < most
        _waiting += is_free
    try:
        yield is_free
    finally:
        with _lock:
            _waiting -= is_free


def _close_connections() -> None:
    """Give the connections of this thread back; they are opened again when they are used."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
