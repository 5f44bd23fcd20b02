"""The web server of a standalone server: Django's threaded one, in threads of this process, with little logging."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

from flowerapp.core import logs
from flowerapp.standalone.charset import TextCharsets
from flowerapp.standalone.echo import PATH, EchoPage

logger = logs.logger(__name__)

WHITENOISE = "whitenoise.middleware.WhiteNoiseMiddleware"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``, a name or an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Handler(WSGIRequestHandler):
    timeout = 60

    def log_message(self, *_: Any) -> None:
        """Log nothing; Django logs errors."""


class _Server(ThreadedWSGIServer):
    def server_bind(self) -> None:
        """Bind without looking up this machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
        """Log an error of a connection, such as a caller that closed it, for debugging only."""
        logger.debug("a connection broke: %r", sys.exc_info()[1])


class WebServer:
    """A server that is bound when it is created and serves after ``start``."""

    def __init__(self, host: str, port: int) -> None:
        """Bind to ``host``, a name or an address; raises OSError if that fails, and OverflowError for a bad port."""
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._server = _Server(address[:2], _Handler, ipv6=family == socket.AF_INET6)
        self.host = str(address[0])
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[0.1], name="flowerapp-web", daemon=True
        )

    @property
    def own_host(self) -> str:
        """The address under which this machine reaches the server."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound

    @property
    def place(self) -> str:
        """``host:port`` under which this machine reaches the server."""
        return f"[{self.own_host}]:{self.port}" if ":" in self.own_host else f"{self.own_host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the first page."""
        return f"http://{self.place}/"

    @property
    def echo_url(self) -> str:
        """The URL of the echo page."""
        return f"http://{self.place}{PATH}"

    def start(self) -> None:
        """Serve in a thread, with a further thread for each request."""
        if settings.STATIC_ROOT and not Path(settings.STATIC_ROOT).is_dir():
            settings.STATIC_ROOT = None
        application: Any = get_wsgi_application()
        if WHITENOISE not in settings.MIDDLEWARE:
            application = StaticFilesHandler(application)
        near = {"127.0.0.1", "::1", "::ffff:127.0.0.1", self.own_host}
        self._server.set_app(EchoPage(TextCharsets(application), near.__contains__))
        self._thread.start()

    def stop(self) -> None:
        """Accept no more requests."""
        if self._thread.is_alive():
            self._server.shutdown()
        socketserver.TCPServer.server_close(self._server)
