"""The HTTP program: a call ends in time, and its answer is bounded, whatever the server does."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from flowerapp.programs import http
from flowerapp.programs.client import MOST_BYTES, HTTPError
from tests.services import until

TIMEOUT = 0.5
MARGIN = 10.0
"""Seconds by which a call may be late on a busy machine; the servers here take far longer."""
PAUSE = 0.05

Behavior = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def local(settings: Any) -> None:
    """Calls to this machine are allowed."""
    settings.FLOWER = {"HTTP_ALLOW_PRIVATE": ["*"]}


class Server:
    """Answers one connection as ``behavior`` does, and notes when the client has closed it."""

    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.left = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with closing(connection):
            try:
                self._behavior(connection)
            except OSError:
                self.left.set()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Behavior], Server]]:
    """Start servers that end with the test."""
    servers: list[Server] = []

    def start(behavior: Behavior) -> Server:
        servers.append(Server(behavior))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def read_request(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := connection.recv(65536)):
            raise ConnectionResetError  # the client was too late to ask
        received += piece


def _drip(connection: socket.socket, piece: bytes, times: int = 2400) -> None:
    """Send a piece twenty times a second until the client leaves, by default for two minutes."""
    for _ in range(times):
        connection.sendall(piece)
        time.sleep(PAUSE)


def dripping(head: bytes, piece: bytes = b"x") -> Behavior:
    """Answers ``head``, then pieces without an end."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 " + head)
        _drip(connection, piece)

    return serve


def drip_interim(connection: socket.socket) -> None:
    """One interim response after the other."""
    read_request(connection)
    _drip(connection, b"HTTP/1.1 102 Processing\r\n\r\n")


def drip_packed(connection: socket.socket) -> None:
    """A packed body, byte by byte."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000000\r\n\r\n")
    for byte in gzip.compress(b"x" * 10_000):
        _drip(connection, bytes([byte]), times=1)
    _drip(connection, b"x")


def silent(connection: socket.socket) -> None:
    """No answer."""
    read_request(connection)
    while connection.recv(65536):
        pass
    raise ConnectionResetError


def deaf(connection: socket.socket) -> None:
    """The request is read byte by byte."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    for _ in range(2400):
        if not connection.recv(1):
            raise ConnectionResetError
        time.sleep(PAUSE)


def _timed_call(url: str, **parameters: Any) -> tuple[float, str]:
    began = time.monotonic()
    with pytest.raises(HTTPError) as caught:
        http.http_post_request(url, timeout=TIMEOUT, **parameters)
    return time.monotonic() - began, str(caught.value)


@pytest.mark.parametrize(
    "behavior",
    [
        pytest.param(dripping(b"200 OK\r\nX: "), id="a header line that does not end"),
        pytest.param(dripping(b"200 OK\r\nContent-Length: 1000000\r\n\r\n"), id="a body byte by byte"),
        pytest.param(
            dripping(b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="chunks without an end"
        ),
        pytest.param(dripping(b"500 No\r\nContent-Length: 1000000\r\n\r\n"), id="an error whose body does not end"),
        drip_interim,
        drip_packed,
        silent,
    ],
)
def test_a_server_that_takes_its_time_is_left_in_time(serve: Callable[[Behavior], Server], behavior: Behavior) -> None:
    server = serve(behavior)
    before = set(threading.enumerate())
    seconds, message = _timed_call(f"http://{server.address}/")
    assert seconds < MARGIN
    assert "no whole answer within 0.5 s; raise TIMEOUT" in message or "Timeout" in message
    until(lambda: not set(threading.enumerate()) - before)
    until(server.left.is_set)


def test_a_server_that_hardly_reads_is_left_in_time(serve: Callable[[Behavior], Server]) -> None:
    seconds, _ = _timed_call(f"http://{serve(deaf).address}/", body="x" * 10_000_000)
    assert seconds < MARGIN


def test_a_tls_handshake_is_part_of_the_call(serve: Callable[[Behavior], Server]) -> None:
    server = serve(lambda connection: _drip(connection, b"\x16"))
    seconds, _ = _timed_call(f"https://{server.address}/")
    assert seconds < MARGIN


def test_the_look_up_of_a_name_is_part_of_the_call(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.FLOWER = {"HTTP_ALLOW_PRIVATE": []}
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60) and [])
    seconds, message = _timed_call("http://example.org/")
    answered.set()
    assert seconds < MARGIN
    assert "no whole answer within 0.5 s" in message


def test_an_answer_in_time_is_taken(serve: Callable[[Behavior], Server]) -> None:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        for byte in b"{}":
            _drip(connection, bytes([byte]), times=1)

    assert http.http_post_request(f"http://{serve(answer).address}/", timeout=30) == {"status": 200, "body": {}}


def _answering(headers: bytes, body: bytes) -> Behavior:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return answer


def test_packed_answers_are_unpacked(serve: Callable[[Behavior], Server]) -> None:
    for encoding, pack in ((b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"identity", bytes)):
        server = serve(_answering(b"Content-Encoding: " + encoding + b"\r\n", pack(b'{"a": 1}')))
        assert http.http_post_request(f"http://{server.address}/")["body"] == {"a": 1}


TOO_LARGE = {
    "plain": _answering(b"", b"x" * (MOST_BYTES + 1)),
    "packed": _answering(b"Content-Encoding: gzip\r\n", gzip.compress(b"x" * (MOST_BYTES + 1))),
    "packed a thousandfold": _answering(b"Content-Encoding: gzip\r\n", gzip.compress(b"x" * 500_000_000, 1)),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_a_large_answer_is_refused(serve: Callable[[Behavior], Server], kind: str) -> None:
    with pytest.raises(HTTPError, match="over 1,048,576 bytes"):
        http.http_post_request(f"http://{serve(TOO_LARGE[kind]).address}/")


def test_an_answer_as_large_as_allowed_is_taken(serve: Callable[[Behavior], Server]) -> None:
    server = serve(_answering(b"Content-Encoding: gzip\r\n", gzip.compress(b"x" * MOST_BYTES)))
    assert len(http.http_post_request(f"http://{server.address}/")["body"]) == MOST_BYTES


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "x" * 1000])
def test_an_answer_packed_otherwise_is_refused(serve: Callable[[Behavior], Server], encoding: str) -> None:
    server = serve(_answering(b"Content-Encoding: " + encoding.encode() + b"\r\n", gzip.compress(gzip.compress(b"x"))))
    with pytest.raises(HTTPError, match="which was not asked for"):
        http.http_post_request(f"http://{server.address}/")


def test_an_answer_nested_without_end_is_text(serve: Callable[[Behavior], Server]) -> None:
    server = serve(_answering(b"", b"[" * 500_000))
    assert http.http_post_request(f"http://{server.address}/")["body"] == "[" * 500_000


def test_redirects_are_not_followed(serve: Callable[[Behavior], Server]) -> None:
    def redirect(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(HTTPError, match="answered 302 Found"):
        http.http_post_request(f"http://{serve(redirect).address}/")
