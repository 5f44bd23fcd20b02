"""Which Redis has the stream."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import quote

import redis

from flowerapp import conf
from flowerapp.executors.celery import brokers

ANSWER_SECONDS = 10.0
"""Seconds that Redis may take to answer; more than a read blocks."""
CONNECT_SECONDS = 5.0


class Address(NamedTuple):
    """A Redis server, and the key of the stream in it."""

    url: str
    key: str
    is_chosen: bool
    """Whether a setting names it; else it may be there for other purposes, and is used once a remote task is ready."""


def address() -> Address | None:
    """Where the stream is: ``STREAM_URL``, else what the variables ``REDIS_…`` name, else a Redis broker; or None."""
    settings = conf.get()
    url = settings.STREAM_URL
    if url is None:
        url = _from_environment() or brokers.redis_url()
    return Address(url, settings.STREAM_KEY, settings.STREAM_URL is not None) if url else None


def _from_environment() -> str:
    """The server that the variables name as those of the reference project's broker do; empty if none is set."""
    host, port, user, password = (os.environ.get(f"REDIS_{name}", "") for name in _VARIABLES)
    if not (host or port or user or password):
        return ""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{host or '127.0.0.1'}:{port or 6379}/0"


_VARIABLES = ("HOST", "PORT", "USERNAME", "PASSWORD")


def connect(url: str) -> redis.Redis:
    """A client of the server; it connects when it is used. Raises ValueError for an address that is none."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        health_check_interval=30,
    )
