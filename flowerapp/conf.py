"""The settings of flowerapp: the dict ``FLOWER`` in the host's settings over these defaults, read when needed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings and their defaults; each name is a key of ``FLOWER``."""

    MAX_JSON_BYTES: int = 1024 * 1024
    """Size of the largest input, parameters or output, in bytes of JSON."""
    MAX_TASKS: int = 200_000
    """Most steps of a workflow."""
    MAX_REGISTRATIONS: int = 5_000
    """Most flows that one call registers; together they have at most ``MAX_TASKS`` tasks."""
    MAX_CHILDREN: int = 50_000
    """Most children that one task may add."""
    CHAIN_LENGTH: int = 20
    """Most tasks in one Celery chain."""
    CONTINUE_SECONDS: float = 0.1
    """Seconds for which a process, after it received a message, may continue with quick tasks that it releases without
    sending a message for them; 0 turns this off."""
    PREPARE: bool = True
    """Whether the most frequent statements are prepared on PostgreSQL; turn it off behind a connection pooler that does
    not support prepared statements."""
    RESEND_AFTER: int = 10
    """Seconds after which the watcher may resend a message whose task no worker has claimed."""
    LEASE_SECONDS: int = 15
    """Seconds without a heartbeat after which a worker counts as dead and its tasks are rescued."""
    LEADER_SECONDS: int = 8
    """Seconds for which a watcher stays the leader without renewing its lease; after that another takes over."""
    MAX_RESCUES: int = 3
    """Most rescues of a task, which happen when its worker dies; one more suspends it."""
    REMOTE_SECONDS: int = 300
    """Seconds without a heartbeat after which a remote task that another system has claimed is rescued, where its step
    has no time limit."""
    REMOTE_WAITS: int = 4
    """Most requests of remote workers that wait for work at once, in each process of the web server."""
    REJECT_AFTER: int = 300
    """Seconds for which a task is tried again that cannot be published, or whose program the worker that got it does
    not know; then it is Suspend."""
    STOP_GRACE: float = 25
    """Seconds for which a worker that is asked to stop lets its running tasks end; then it hands them back."""
    CACHE_ENTRIES: int = 10_000
    """Most outputs that the output cache keeps; the watcher deletes the oldest."""
    CACHE_BYTES: int = 256 * 1024 * 1024
    """Most bytes of outputs that it keeps."""
    CACHE_WAIT_SECONDS: int = 3600
    """Seconds for which a task waits for the output that another one is about to store; then it runs itself."""
    HEARTBEAT_FILE: str | None = None
    """Path of a file that a worker touches with each heartbeat, every 2 s, for the health check of its container."""
    RETENTION_DAYS: int | None = None
    """Days after which ended flows are deleted; None keeps them."""
    EVENT_DAYS: float | None = 7
    """Days for which events are kept; a wait that begins later does not get them. None keeps them."""
    RETENTION_ARCHIVE: str | None = None
    """Where flows are archived before RETENTION_DAYS deletes them: an alias of STORAGES, or the path of a folder. The
    API reads and writes archives there too, and nowhere else."""
    MAX_ARCHIVE_BYTES: int = 32 * 1024 * 1024
    """Size of the largest archive that the API and the admin restore; `flow restore` takes any."""
    TASK_LOG: str | None = "INFO"
    """The lowest level of what programs log that is kept as the log of their task; None keeps nothing. ``ctx.log`` and
    stdout count as INFO, stderr as WARNING."""
    TASK_LOG_BYTES: int = 512 * 1024
    """Size of the log of one attempt, in bytes; of a longer one the first and the last lines are kept."""
    WATCHER: bool = True
    """Whether this worker may lead the watcher; it sends heartbeats in any case."""
    AUTHENTICATION: tuple[str, ...] | None = None
    """Dotted paths of the API's authentication classes; None for tokens, if ``rest_framework.authtoken`` is installed,
    and sessions."""
    OPEN_API: bool = False
    """Whether callers on loopback may register flows and read without authentication."""
    OPEN_API_CLIENTS: tuple[str, ...] = field(default=())
    """Further addresses or networks that count as loopback for OPEN_API, such as a container network's gateway."""
    HTTP_ALLOW_PRIVATE: tuple[str, ...] = field(default=())
    """``host`` or ``host:port`` of the private addresses that programs may call; ``*`` allows all."""
    RESOURCE_ROOT: str | None = None
    """Directory of the files that ``resource:load`` and ``resource:store`` may read and write; None allows none."""
    REQUEST_URLS: dict[str, str] = field(default_factory=dict)
    """Base addresses of the programs ``request:*``, by ``environ:category``, or by ``category`` alone."""
    REQUEST_HEADERS: dict[str, dict[str, str]] = field(default_factory=dict)
    """Headers that these programs send to a base address, such as ``Authorization``; the keys are those of
    REQUEST_URLS. The values are secret."""
    REDIS_TASKS: str | None = None
    """URL of the Redis server on which the programs ``redis:*`` run their commands; without it there are none."""
    REDIS_COMMANDS: tuple[str, ...] = ("*",)
    """The commands that they may run; ``*`` stands for those that only read and change values."""
    STREAM_URL: str | None = None
    """URL of the Redis with the stream for remote tasks; None takes the server that ``REDIS_HOST`` and the like name,
    or else a Redis broker, once a remote task is ready; an empty text turns the stream off."""
    STREAM_KEY: str = "workflows:run"
    """Key of the stream."""
    STREAM_LENGTH: int = 100_000
    """About the most entries of the stream; of the tasks that are ready, half as many are in it at once."""
    CELERY_TASKS: bool | tuple[str, ...] = True
    """Which Celery tasks of the host may be used as programs: True for all, False for none, or their names."""
    MASK: tuple[str, ...] = (
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "pwd",
        "secret",
        "token",
        "api_key",
        "access_key",
        "private_key",
        "signing_key",
        "encryption_key",
        "subscription_key",
        "application_key",
        "account_key",
        "master_key",
        "client_key",
        "license_key",
        "session_key",
        "ssh_key",
        "bearer",
        "authorization",
        "credential",
        "cookie",
        "=pass",
        "=auth",
        "=creds",
        "=jwt",
        "=otp",
    )
    """A value whose name contains one of these words is shown as ``••••``. Case does not count, nor do characters that
    are neither letters nor digits. After ``=`` the word must be a whole word of the name, as in ``DB_PASS``."""


NAMES = frozenset(setting.name for setting in fields(Settings))
"""The keys that ``FLOWER`` may have."""


def raw() -> Mapping[str, Any]:
    """``settings.FLOWER`` as the host wrote it; empty if it is not a dict, which the system check reports."""
    value = getattr(settings, "FLOWER", {})
    return value if isinstance(value, Mapping) else {}


_cache: tuple[dict[str, Any], Settings] = ({}, Settings())
"""The last ``settings.FLOWER`` that was read, and what ``get`` made of it."""


def get() -> Settings:
    """The current settings: the host's over the defaults. Unknown names are ignored; the system check reports them."""
    global _cache
    host = raw()
    cached_host, result = _cache
    if host != cached_host:
        result = Settings(**{name: _frozen(value) for name, value in host.items() if name in NAMES})
        _cache = copy.deepcopy(dict(host)), result
    return result


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, set)) else value
