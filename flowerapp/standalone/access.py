"""Who may call a standalone server: the settings that depend on the address that it listens on."""

from __future__ import annotations

import os

from django.conf import settings

from flowerapp import conf
from flowerapp.standalone.server import WebServer, is_loopback

CLOSED = ("", "0", "false", "no", "off")
"""Values of the environment variable FLOWER_OPEN_API that turn OPEN_API off on loopback; it is on by default there."""


def allow_callers(server: WebServer, host: str) -> None:
    """Set ``FLOWER["OPEN_API"]``, ``FLOWER["HTTP_ALLOW_PRIVATE"]`` and ALLOWED_HOSTS of this process for a server.

    A server on loopback lets callers register and read without a login. The program HTTPPostRequest may call the
    server's echo page. ``host`` is the name or address that the user told the server to listen on.
    """
    loopback = is_loopback(server.host)
    flower = dict(conf.raw())
    flower["OPEN_API"] = loopback and os.environ.get("FLOWER_OPEN_API", "1").lower() not in CLOSED
    flower["HTTP_ALLOW_PRIVATE"] = [*flower.get("HTTP_ALLOW_PRIVATE", ()), server.place]
    settings.FLOWER = flower
    names = {"localhost", "127.0.0.1", "[::1]"} if loopback else {server.place.rpartition(":")[0], host}
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, *sorted(names - set(settings.ALLOWED_HOSTS))]
