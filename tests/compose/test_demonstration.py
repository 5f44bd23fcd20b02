"""What the demonstration has beyond the reference project, without containers."""

from __future__ import annotations

import logging
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.db import OperationalError, connection
from django.test import Client
from rest_framework.test import APIClient

from flowerapp import conf
from flowerapp.models import TaskDefinition
from project import server
from project.demonstration import callers, prepare
from project.demonstration import server as demonstration_server


def _route(destination: str, gateway: str, flags: str, mask: str) -> str:
    """A line of ``/proc/net/route``."""
    addresses = (int.from_bytes(IPv4Address(text).packed, sys.byteorder) for text in (destination, gateway, mask))
    first, second, third = (f"{number:08X}" for number in addresses)
    return f"eth0\t{first}\t{second}\t{flags}\t0\t0\t0\t{third}\t0\t0\t0\n"


GATEWAY = "172.18.0.1"
HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
OWN = _route("172.18.0.0", "0.0.0.0", "0001", "255.255.0.0")  # noqa: S104 - no address to listen on
DEFAULT = _route("0.0.0.0", GATEWAY, "0003", "0.0.0.0")  # noqa: S104
PUBLIC = _route("0.0.0.0", "8.8.8.8", "0003", "0.0.0.0")  # noqa: S104


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the routes of a container, and the ends of its interface: ``network(routes, own, other)``."""

    def make(routes: str, own: str = "14", other: str = "15") -> None:
        (tmp_path / "eth0").mkdir()
        (tmp_path / "eth0" / "ifindex").write_text(f"{own}\n")
        (tmp_path / "eth0" / "iflink").write_text(f"{other}\n")
        (tmp_path / "route").write_text(routes)
        monkeypatch.setattr(callers, "ROUTES", tmp_path / "route")
        monkeypatch.setattr(callers, "INTERFACES", tmp_path)

    return make


# Who calls


@pytest.mark.parametrize(
    ("routes", "ends", "address"),
    [
        (HEAD + DEFAULT + OWN, ("14", "15"), GATEWAY),
        (HEAD + OWN + DEFAULT, ("14", "15"), GATEWAY),
        (HEAD + DEFAULT + OWN, ("2", "2"), None),
        (HEAD + PUBLIC, ("14", "15"), None),
        (HEAD + OWN, ("14", "15"), None),
        (HEAD, ("14", "15"), None),
        ("", ("14", "15"), None),
    ],
)
def test_the_gateway_counts_only_in_a_network_of_the_containers_own(
    network: Any, routes: str, ends: tuple[str, str], address: str | None
) -> None:
    network(routes, *ends)
    assert callers.gateway() == address


def test_where_no_route_can_be_read_there_is_no_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "ROUTES", tmp_path / "nothing")
    assert callers.gateway() is None


@pytest.mark.django_db
def test_only_the_gateway_is_let_through_the_open_door(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "gateway", lambda: GATEWAY)
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    callers.open_to_machine()
    answers = {
        address: APIClient(REMOTE_ADDR=address, SERVER_NAME="localhost").get("/api/flows/").status_code
        for address in ("127.0.0.1", GATEWAY, "172.18.0.4", "172.17.0.1", "192.0.2.1")
    }
    assert answers == {"127.0.0.1": 200, GATEWAY: 200, "172.18.0.4": 403, "172.17.0.1": 403, "192.0.2.1": 403}


def test_a_closed_door_stays_closed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "gateway", lambda: GATEWAY)
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": False}
    callers.open_to_machine()
    assert not conf.get().OPEN_API_CLIENTS
    assert "need a login (FLOWER_OPEN_API is off)" in demonstration_server._who_needs_a_login()


def test_the_log_says_who_needs_no_login(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    monkeypatch.setattr(callers, "gateway", lambda: GATEWAY)
    assert GATEWAY in demonstration_server._who_needs_a_login()
    monkeypatch.setattr(callers, "gateway", lambda: None)
    assert "need a login: this container has no network" in demonstration_server._who_needs_a_login()


@pytest.mark.parametrize(
    ("address", "near"),
    [("172.18.0.4", True), ("127.0.0.1", True), ("fd00::4", True), ("8.8.8.8", False), ("", False), ("x", False)],
)
def test_the_echo_page_answers_the_stack_alone(address: str, near: bool) -> None:
    assert callers.is_near(address) is near


def test_an_ordinary_host_has_no_echo_page(client: Client) -> None:
    assert client.post("/echo", b"{}", content_type="application/json").status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "logged"),
    [("/readyz", "200", False), ("/livez", "200", False), ("/readyz", "503", True), ("/api/flows/", "200", True)],
)
def test_the_access_log_leaves_out_health_that_is_good(path: str, status: str, logged: bool) -> None:
    record = logging.makeLogRecord({"args": {"U": path, "s": status}})
    assert server._is_worth_logging(record) is logged


# The database


@pytest.fixture
def prepared(db: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Prepare the database, and return what was said: ``prepared(password)``."""

    def run(password: str = "") -> str:
        monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", password)
        monkeypatch.setenv("FLOWER_PORT", "8123")
        assert prepare.main() == 0
        return capsys.readouterr().out

    return run


