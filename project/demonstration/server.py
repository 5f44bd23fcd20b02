"""gunicorn's configuration for the demonstration: that of ``project.server``, and what it logs first."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings

from project.demonstration import callers
from project.server import (
    access_log_format,
    accesslog,
    bind,
    control_socket_disable,
    on_starting,
    threads,
    worker_tmp_dir,
    workers,
)

__all__ = [
    "access_log_format",
    "accesslog",
    "bind",
    "control_socket_disable",
    "on_starting",
    "threads",
    "when_ready",
    "worker_tmp_dir",
    "workers",
    "wsgi_app",
]

wsgi_app = "project.demonstration.wsgi"


def when_ready(server: Any) -> None:
    """Say where the server is reached, and by which callers without a login."""
    url = f"http://localhost:{os.environ.get('FLOWER_PORT', '8000')}/"
    server.log.info("flowerapp serves %s  (admin: %sadmin/)", url, url)
    server.log.info("%s", _who_needs_a_login())


def _who_needs_a_login() -> str:
    address = callers.gateway()
    if not settings.FLOWER["OPEN_API"]:
        return "register and read need a login (FLOWER_OPEN_API is off)"
    if address is None:
        return "register and read need a login: this container has no network of its own with a gateway"
    return f"register and read need no login on the machine that runs the containers, whose calls come from {address}"
