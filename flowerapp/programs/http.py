"""The program that calls another service over HTTP."""

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
"""Longest time to connect, if TIMEOUT is not shorter."""
SHOWN = 500
"""Most characters of an error response that the error message quotes."""
MOST_BYTES = 1024 * 1024
"""Size of the largest response."""


class HTTPError(FlowerError):
    """The HTTP call failed."""

    code = "http"


@program("HTTPPostRequest")
def http_post_request(
    url: Annotated[str, Field(alias="URL", description="The http or https URL.")],
    body: Annotated[Any, Field(alias="BODY", description="Text is sent unchanged, any other value as JSON.")] = "",
    headers: Annotated[dict[str, str], Field(alias="HEADERS", description="Request headers.")] = {},  # noqa: B006 - never changed
    timeout: Annotated[
        float, Field(alias="TIMEOUT", gt=0, le=3600, description="Seconds to wait for the response.")
    ] = 60,
) -> dict[str, Any]:
    """POST BODY to URL and return status and body of the response; an error status fails the task."""
    address, host = pinned(url)
    content = body if isinstance(body, str) else json.dumps(body)
    sent = {"Host": host, "Content-Type": "application/json"} | headers
    server_name = {"sni_hostname": urlsplit(url).hostname}
    limits = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    try:
        with (
            httpx.Client(timeout=limits, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", address, content=content.encode(), headers=sent, extensions=server_name) as response,
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
    """The URL with its host replaced by the address that it resolves to, and the value of the ``Host`` header.

    The host name is resolved once, so a name server cannot pass the check with one address and then lead the connection
    to another. Raises HTTPError for a URL that is not http or https, for a host that cannot be resolved, and for an
    address that is not public unless ``FLOWER["HTTP_ALLOW_PRIVATE"]`` names its host.
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
        addresses = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HTTPError(f"POST {url} failed: cannot resolve {parts.hostname}: {error}") from error
    _refuse_private(url, parts.hostname, [str(address[0]) for *_, address in addresses])
    address = str(addresses[0][4][0])
    literal = f"[{address}]" if ":" in address else address
    login = parts.netloc[: -len(host)]
    return parts._replace(netloc=f"{login}{literal}:{port}").geturl(), host


def _refuse_private(url: str, hostname: str, addresses: list[str]) -> None:
    for address in addresses:
        if not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise HTTPError(
                f"POST {url} refused: {hostname} is the private address {address}; "
                f"add it to FLOWER['HTTP_ALLOW_PRIVATE'] to allow it"
            )