def test_the_password_of_the_admin_is_said_once(prepared: Any) -> None:
    password = prepared().partition("as admin with password ")[2].split()[0]
    assert authenticate(username="admin", password=password) is not None
    again = prepared("another")
    assert password not in again
    assert "DJANGO_SUPERUSER_PASSWORD changes no password that exists" in again
    assert "http://localhost:8123/admin/" in again
    assert get_user_model().objects.count() == 1
    assert authenticate(username="admin", password=password) is not None


def test_a_password_from_the_environment_is_used_and_not_said(prepared: Any) -> None:
    said = prepared("p@ss/w#rd%1")
    assert "p@ss/w#rd%1" not in said
    assert "DJANGO_SUPERUSER_PASSWORD" in said
    assert authenticate(username="admin", password="p@ss/w#rd%1") is not None


def test_the_workflows_are_made_once_and_kept_as_users_change_them(prepared: Any) -> None:
    prepared()
    url = TaskDefinition.objects.filter(task_id="example", param1_key="URL")
    assert url.get().param1_value == "http://web:8000/echo"
    url.update(param1_value="https://example.org/post")
    TaskDefinition.objects.filter(task_id="sample").update(task_priority=3)
    prepared()
    assert url.get().param1_value == "https://example.org/post"
    assert TaskDefinition.objects.filter(task_id="sample", task_priority=3).count() == 3


def fail_with(monkeypatch: pytest.MonkeyPatch, *messages: str) -> list[str]:
    """Let attempts to connect fail with these messages, and the next succeed; the messages that are left."""
    left = list(messages)

    def connect() -> None:
        if left:
            raise OperationalError(left.pop(0))

    monkeypatch.setattr(connection, "ensure_connection", connect)
    monkeypatch.setattr(prepare, "PAUSE_SECONDS", 0)
    return left


def test_it_waits_for_the_database(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    left = fail_with(monkeypatch, "connection refused", "the database system is starting up")
    prepare.await_database()
    assert not left


def test_a_wrong_password_is_said_at_once_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = fail_with(monkeypatch, 'FATAL:  password authentication failed for user "flower"', "not asked again")
    assert prepare.main() == 1
    assert left == ["not asked again"]
    said = capsys.readouterr().out
    assert "POSTGRES_PASSWORD" in said
    assert "docker compose down --volumes" in said


def test_a_database_that_does_not_answer_in_time_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "WAIT_SECONDS", -1)
    fail_with(monkeypatch, "connection refused")
    assert prepare.main() == 1
    assert "the database cannot be used: connection refused" in capsys.readouterr().out
