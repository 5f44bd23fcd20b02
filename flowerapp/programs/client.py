"""Calls of other services over HTTP: guarded addresses, one bound on the whole time, and on the size of the answer."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import httpx2 as httpx

from flowerapp.core import masking
from flowerapp.core.masking import NO_SECRETS, Secrets
from flowerapp.exceptions import FlowerError
from flowerapp.programs.addresses import AddressError, GuardedTransport, UnresolvedError
from flowerapp.programs.deadline import Sockets, within

CONNECT_SECONDS = 10.0
"""Longest time to connect, if the timeout of the call is not shorter."""
SHOWN = 500
"""Most characters of an error response that the error message quotes."""
MOST_BYTES = 1024 * 1024
"""Size of the largest response, packed and unpacked."""
_ANY_HEADER = 47
"""For zlib: gzip or zlib, as the first bytes say."""
LARGEST_PORT = 65535


class HTTPError(FlowerError):
    """The HTTP call failed."""

    code = "http"


class UnreachableError(HTTPError):
    """The HTTP call got no answer: the network failed, or the time was over."""

    code = "unreachable"


class Request(NamedTuple):
    """A call."""

    method: str
    url: str
    content: bytes | None
    """The body; None sends none."""
    headers: Mapping[str, str]
    timeout: float
    """Seconds for the whole call."""
    secrets: Secrets = NO_SECRETS
    """What errors must not quote."""
    advice: str = ""
    """What to do where the time is over."""
    takes_errors: bool = False
    """Whether an answer with an error status is an answer, and not raised."""

    def masked(self, text: str) -> str:
        """A text without the secrets of the call."""
        return str(masking.masked(text, self.secrets))

    def error(self, problem: str, kind: type[HTTPError] = HTTPError) -> HTTPError:
        """The error of the call, which quotes none of its secrets."""
        return kind(self.masked(f"{self.method} {self.url} {problem}"))


class Response(NamedTuple):
    """An answer; its status is a success, unless the request takes errors."""

    status: int
    content_type: str
    """As it was sent, in lower case and without what follows a semicolon; empty if none was."""
    text: str
    """The body; characters that cannot be stored are replaced."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 200 to 299."""
        return httpx.codes.is_success(self.status)


def with_defaults(headers: Mapping[str, str], **defaults: str) -> dict[str, str]:
    """Headers, and those of ``defaults`` that are not among them, in whatever case; ``_`` stands for a hyphen."""
    names = {name.lower() for name in headers}
    named = {name.replace("_", "-"): value for name, value in defaults.items()}
    return {**{name: value for name, value in named.items() if name.lower() not in names}, **headers}


def call(request: Request) -> Response:
    """The answer to a call; raises HTTPError for every error, an error status included unless the request takes it.

    UnreachableError is raised where no answer came, so that another try may help.
    """
    try:
        return within(request.timeout, lambda sockets: _call(request, sockets))  # type: ignore[no-any-return]
    except TimeoutError:
        problem = f"failed: no whole answer within {request.timeout:g} s{request.advice}"
        raise request.error(problem, UnreachableError) from None
    except UnresolvedError as error:
        raise request.error(f"failed: {error}", UnreachableError) from error
    except AddressError as error:
        raise request.error(f"refused: {error}") from error
    except UnicodeEncodeError as error:
        raise request.error(f"failed: a header holds {error.object[error.start]!r}; headers are ASCII") from None
    except httpx.HTTPError as error:
        kind = UnreachableError if isinstance(error, _UNREACHABLE) else HTTPError
        raise request.error(f"failed: {type(error).__name__}: {error}", kind) from error


_UNREACHABLE = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
"""Errors of the client that another try may not meet."""


class _Silence:
    """Drops what the client would log: URLs, headers of responses."""

    def __init__(self) -> None:
        self._here = ContextVar("here", default=False)
        for name in ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
            logging.getLogger(name).addFilter(lambda _: not self._here.get())

    @contextmanager
    def __call__(self) -> Iterator[None]:
        token = self._here.set(True)
        try:
            yield
        finally:
            self._here.reset(token)


_silence = _Silence()


def _call(request: Request, sockets: Sockets) -> Response:
    target = parsed(request.url)
    sent = with_defaults(request.headers, Accept_Encoding="gzip")
    limits = httpx.Timeout(request.timeout, connect=min(CONNECT_SECONDS, request.timeout))
    traced = {"trace": partial(_note_socket, sockets)}
    with (
        _silence(),
        httpx.Client(timeout=limits, follow_redirects=False, trust_env=False, transport=GuardedTransport()) as client,
        client.stream(request.method, target, content=request.content, headers=sent, extensions=traced) as response,
    ):
        received = _unpacked(response, _read(response))
    text = _decoded(response, received)
    if not (response.is_success or request.takes_errors):
        shown = request.masked(text)[:SHOWN]
        raise request.error(f"answered {response.status_code} {response.reason_phrase}: {shown}")
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Response(response.status_code, content_type, text)


def _decoded(response: Any, received: bytes) -> str:
    """The text of a body; a mark of its byte order is none of it."""
    try:
        text = received.decode(response.encoding or "utf-8", "replace")
    except (LookupError, UnicodeError):
        raise HTTPError(f"the response of {_address(response)} has a character set that is not known") from None
    return text.removeprefix("\ufeff").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _note_socket(sockets: Sockets, event: str, info: dict[str, Any]) -> None:
    if event == "connection.connect_tcp.complete":
        sockets.add(info["return_value"].get_extra_info("socket"))


def _read(response: Any) -> bytes:
    """The body as it was sent."""
    received = bytearray()
    for chunk in response.iter_raw():
        received += chunk
        if len(received) > MOST_BYTES:
            raise _too_large(response)
    return bytes(received)


def _unpacked(response: Any, received: bytes) -> bytes:
    """The body as it was before it was packed; no more is unpacked than may be returned."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return received
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise HTTPError(
            f"the response of {_address(response)} is packed as {encoding[:100]!r}, which was not asked for"
        )
    try:
        body = zlib.decompressobj(_ANY_HEADER).decompress(received, MOST_BYTES + 1)
    except zlib.error as error:
        raise HTTPError(f"the response of {_address(response)} is not {encoding}: {error}") from error
    if len(body) > MOST_BYTES:
        raise _too_large(response)
    return body


def _too_large(response: Any) -> HTTPError:
    return HTTPError(f"the response of {_address(response)} is over {MOST_BYTES:,} bytes")


def _address(response: Any) -> str:
    return str(masking.masked(str(response.url)))


def parsed(url: str) -> httpx.URL:
    """The URL as the client reads it; raises HTTPError for one that is not http or https."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise HTTPError(f"URL {masking.masked(url)!r} is not an http or https address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 0) > LARGEST_PORT:
        raise HTTPError(f"URL {masking.masked(url)!r} is not an http or https address")
    return parsed
