"""A database that is unreachable, or that others block: each page and each route answers 503 and when to try again."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, InterfaceError, InternalError, OperationalError, connections
from django.test import Client
from django.urls import reverse

from flowerapp import checks, engine
from flowerapp.models import Flow, Pool
from flowerapp.querysets.outages import is_outage
from flowerapp.states import Status
from flowerapp.testing import inline
from tests.engine.support import define
from tests.services import default_database

pytestmark = pytest.mark.django_db(transaction=True)


def _sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("from SQLite")
    error.sqlite_errorcode = code
    return error


class _PostgresError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


BUSY_SNAPSHOT = sqlite3.SQLITE_BUSY | 2 << 8


@pytest.mark.parametrize(
    ("kind", "cause", "passes"),
    [
        (OperationalError, _sqlite(sqlite3.SQLITE_BUSY), True),
        (OperationalError, _sqlite(BUSY_SNAPSHOT), True),
        (OperationalError, _sqlite(sqlite3.SQLITE_LOCKED), True),
        (OperationalError, _sqlite(sqlite3.SQLITE_CANTOPEN), True),
        (OperationalError, _sqlite(sqlite3.SQLITE_ERROR), False),
        (OperationalError, _PostgresError(None), True),
        (InterfaceError, _PostgresError(None), True),
        (OperationalError, None, True),
        (OperationalError, _PostgresError("40P01"), True),
        (OperationalError, _PostgresError("40001"), True),
        (OperationalError, _PostgresError("55P03"), True),
        (OperationalError, _PostgresError("57014"), True),
        (OperationalError, _PostgresError("57P01"), True),
        (OperationalError, _PostgresError("53300"), True),
        (OperationalError, _PostgresError("08006"), True),
        (InternalError, _PostgresError("25006"), True),
        (InternalError, _PostgresError("25P02"), False),
        (DatabaseError, _PostgresError("42P01"), False),
        (DatabaseError, None, False),
        (IntegrityError, _PostgresError("23505"), False),
        (ValueError, None, False),
    ],
)
def test_errors_that_pass_are_distinguished_from_mistakes(
    kind: type[Exception], cause: Exception | None, passes: bool
) -> None:
    error = kind("from Django")
    error.__cause__ = cause
    assert is_outage(error) is passes


# Every page and route


def _urls(flow: Flow) -> list[str]:
    api = ["workflows", "flows", "pools", "programs", "workers", "queues"]
    pages = ["flow", "task", "workflow", "pool", "worker"]
    task = flow.tasks.get()
    return [
        *(reverse(f"flowerapp:{name}") for name in api),
        *(reverse(f"flowerapp:{name}", args=[flow.pk]) for name in ("flow", "tasks", "flow-history", "flow-graph")),
        *(reverse(f"flowerapp:{name}") for name in ("schema", "docs")),
        *(reverse(f"admin:flowerapp_{name}_changelist") for name in pages),
        *(reverse(f"admin:flowerapp_{name}_add") for name in ("workflow", "pool")),
        reverse("admin:flowerapp_flow_change", args=[flow.pk]),
        reverse("admin:flowerapp_task_change", args=[task.pk]),
        reverse("admin:flowerapp_workflow_change", args=[flow.task_id]),
        reverse("admin:flowerapp_workflow_delete", args=[flow.task_id]),
        reverse("admin:flowerapp_workflow_history", args=[flow.task_id]),
        reverse("admin:flowerapp_pool_change", args=["pool"]),
        reverse("admin:flowerapp_workflow_register", args=[flow.task_id]),
        reverse("admin:flowerapp_flow_verb", args=[flow.pk, "suspend"]),
    ]


def _calls(flow: Flow) -> list[tuple[str, dict[str, Any]]]:
    json = {"content_type": "application/json"}
    return [
        (reverse("flowerapp:register"), {"data": {"taskId": flow.task_id}, **json}),
        *(
            (reverse(f"flowerapp:flow-{verb}", args=[flow.pk]), {"data": {}, **json})
            for verb in ("suspend", "resume", "cancel", "rerun")
        ),
        (reverse("flowerapp:task-skip", args=[flow.pk, 1]), {"data": {}, **json}),
        (reverse("admin:flowerapp_flow_verb", args=[flow.pk, "suspend"]), {"data": {"confirmed": "1"}}),
        (reverse("admin:flowerapp_pool_add"), {"data": {"name": "x", "slots": "1"}}),
        (reverse("admin:flowerapp_pool_delete", args=["pool"]), {"data": {"post": "yes"}}),
        (
            reverse("admin:flowerapp_flow_changelist"),
            {"data": {"action": "cancel", "_selected_action": [flow.pk], "confirmed": "1"}},
        ),
    ]


@contextmanager
def _file(path: Path, **settings: Any) -> Iterator[None]:
    """A host on SQLite with Django's default options, except that it does not wait long for locks."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), **settings}
    with default_database({"OPTIONS": {"timeout": 0.05}, **database}):
        call_command("migrate", verbosity=0)
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Within the block another process has the file for itself: none can read or write it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def _being_written(path: Path) -> Iterator[None]:
    """Within the block another process writes: others can read, and not write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def _unreachable() -> Iterator[None]:
    address = {"HOST": "127.0.0.1", "PORT": "1", "NAME": "x", "USER": "x"}
    with default_database({"ENGINE": "django.db.backends.postgresql", **address}):
        yield


def _prepared() -> tuple[Client, Flow]:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    Pool.objects.create(name="pool", slots=1)
    with inline():
        return client, engine.register(define({1: []}))


def _check_unavailable(answers: dict[str, Any]) -> None:
    assert {url: answer.status_code for url, answer in answers.items()} == dict.fromkeys(answers, 503)
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers.values())
    for url, answer in answers.items():
        if "/api/" in url and "/docs" not in url:
            assert answer.json()["code"] == "unavailable", url
        assert "database" in answer.content.decode(), url


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_each_page_is_unavailable_while_the_file_is_locked(tmp_path: Path, atomic_requests: bool) -> None:
    path = tmp_path / "db.sqlite3"
    with _file(path, ATOMIC_REQUESTS=atomic_requests):
        client, flow = _prepared()
        urls = [url for url in _urls(flow) if client.get(url).status_code == 200]
        assert len(urls) > 20
        with _locked(path):
            _check_unavailable({url: client.get(url) for url in urls})
            _check_unavailable({url: client.post(url, **options) for url, options in _calls(flow)})
            assert client.get(reverse("flowerapp:livez")).status_code == 200
            assert client.get(reverse("flowerapp:readyz")).status_code == 503
        assert {client.get(url).status_code for url in urls} == {200}


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_pages_can_be_read_and_verbs_must_wait_while_another_process_writes(
    tmp_path: Path, atomic_requests: bool
) -> None:
    path = tmp_path / "db.sqlite3"
    with _file(path, ATOMIC_REQUESTS=atomic_requests):
        client, flow = _prepared()
        urls = [url for url in _urls(flow) if client.get(url).status_code == 200]
        with _being_written(path), inline():
            assert {client.get(url).status_code for url in urls} == {200}
            _check_unavailable({url: client.post(url, **options) for url, options in _calls(flow)})
        assert Flow.objects.count() == 1
        with inline():
            answers = [client.post(url, **options).status_code for url, options in _calls(flow)]
        assert not [status for status in answers if status >= 500]


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_each_page_is_unavailable_while_the_server_is_unreachable(tmp_path: Path, atomic_requests: bool) -> None:
    with _file(tmp_path / "db.sqlite3"):
        client, flow = _prepared()
        urls, calls = [url for url in _urls(flow) if client.get(url).status_code == 200], _calls(flow)
    with _unreachable():
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = atomic_requests
        _check_unavailable({url: client.get(url) for url in urls})
        _check_unavailable({url: client.post(url, **options) for url, options in calls})
        assert client.get(reverse("flowerapp:livez")).status_code == 200


def test_a_mistake_is_not_taken_for_an_outage(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))

    def wrong(*_: Any) -> None:
        raise OperationalError("no such column") from _sqlite(sqlite3.SQLITE_ERROR)

    monkeypatch.setattr("flowerapp.selectors.counts.of_flows", wrong)
    with pytest.raises(OperationalError):
        client.get(reverse("admin:flowerapp_flow_changelist"))


# SQLite as Django leaves it


def _together(number: int, call: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = []

    def run(index: int) -> None:
        try:
            results.append(call(index))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_writers_wait_for_each_other_with_djangos_default_options(tmp_path: Path) -> None:
    """Without ``transaction_mode`` two that have read and then write fail at once, however long they may wait."""
    with _file(tmp_path / "db.sqlite3", OPTIONS={"timeout": 30}, ATOMIC_REQUESTS=True), inline():
        client, flow = _prepared()
        cookies = client.cookies

        def verb(index: int) -> list[int]:
            own = Client()
            own.cookies = cookies
            names = ["suspend", "resume"] * 5
            urls = [reverse(f"flowerapp:flow-{name}", args=[flow.pk]) for name in names]
            urls += [reverse("flowerapp:register-named", args=[flow.task_id])] * 5
            return [own.post(url, {}, content_type="application/json").status_code for url in urls]

        answers = Counter(status for statuses in _together(4, verb) for status in statuses)
        assert set(answers) <= {200, 201, 409}, answers
        assert Flow.objects.count() == 21
        assert {flow.status for flow in Flow.objects.all()} <= {Status.WAIT, Status.SUSPEND}


def test_a_check_names_the_line_for_sqlite(tmp_path: Path) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    with default_database(database):
        (warning,) = checks.check_sqlite()
        assert warning.id == "flowerapp.W020"
        assert "DATABASES['default']" in str(warning.hint)
        assert "'transaction_mode': 'IMMEDIATE'" in str(warning.hint)
    with default_database({**database, "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30}}):
        assert not checks.check_sqlite()
