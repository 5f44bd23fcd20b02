"""The echo page: it returns what was posted to it, so that the workflow ``example`` needs no internet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

PATH = "/echo"
MOST_BYTES = 1024 * 1024
"""Size of the largest request body."""

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class EchoPage:
    """WSGI middleware: serves the echo page to callers that are near; ``application`` handles all other requests."""

    def __init__(self, application: Application, is_near: Callable[[str], bool]) -> None:
        """``is_near`` says whether the caller on an address may use the page."""
        self.application = application
        self.is_near = is_near

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        if environ.get("PATH_INFO") != PATH or not self.is_near(environ.get("REMOTE_ADDR", "")):
            return self.application(environ, start_response)
        status, content = self._answer(environ)
        body = json.dumps(content).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, environ: Environ) -> tuple[str, dict[str, Any]]:
        if environ["REQUEST_METHOD"] != "POST":
            return "405 Method Not Allowed", {"detail": "the echo page answers POST only"}
        header = environ.get("CONTENT_LENGTH") or "0"
        if not (header.isascii() and header.isdigit() and len(header) < 20):
            return "400 Bad Request", {"detail": "Content-Length is not a number"}
        length = int(header)
        if length > MOST_BYTES:
            return "413 Content Too Large", {"detail": f"the echo page takes {MOST_BYTES:,} bytes at most"}
        text = environ["wsgi.input"].read(length).decode("utf-8", "replace")
        return "200 OK", {"data": text, "json": _json(text), "headers": _headers(environ), "url": _url(environ)}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _headers(environ: Environ) -> dict[str, str]:
    sent = {name[5:]: value for name, value in environ.items() if name.startswith("HTTP_")}
    own = {name: environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
    return {name.lower().replace("_", "-"): value for name, value in sorted({**sent, **own}.items())}


def _url(environ: Environ) -> str:
    return f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', environ['SERVER_NAME'])}{PATH}"
