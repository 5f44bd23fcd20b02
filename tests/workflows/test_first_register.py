"""A workflow class that was never stored is stored by its first registration, wherever it is made."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from rest_framework.test import APIClient

from flowerapp import engine, signals
from flowerapp.core import programs
from flowerapp.exceptions import InvalidPlanError, UnknownWorkflowError
from flowerapp.models import Flow, TaskDefinition
from flowerapp.models import Workflow as Header
from flowerapp.registry import Context
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import Workflow, classes, task
from tests.cli.support import flow as command
from tests.engine.support import define
from tests.engine.test_races import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def apart(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test's classes register is forgotten after it."""
    monkeypatch.setattr(programs, "_programs", dict(programs._programs))
    monkeypatch.setattr(signals, "_methods", {})
    monkeypatch.setattr(classes, "_classes", {})


def nothing(self: Any) -> None:
    """A step that does nothing."""


def fresh(**attributes: Any) -> str:
    """A class that no process has stored: two steps, the first with children. Its ``task_id``."""

    def split(self: Any, ctx: Context) -> None:
        ctx.add_children([1, 2, 3])

    def double(self: Any, ctx: Context) -> int:
        return 2 * int(ctx.input)

    def total(self: Any, ctx: Context) -> int:
        return sum(ctx.input)

    task_id = f"fresh-{secrets.token_hex(4)}"
    first = task(max_concurrency=1)(split)
    first.child(double)
    type(
        "Fresh", (Workflow,), {"task_id": task_id, "split": first, "double": double, "total": task(total), **attributes}
    )
    return task_id


def in_python(task_id: str) -> str:
    return engine.register(task_id).pk


def by_url(task_id: str) -> str:
    return _post(f"/register/{task_id}", {})


def by_body(task_id: str) -> str:
    return _post("/register", {"taskId": task_id})


def _post(url: str, body: dict[str, str]) -> str:
    client = APIClient()
    client.force_login(User.objects.create_superuser("root"))
    answer = client.post(url, body, format="json")
    assert answer.status_code == 200, answer.content
    return str(answer.json()["taskFlowId"])


def in_command(task_id: str) -> str:
    answer = command("run", task_id)
    assert answer.code == 0, answer.err
    return answer.out.strip()


def in_transaction(task_id: str) -> str:
    with transaction.atomic():
        return engine.register(task_id).pk


@pytest.mark.parametrize("register", [in_python, by_url, by_body, in_command, in_transaction])
def test_first_registration_stores_the_class(runner: InlineRunner, register: Callable[[str], str]) -> None:
    task_id = fresh()
    assert not Header.objects.filter(pk=task_id).exists()
    flow = engine.get_flow(register(task_id))
    runner.run()
    flow.refresh_from_db()
    assert (flow.status, flow.output) == (Status.FINISH, 12)
    assert TaskDefinition.objects.filter(task_id=task_id).count() == 2
    assert Header.objects.get(pk=task_id).source.endswith(".Fresh")


def test_settings_of_the_class_hold_at_its_first_registration(runner: InlineRunner) -> None:
    task_id = fresh(unique=True)
    first, second = engine.register(task_id), engine.register(task_id)
    assert (first.pk, second.created) == (second.pk, False)


def test_class_that_was_deleted_is_stored_again(runner: InlineRunner) -> None:
    task_id = fresh()
    engine.register(task_id)
    engine.undefine(task_id)
    assert engine.register(task_id).created


def test_rows_of_people_are_registered_as_they_are(runner: InlineRunner) -> None:
    task_id = fresh()
    define({1: None}, name=task_id)
    assert engine.register(task_id).tasks.get().program == "Echo"


def test_class_that_cannot_be_stored_says_why(runner: InlineRunner) -> None:
    task_id = fresh(total=task(pool="nowhere")(nothing))
    with pytest.raises(InvalidPlanError, match="there is no pool 'nowhere'"):
        engine.register(task_id)
    assert not Flow.objects.exists()
    assert not Header.objects.exists()


def test_unknown_name_stays_unknown(runner: InlineRunner) -> None:
    fresh()
    with pytest.raises(UnknownWorkflowError, match="has no rows"):
        engine.register("elsewhere")


def test_first_registrations_at_once_store_it_once(runner: InlineRunner) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    for _ in range(6):
        task_id = fresh()
        flows = together(*[lambda name=task_id: engine.register(name) for _ in range(4)])
        assert len({flow.pk for flow in flows}) == 4
        assert TaskDefinition.objects.filter(task_id=task_id).count() == 2
        assert [flow.tasks.count() for flow in flows] == [2, 2, 2, 2]
        Flow.objects.all().delete()
