"""The open API: which callers it is open to, as far as a server can see where they come from."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.test import RequestFactory
from rest_framework.test import APIClient

from flowerapp.api import loopback
from flowerapp.checks import check_open_api, check_open_api_deployed
from flowerapp.models import Flow

pytestmark = pytest.mark.django_db

OF_PROXIES = [
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix"),
    *("X-Forwarded-Server", "X-Forwarded-Client-Cert", "X-Forwarded", "Forwarded", "Forwarded-For", "Via"),
    *("X-Real-IP", "X-Client-IP", "Client-IP", "True-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP"),
    *("Fly-Client-IP", "CF-Connecting-IP", "CF-Ray", "CF-Visitor", "CDN-Loop", "X-Envoy-External-Address"),
    *("X-Envoy-Original-Path", "X-Amzn-Trace-Id", "X-Amz-Cf-Id", "X-Original-URL", "X-Original-For", "X-Original-Host"),
    *("X-Rewrite-URL", "X-ARR-LOG-ID", "X-ARR-SSL", "X-Azure-ClientIP", "X-Appengine-User-IP", "X-ProxyUser-Ip"),
    *("Proxy-Client-IP", "WL-Proxy-Client-IP", "X-Varnish", "Surrogate-Capability", "Max-Forwards", "X-Request-Start"),
    *("X-Scheme", "X-Nginx-Proxy", "X-Vercel-Id", "X-NF-Request-ID", "Tailscale-User-Login", "Proxy-Connection"),
]
OF_CALLERS = ["User-Agent", "Accept", "Accept-Encoding", "Connection", "X-Request-ID", "Traceparent", "Idempotency-Key"]


@pytest.fixture
def caller(settings: Any, workflow: Callable[..., str]) -> APIClient:
    """A caller on this machine, where the API is open."""
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    workflow("etl", {"program": "Return"})
    return APIClient(REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")


def is_refused(caller: APIClient, **extra: Any) -> str:
    """The sentence with which reading and registering are refused; empty if they are not."""
    answers = [caller.get("/api/flows/", **extra), caller.post("/register/etl", **extra)]
    if {answer.status_code for answer in answers} == {200}:
        return ""
    assert {answer.status_code for answer in answers} == {403}
    assert not Flow.objects.exists()
    return str(answers[0].json()["detail"])


@pytest.mark.parametrize("name", OF_PROXIES)
def test_headers_of_proxies(caller: APIClient, name: str) -> None:
    assert "through a proxy" in is_refused(caller, headers={name: "127.0.0.1"})


@pytest.mark.parametrize("name", OF_CALLERS)
def test_headers_of_callers(caller: APIClient, name: str) -> None:
    assert not is_refused(caller, headers={name: "close"})


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9"])
def test_the_protocol_that_nginx_speaks_unless_it_is_configured(caller: APIClient, version: str) -> None:
    proxied = {"SERVER_PROTOCOL": version, "HTTP_CONNECTION": "close", "HTTP_HOST": "127.0.0.1:8000"}
    assert "through a proxy" in is_refused(caller, **proxied)
    assert not is_refused(caller, **proxied | {"SERVER_PROTOCOL": "HTTP/1.1"})


@pytest.mark.parametrize(("version", "sentence"), [("1.0", "through a proxy"), ("1.1", ""), ("2", "")])
def test_the_protocol_of_asgi(settings: Any, version: str, sentence: str) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    scope = {"type": "http", "method": "GET", "path": "/api/flows/", "query_string": b"", "http_version": version}
    scope |= {"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    refusal = loopback.refusal(ASGIRequest(scope, BytesIO()))
    assert sentence in refusal
    assert bool(refusal) == bool(sentence)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECURE_PROXY_SSL_HEADER", ("HTTP_X_FORWARDED_PROTO", "https")),
        ("USE_X_FORWARDED_HOST", True),
        ("USE_X_FORWARDED_PORT", True),
        ("CSRF_TRUSTED_ORIGINS", ["https://flower.example"]),
        ("CSRF_TRUSTED_ORIGINS", ["http://localhost:8000", "https://*.example"]),
    ],
)
def test_settings_that_speak_of_a_proxy(caller: APIClient, settings: Any, name: str, value: Any) -> None:
    setattr(settings, name, value)
    assert name in is_refused(caller)
    (warning,) = check_open_api()
    assert warning.id == "flowerapp.W021"
    assert name in warning.msg


def test_settings_that_do_not(caller: APIClient, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000"]
    assert not is_refused(caller)
    assert check_open_api() == []
    (warning,) = check_open_api_deployed()
    assert warning.id == "flowerapp.W022"
    settings.FLOWER = {}
    assert check_open_api_deployed() == []


@pytest.mark.parametrize(
    "referer", ["https://elsewhere.example/page", "http://localhost.example/", "http://localhost:3000/"]
)
def test_pages_of_other_places(caller: APIClient, referer: str) -> None:
    assert "another origin" in is_refused(caller, HTTP_REFERER=referer)


def test_pages_of_this_place(caller: APIClient) -> None:
    assert not is_refused(caller, HTTP_REFERER="http://localhost/api/docs/", HTTP_ORIGIN="http://localhost")


@pytest.mark.parametrize("clients", [["nowhere"], ["10.0.0.0/99"], [""]])
def test_clients_that_are_no_addresses(caller: APIClient, settings: Any, clients: list[str]) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API_CLIENTS": clients}
    assert "this machine only" in is_refused(caller, REMOTE_ADDR="10.0.0.1")
    (error,) = check_open_api()
    assert error.id == "flowerapp.E021"


@pytest.mark.parametrize("clients", [["10.0.0.1"], ["10.0.0.0/24"], [" 10.0.0.7/24 "], ["nowhere", "10.0.0.1"]])
def test_clients_that_count_as_this_machine(caller: APIClient, settings: Any, clients: list[str]) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API_CLIENTS": clients}
    assert not is_refused(caller, REMOTE_ADDR="10.0.0.1")
    assert not is_refused(caller, REMOTE_ADDR="::ffff:10.0.0.1")


def test_a_users_own_request_is_not_looked_at(client_with: Callable[..., APIClient], caller: APIClient) -> None:
    client = client_with("view_flow")
    assert client.get("/api/flows/", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200


def test_what_cannot_be_seen() -> None:
    request = RequestFactory(REMOTE_ADDR="127.0.0.1").get("/api/flows/", headers={"host": "127.0.0.1:8000"})
    assert loopback.refusal(request) == "", (
        "a proxy that adds nothing, speaks HTTP/1.1 and changes Host; docs/security.md"
    )
