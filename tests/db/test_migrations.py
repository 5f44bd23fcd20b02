"""A database that the version before has used keeps its flows, their tasks and the users' rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.executors.celery import memory_transport
from flowerapp.models import Flow, Task
from flowerapp.querysets import Success
from flowerapp.states import Status
from tests.services import Site, default_database, fresh_database

BEFORE, AFTER = "0005_left_over", "0006_plain_words"
RUNNING, FINISH, IGNORE = int(Status.RUNNING), int(Status.FINISH), int(Status.IGNORE)
TIME = "2026-01-01T00:00:00Z"
KEY = ("task_flow_id", "task_exec_seq")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[None]:
    """This process's default database, new, with the tables of the migration before."""
    with ExitStack() as stack:
        url = "sqlite:///"
        if request.param == "postgresql":
            url = stack.enter_context(fresh_database(request.getfixturevalue("postgres_url")))
        site = Site(url, memory_transport.URL)
        stack.callback(site.close)
        if request.param == "sqlite":
            site.environment["DATABASE_URL"] = f"sqlite:///{site.state}/flower.sqlite3"
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(default_database(site.database_settings))
        call_command("migrate", "auth", verbosity=0)
        migrate(BEFORE)
        yield


def migrate(name: str) -> None:
    """Migrate the app forwards or backwards to a migration."""
    call_command("migrate", "flowerapp", name, verbosity=0)


def models_at(name: str) -> Any:
    """The app's models as a migration has them."""
    return MigrationExecutor(connections["default"]).loader.project_state(("flowerapp", name)).apps


def codenames(model: str) -> set[str]:
    """Codenames of the permissions on a model."""
    own = Permission.objects.filter(content_type__app_label="flowerapp", content_type__model=model)
    return set(own.values_list("codename", flat=True))


class Past:
    """Rows as the version before left them."""

    def __init__(self) -> None:
        apps = models_at(BEFORE)
        self.flows: Any = apps.get_model("flowerapp", "Flow").objects
        self.tasks: Any = apps.get_model("flowerapp", "Task").objects
        self.history: Any = apps.get_model("flowerapp", "Event").objects

    def flow(self, name: str, **columns: Any) -> None:
        self.flows.create(task_flow_id=name, task_id="w", **columns)

    def task(self, name: str, seq: int, **columns: Any) -> None:
        row = {"task_id": "w", "task_seq": seq, "program": "Noop", "registered_ts": TIME, **columns}
        self.tasks.create(task_flow_id=name, task_exec_seq=seq, **row)

    def ignored(self, name: str, seq: int, *, skipped: bool = False, **columns: Any) -> None:
        self.task(name, seq, exec_status=IGNORE, finished_ts=TIME, **columns)
        if skipped:
            self.history.create(task_flow_id=name, task_exec_seq=seq, verb="skip", actor="ann")


def write_ignored_in_open_flow(past: Past) -> dict[tuple[str, int], str]:
    """Ignored rows of every kind; which of them has which reason."""
    past.flow("open", open_sinks=9)
    past.ignored("open", 1, attempt=1, output={"a": 1}, error="ValueError: no", skipped=True)
    past.ignored("open", 2, output={}, skipped=True)
    past.ignored("open", 3, output={})
    past.ignored("open", 4, output={"input": 1})
    past.ignored("open", 10, parent_seq=5, child_index=0, attempt=1, error="stopped, because child 1 failed")
    past.ignored("open", 11, parent_seq=5, child_index=1, attempt=1, error="ValueError: no")
    past.ignored("open", 12, parent_seq=5, child_index=2, attempt=1, error="ValueError: no", output={}, skipped=True)
    past.ignored("open", 13, program="", output=None)
    return {
        ("open", 1): "skip",
        ("open", 2): "skip",
        ("open", 3): "entrance",
        ("open", 4): "entrance",
        ("open", 10): "sibling",
        ("open", 11): "tolerated",
        ("open", 12): "skip",
        ("open", 13): "",
    }


