"""HTTP calls to other services."""

from __future__ import annotations

import ipaddress
import json
import socket
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2 as httpx
from pydantic import Field

from flowerapp import conf
from flowerapp.exceptions import FlowerError
from flowerapp.registry import program

CONNECT_SECONDS = 10.0
SHOWN = 500
"""Characters of an error response that go into the message."""
MOST_BYTES = 1024 * 1024


class HTTPError(FlowerError):
    """The HTTP call did not succeed."""

    code = "http"


@program("HTTPPostRequest")
def http_post_request(
    url: Annotated[str, Field(alias="URL", description="http or https address.")],
    body: Annotated[Any, Field(alias="BODY", description="Text is sent as it is, anything else as JSON.")] = "",
    headers: Annotated[dict[str, str], Field(alias="HEADERS", description="Request headers.")] = {},  # noqa: B006 - never changed
    timeout: Annotated[
        float, Field(alias="TIMEOUT", gt=0, le=3600, description="Seconds to wait for the answer.")
    ] = 60,
) -> dict[str, Any]:
    """POST BODY to URL; the response is the output, and an error status fails the task."""
    address, host = pinned(url)
    content = body if isinstance(body, str) else json.dumps(body)
    sent = {"Host": host, "Content-Type": "application/json"} | headers
    name = {"sni_hostname": urlsplit(url).hostname}
    limits = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    try:
        with (
            httpx.Client(timeout=limits, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", address, content=content.encode(), headers=sent, extensions=name) as response,
        ):
            received = _read(response)
    except httpx.HTTPError as error:
        raise HTTPError(f"POST {url} failed: {type(error).__name__}: {error}") from error
    text = received.decode(response.encoding or "utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    if not response.is_success:
        raise HTTPError(f"POST {url} answered {response.status_code} {response.reason_phrase}: {text[:SHOWN]}")
    return {"status": response.status_code, "body": _json_or_text(text)}


def _read(response: Any) -> bytes:
    received = b""
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > MOST_BYTES:
            raise HTTPError(f"the response of {response.url} is over {MOST_BYTES:,} bytes")
    return received


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def pinned(url: str) -> tuple[str, str]:
    """The URL with its host's address in place of the name, and the ``Host`` header.

    Connecting to the address that was looked at leaves a name server no second say. Raises HTTPError for an address
    that is not public, unless FLOWER['HTTP_ALLOW_PRIVATE'] names its host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HTTPError(f"URL {url!r} is not an http or https address")
    allowed = conf.get().HTTP_ALLOW_PRIVATE
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.netloc.rpartition("@")[2]
    if {"*", parts.hostname, f"{parts.hostname}:{port}"} & set(allowed):
        return url, host
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HTTPError(f"POST {url} failed: cannot resolve {parts.hostname}: {error}") from error
    for *_, address in found:
        if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global:
            raise HTTPError(
                f"POST {url} refused: {parts.hostname} is the private address {address[0]}; "
                f"add it to FLOWER['HTTP_ALLOW_PRIVATE'] to allow it"
            )
    first = str(found[0][4][0])
    login = parts.netloc[: -len(host)]
    literal = f"[{first}]" if ":" in first else first
    return parts._replace(netloc=f"{login}{literal}:{port}").geturl(), host
