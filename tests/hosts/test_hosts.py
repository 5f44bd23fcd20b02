"""Two hosts, made of nothing but the lines of README and the installation page, with real servers and workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import bare as bare_host
from tests.hosts import cookie as cookie_host
from tests.hosts.host import Host, database, get
from tests.hosts.shop import AFTER, BEFORE, DEFINE, flows, pasted, typed
from tests.hosts.versions import python_with
from tests.services import fresh_database, fresh_redis, until

VERSIONS = ["5.5", "5.7"]
SECONDS = 90


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A version of Celery."""
    return str(request.param)


@pytest.fixture
def python(version: str) -> str:
    """A Python with that version of Celery."""
    return python_with(version)


@pytest.fixture
def cookie(python: str, tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Host]:
    """The first host, before flowerapp."""
    with fresh_database(postgres_url) as url, fresh_redis(redis_url) as broker:
        yield cookie_host.cookie(tmp_path, python, database(url), broker)


@pytest.fixture
def bare(python: str, tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Host]:
    """The second host, before flowerapp."""
    with (
        fresh_database(postgres_url) as url,
        fresh_database(postgres_url) as second,
        fresh_redis(redis_url) as broker,
    ):
        yield bare_host.bare(tmp_path, python, database(url), database(second), broker)


def test_the_cookie_host(cookie: Host, version: str) -> None:
    host = cookie
    before = host.manage("spectacular", "--validate")
    host.paste(*pasted())
    with host.served("gunicorn") as address:
        answer = json.loads(host.shell(typed().replace("localhost:8000/", address)).splitlines()[-1])
        assert answer["status"] == "succeeded"
        token = host.manage("flow", "token", "robot@example.org").strip()
        with host.working("--beat") as log:
            fails_and_finishes(host, address, f"Token {token}", log)
            assert host.ask(cookie_host.CHORD) == 6
            host.ask(cookie_host.SCHEDULE)
            until(lambda: fired(host), SECONDS, poll=1, what=log.read_text)
            clean(log, version)
        assert [get(f"http://{address}flows/livez")[0] for _ in range(5)] == [200] * 5
        assert get(f"http://{address}goods/")[0] == 401
        assert get(f"http://{address}goods/")[0] in (401, 429)
    pages = host.ask(cookie_host.PAGES)
    assert set(pages["pages"].values()) == {200}, pages
    assert (pages["beat"], pages["offered"]) == (200, ["flowerapp.tasks.register"])
    assert host.manage("spectacular", "--validate") == before


def fired(host: Host) -> bool:
    """Whether the schedule has made at least two flows, and both have ended."""
    made = [flow for flow in flows(host, "sums") if flow["by"] == "schedule jede Sekunde"]
    return [flow["status"] for flow in made].count("Finish") >= 2


def test_the_bare_host(bare: Host, version: str) -> None:
    host = bare
    host.paste(*pasted("JWT, OIDC, passwords"))
    for name in ("default", "flows"):
        host.manage("migrate", "--database", name, "--verbosity", "0")
    host.ask(bare_host.PERSON)
    with host.served() as address, host.working() as log:
        answer = host.shell(
            f"curl -s {address}token/ -H 'Content-Type: application/json' "
            """-d '{"username": "ann", "password": "secret"}'"""
        )
        token = json.loads(answer)["access"]
        fails_and_finishes(host, address, f"Bearer {token}", log)
        clean(log, version)
        assert get(f"http://{address}flows/api/flows/")[0] == 401
    places = host.ask(bare_host.PLACES)
    assert "kr_task_flow" in places["flows"]
    assert "kr_task_flow" not in places["default"]


def fails_and_finishes(host: Host, address: str, login: str, log: Path) -> None:
    """Register the flow of the host's tasks; it fails at the one that fails, is rerun, and finishes."""
    host.ask(DEFINE)
    answer = json.loads(host.shell(f"curl -s -X POST {address}flows/register/order -H 'Authorization: {login}'"))
    assert answer["status"] == "succeeded", answer
    failed = until(lambda: in_status(host, "Suspend"), SECONDS, poll=1, what=lambda: described(host, log))
    assert failed["outputs"] == BEFORE
    assert "no stock for 13" in failed["errors"][0]
    read = json.loads(get(f"http://{address}flows/api/flows/{failed['id']}/", Authorization=login)[1])
    assert read["status"] == "Suspend"
    (host.directory / "stock").touch()
    host.manage("flow", "rerun", failed["id"])
    finished = until(lambda: in_status(host, "Finish"), SECONDS, poll=1, what=lambda: described(host, log))
    assert finished["outputs"] == BEFORE | AFTER
    assert finished["attempts"] == {seq: 2 if seq == "5" else 1 for seq in finished["attempts"]}
    assert not [entry for entry in finished["history"] if entry.startswith(("resend", "rescue"))]


def in_status(host: Host, status: str) -> dict[str, Any] | None:
    """The flow of the host's tasks, once it has a status."""
    return next((flow for flow in flows(host, "order") if flow["status"] == status), None)


def described(host: Host, log: Path) -> str:
    """For a failed assertion: the flow, and the end of the worker's log."""
    return f"{flows(host, 'order')}\n{log.read_text()[-5000:]}"


def clean(log: Path, version: str) -> None:
    """The worker of that Celery has met no error but the one that the test makes."""
    lines = log.read_text(errors="replace").splitlines()
    assert any(f" v{version}." in line for line in lines)
    errors = [line for line in lines if "CRITICAL" in line or ("ERROR" in line and "no stock" not in line)]
    assert not errors, errors
    assert sum("Traceback" in line for line in lines) <= 1, "\n".join(lines)[-5000:]
