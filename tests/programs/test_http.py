"""The HTTP program: which addresses it calls."""

from __future__ import annotations

import socket

import pytest

from flowerapp.programs.http import HTTPError, pinned


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that every name has, for the test to fill."""
    addresses: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return addresses


def test_it_connects_to_the_address_that_was_looked_at(name_server: list[str]) -> None:
    name_server.append("93.184.215.14")
    assert pinned("http://example.org:8080/post?a=1") == ("http://93.184.215.14:8080/post?a=1", "example.org:8080")
    assert pinned("https://ann:pw@example.org/") == ("https://ann:pw@93.184.215.14:443/", "example.org")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "::1", "fe80::1%eth0"])
def test_private_addresses_are_refused(name_server: list[str], address: str) -> None:
    name_server.extend(["93.184.215.14", address])
    with pytest.raises(HTTPError, match="private address"):
        pinned("http://example.org/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/", "example.org", "http://"])
def test_only_http(url: str) -> None:
    with pytest.raises(HTTPError, match="not an http or https address"):
        pinned(url)


def test_allowed_hosts_are_called_by_name(settings: pytest.FixtureRequest) -> None:
    settings.FLOWER = {"HTTP_ALLOW_PRIVATE": ["localhost:8000"]}  # type: ignore[attr-defined]
    assert pinned("http://localhost:8000/echo") == ("http://localhost:8000/echo", "localhost:8000")
