"""Settings of flowerapp: one dict ``FLOWER`` in the host's settings, read lazily, with defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values in force; each name is a key of ``FLOWER``."""

    MAX_JSON_BYTES: int = 1024 * 1024
    """Largest input, parameters or output, in bytes of JSON."""
    MAX_TASKS: int = 200_000
    """Most steps a workflow may have."""
    MAX_CHILDREN: int = 50_000
    """Most children that a task may add."""
    CHAIN_LENGTH: int = 20
    """Most tasks in one Celery chain."""
    TIME_SLICE: float = 0.1
    """Seconds that a process may go on, after a message came, with quick tasks that it releases; 0 sends each."""
    PREPARE: bool = True
    """Prepare the statements of the hot path on PostgreSQL; off behind a pooler that cannot keep them."""
    RESEND_AFTER: int = 10
    """Seconds after which a message that nobody claimed may be sent again."""
    LEASE_SECONDS: int = 15
    """Seconds without a sign of life after which a worker is taken for dead."""
    LEADER_SECONDS: int = 8
    """Seconds a watcher leads without renewing; another takes over after that."""
    MAX_RESCUES: int = 3
    """Times a task may lose its worker and be sent again; after that it is suspended."""
    RETENTION_DAYS: int | None = None
    """Days after which ended flows are deleted; None keeps them."""
    WATCHER: bool = True
    """Whether a worker may lead the watcher; each vouches for its own tasks in any case."""
    OPEN_API: bool = False
    """Register and read without authentication, for callers on loopback only."""
    OPEN_API_CLIENTS: tuple[str, ...] = field(default=())
    """Further addresses or networks that count as loopback there, such as the gateway of a container network."""
    HTTP_ALLOW_PRIVATE: tuple[str, ...] = field(default=())
    """``host`` or ``host:port`` of private addresses that HTTPPostRequest may call; ``*`` allows all."""
    CELERY_TASKS: bool | tuple[str, ...] = True
    """Host Celery tasks that may be named as programs: all, none, or a list of names."""
    MASK: tuple[str, ...] = ("password", "passwd", "secret", "token", "api_key", "apikey", "authorization")
    """Parameter names that contain one of these show ``••••`` instead of their value."""


NAMES = frozenset(each.name for each in fields(Settings))


def raw() -> Mapping[str, Any]:
    """``settings.FLOWER`` as the host wrote it."""
    value = getattr(settings, "FLOWER", {})
    return value if isinstance(value, Mapping) else {}


_read: tuple[dict[str, Any], Settings] = ({}, Settings())


def get() -> Settings:
    """The settings in force now: the host's over the defaults; unknown names are left to the system check."""
    global _read
    given = raw()
    before, found = _read
    if given != before:
        found = Settings(**{name: _frozen(value) for name, value in given.items() if name in NAMES})
        _read = copy.deepcopy(dict(given)), found
    return found


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, set)) else value
