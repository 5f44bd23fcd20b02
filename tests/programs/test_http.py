"""The HTTP program: which addresses it calls."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2 as httpx
import pytest
from django.conf import settings

from flowerapp.programs.addresses import refusal
from flowerapp.programs.client import HTTPError
from flowerapp.programs.http import http_post_request

PUBLIC = "93.184.215.14"
Connected = list[tuple[str, int]]


class Page(BaseHTTPRequestHandler):
    """Says what it was asked for; ``/away`` redirects to a private address."""

    def do_POST(self) -> None:
        """The header ``Host`` as text."""
        away = self.path == "/away"
        body = self.headers["Host"].encode()
        self.send_response(302 if away else 200)
        if away:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[int]:
    """Port of a server on loopback."""
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give each look-up of any name the next of these answers; literal addresses are their own."""
    real = socket.getaddrinfo

    def give(*answers: list[str]) -> None:
        left = list(answers)

        def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
            if not str(host).endswith(".example"):
                return real(host, port, *args, **options)
            addresses = left.pop(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return give


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name server answers; numbers in any notation and localhost are addresses."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, **options: Any) -> Any:
        flags = 0 if "localhost" in str(host).lower() else socket.AI_NUMERICHOST
        return real(host, port, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch, server: int) -> Connected:
    """The addresses that were connected to; the connection leads to the server, or nowhere for 198.41.0.4."""
    places: Connected = []
    real = socket.create_connection

    def connect(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        places.append(address)
        if address[0] == "198.41.0.4":
            raise ConnectionRefusedError
        return real(("127.0.0.1", server), *args, **options)

    monkeypatch.setattr(socket, "create_connection", connect)
    return places


REFUSED = {
    "this network": ["0.0.0.1", "0.1.2.3"],
    "private": ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1"],
    "loopback": ["127.0.0.1", "127.255.255.254"],
    "shared": ["100.64.0.1", "100.127.255.255", "100.100.100.200"],
    "link-local": ["169.254.169.254"],
    "a cloud's own": ["168.63.129.16"],
    "protocols": ["192.0.0.1", "192.0.0.192", "192.88.99.1"],
    "documentation": ["192.0.2.1", "198.51.100.7", "203.0.113.7", "2001:db8::1", "3fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved and broadcast": ["240.0.0.1", "255.255.255.255"],
    "IPv6's own": ["::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "feff::1", "fc00::1", "fd00:ec2::254"],
    "IPv4-compatible": ["::127.0.0.1", "::10.0.0.1", "::93.184.215.14"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:100.64.0.1"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "64:ff9b:1::7f00:1"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:5db8:d70e::1"],
    "Teredo": ["2001:0:7f00:1::", "2001::1"],
    "no unicast": ["100::1", "5f00::1", "4000::1", "3ffe::1"],
}
ADDRESSES = [address for group in REFUSED.values() for address in group]
ALLOWED = [PUBLIC, "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", f"::ffff:{PUBLIC}", f"64:ff9b::{PUBLIC}"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_are_not_public(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_public_addresses(address: str) -> None:
    assert not refusal(address)


@pytest.mark.parametrize("address", [group[0] for group in REFUSED.values()])
def test_a_name_with_an_address_that_is_not_public(
    names: Callable[..., None], connected: Connected, address: str
) -> None:
    names([PUBLIC, address])
    with pytest.raises(HTTPError, match=r"private address .* add any\.example to"):
        http_post_request("http://any.example/")
    assert connected == []


LOOPBACK = [
    *(
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
    ),
    *("0", "0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[2002:7f00:1::]", "[fe80::1%25lo]", "[fe80::1%lo]", "localhost", "LOCALHOST.", "a@127.0.0.1", "x:y@localhost"),
    *("example.org@127.0.0.1", "example.org\\@127.0.0.1", "①②⑦.⓪.⓪.①", "ⓛocalhost", "127。0。0。1", "localhost\u200b"),
    *("127.0.0.1%00.example", "exa mple", "a..b", "...", "x" * 300, "127.0.0.1\t", "[::1].example", "[vF.1]"),
]


@pytest.mark.usefixtures("no_names")
@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_by_other_names(connected: Connected, host: str) -> None:
    with pytest.raises(HTTPError, match=r"refused: .* is the private address|cannot resolve|not an http or https"):
        http_post_request(f"http://{host}/")
    assert connected == []


def test_a_name_is_resolved_once(names: Callable[..., None], connected: Connected) -> None:
    names([PUBLIC], ["127.0.0.1"])
    answer = http_post_request("http://rebound.example:8080/")
    assert connected == [(PUBLIC, 8080)]
    assert answer == {"status": 200, "body": "rebound.example:8080"}


def test_the_next_address_is_tried(names: Callable[..., None], connected: Connected) -> None:
    names(["198.41.0.4", PUBLIC])
    assert http_post_request("http://two.example/")["body"] == "two.example"
    assert connected == [("198.41.0.4", 80), (PUBLIC, 80)]


def test_the_last_address_cannot_be_connected_to(names: Callable[..., None], connected: Connected) -> None:
    names(["198.41.0.4"])
    with pytest.raises(HTTPError, match="failed: ConnectError"):
        http_post_request("http://one.example/")


def test_a_redirect_is_not_followed(names: Callable[..., None], connected: Connected) -> None:
    names([PUBLIC])
    with pytest.raises(HTTPError, match="answered 302"):
        http_post_request("http://away.example/away")
    assert len(connected) == 1


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"])
def test_a_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, names: Callable[..., None], connected: Connected, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:3128")
    names([PUBLIC])
    assert http_post_request("http://any.example/")["status"] == 200
    assert connected == [(PUBLIC, 80)]
    with pytest.raises(HTTPError, match="private address"):
        http_post_request("http://127.0.0.1:3128/")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://a/",
        "example.org",
        "//a/",
        "http://",
        "",
        "http://a:99999/",
    ],
)
def test_only_http(url: str) -> None:
    with pytest.raises(HTTPError, match="not an http or https address"):
        http_post_request(url)


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.1:{}", "*"])
def test_allowed_hosts(settings: Any, server: int, allowed: str) -> None:
    settings.FLOWER = {"HTTP_ALLOW_PRIVATE": [allowed.format(server)]}
    assert http_post_request(f"http://127.0.0.1:{server}/")["body"] == f"127.0.0.1:{server}"


@pytest.mark.parametrize("allowed", ["[::1]:80", "[::1]", "::1"])
def test_allowed_hosts_of_ipv6(settings: Any, connected: Connected, allowed: str) -> None:
    settings.FLOWER = {"HTTP_ALLOW_PRIVATE": [allowed]}
    assert http_post_request("http://[::1]/")["body"] == "[::1]"


def test_an_allowed_host_allows_no_other(settings: Any, connected: Connected) -> None:
    settings.FLOWER = {"HTTP_ALLOW_PRIVATE": ["127.0.0.1:8000", "localhost", "inner.example"]}
    for url in ("http://127.0.0.1:8001/", "http://127.0.0.2/", "http://127.1/"):
        with pytest.raises(HTTPError, match="refused"):
            http_post_request(url)
    assert connected == []


class Leaky(Page):
    """Answers with an error that quotes the request, and a cookie."""

    def do_POST(self) -> None:
        """What it got."""
        size = int(self.headers["Content-Length"])
        body = (
            "x" * 450 + f"{self.headers['Authorization']} {self.headers['X-Api-Key']} {self.rfile.read(size).decode()}"
        )
        self.send_response(500)
        self.send_header("Set-Cookie", "sid=cookie-4711")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_neither_errors_nor_logs_quote_secrets_of_the_call(
    level: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sesame-4711"
    monkeypatch.setattr(settings, "FLOWER", {"HTTP_ALLOW_PRIVATE": ["127.0.0.1"]})
    caplog.set_level(level)
    with HTTPServer(("127.0.0.1", 0), Leaky) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        url = f"http://bob:{secret}1@127.0.0.1:{server.server_port}/x?token={secret}2"
        with pytest.raises(HTTPError) as error:
            http_post_request(url, {"pwd": f"{secret}3"}, {"X-Api-Key": f"{secret}4"}, 10)
        server.shutdown()
    for text in (str(error.value), caplog.text, str([record.__dict__ for record in caplog.records])):
        assert secret[:5] not in text
        assert "cookie-4711" not in text
    assert "answered 500" in str(error.value)
    with pytest.raises(HTTPError) as error:
        http_post_request(f"ftp://bob:{secret}@h/?token={secret}")
    assert secret not in str(error.value)


def test_the_hosts_own_calls_are_logged(server: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    httpx.post(f"http://127.0.0.1:{server}/")
    assert "HTTP Request" in caplog.text


def test_a_name_without_an_address_is_no_refusal() -> None:
    with pytest.raises(HTTPError, match=r"^POST http://nowhere\.invalid/ failed: cannot resolve nowhere\.invalid: "):
        http_post_request("http://nowhere.invalid/")