def write_ignored_in_cancelled_flow(past: Past) -> dict[tuple[str, int], str]:
    """A finished row and ignored ones of every kind; which of them has which reason."""
    past.flow("cancelled", exec_status=IGNORE, finished_ts=TIME)
    past.task("cancelled", 1, exec_status=FINISH, finished_ts=TIME, output={})
    past.ignored("cancelled", 2)
    past.ignored("cancelled", 3, attempt=2, error="ValueError: no", suspended_ts=TIME, skipped=True)  # and run again
    past.ignored("cancelled", 4, output={})
    past.ignored("cancelled", 5, attempt=1, output={}, skipped=True)
    past.ignored("cancelled", 10, parent_seq=2, child_index=0, attempt=1)
    past.ignored("cancelled", 11, parent_seq=2, child_index=1, attempt=1, error="stopped, because child 0 failed")
    past.ignored("cancelled", 12, parent_seq=2, child_index=2, attempt=1, error="ValueError: no", suspended_ts=TIME)
    return {
        ("cancelled", 1): "",
        ("cancelled", 2): "cancel",
        ("cancelled", 3): "cancel",
        ("cancelled", 4): "entrance",
        ("cancelled", 5): "skip",
        ("cancelled", 10): "cancel",
        ("cancelled", 11): "sibling",
        ("cancelled", 12): "cancel",
    }


def write_in_flight(past: Past) -> None:
    """A flow 1 → 2, 3, 4 → 5: the second runs and reports the end of the first, the others are deferred and sent."""
    past.flow("flight", exec_status=RUNNING, started_ts=TIME, open_sinks=1)
    past.task("flight", 1, exec_status=FINISH, finished_ts=TIME, output={}, depends_on=[], dependents=[5])
    running = {"exec_status": RUNNING, "attempt": 1, "started_ts": TIME, "worker": "w", "pid": 1}
    past.task("flight", 2, **running, owed=1, dependents=[5])
    past.task("flight", 3, left_over=True, dependents=[5])
    past.task("flight", 4, sent_ts=TIME, copied=True, dependents=[5])
    past.task("flight", 5, depends_on=[1, 2, 3, 4], depends_task_exec_seq=4, pending=4)


def reasons() -> dict[tuple[str, int], str]:
    """``ignored_by`` of the tasks of the flows with ignored ones."""
    rows = models_at(AFTER).get_model("flowerapp", "Task").objects.exclude(task_flow_id="flight")
    return {(flow_id, seq): reason for flow_id, seq, reason in rows.values_list(*KEY, "ignored_by")}


def in_flight(name: str, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of the tasks of the flow in flight, as of a migration."""
    rows = models_at(name).get_model("flowerapp", "Task").objects.filter(task_flow_id="flight")
    return list(rows.order_by("task_exec_seq").values_list(*columns))


def test_rows_of_the_version_before_are_kept_both_ways(database: None) -> None:
    past = Past()
    expected = write_ignored_in_open_flow(past) | write_ignored_in_cancelled_flow(past)
    write_in_flight(past)
    marks = [(False, 0, False), (False, 1, False), (True, 0, False), (False, 0, True), (False, 0, False)]
    events = {f"{verb}_event" for verb in ("add", "change", "delete", "view")}
    entries = {f"{verb}_historyentry" for verb in ("add", "change", "delete", "view")}
    assert codenames("event") == events

    migrate(AFTER)
    assert reasons() == expected
    assert in_flight(AFTER, "deferred", "coalesced", "resent") == marks
    assert codenames("historyentry") == entries
    assert codenames("event") == set()

    migrate(BEFORE)
    assert in_flight(BEFORE, "left_over", "owed", "copied") == marks
    assert codenames("event") == events
    assert past.history.filter(verb="skip").count() == 5

    migrate(AFTER)
    assert reasons() == expected
    assert codenames("historyentry") == entries


def test_flow_in_flight_finishes_after_the_migration(database: None) -> None:
    write_in_flight(Past())
    call_command("migrate", verbosity=0)
    process = Process("w", 1)
    for seq in (2, 3, 4, 5):
        claim = Task.objects.filter(exec_status=Status.RUNNING).at(TaskRef("flight", seq)).as_claim()
        claim = claim or Task.objects.claim(TaskRef("flight", seq), process)
        assert claim, f"task {seq}"
        completion = Task.objects.finish(Success(ref=claim.ref, attempt=claim.attempt, output=json.dumps({})))
        assert completion
    assert completion is not None
    assert completion.ended
    assert Flow.objects.get().status is Status.FINISH
