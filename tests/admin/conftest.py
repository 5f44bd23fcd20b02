"""What the tests of the admin share: workflows, users, and flows in every state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client

from flowerapp import engine
from flowerapp.models import Flow, TaskDefinition
from flowerapp.testing import InlineRunner, inline

Steps = Callable[..., None]
Split = Callable[..., None]
Staff = Callable[..., Client]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[InlineRunner]:
    """The engine sends to a runner in this process, at once: a test's own transaction never commits."""
    monkeypatch.setattr(transaction, "on_commit", lambda function, **_: function())
    with inline() as runner:
        yield runner


@pytest.fixture
def steps() -> Steps:
    """Write the rows of a workflow, as SQL would, without a header."""

    def write(task_id: str, *rows: dict[str, Any]) -> None:
        TaskDefinition.objects.bulk_create(
            TaskDefinition(task_id=task_id, **{"task_seq": seq, "program": "Noop", **row})
            for seq, row in enumerate(rows, start=1)
        )

    return write


@pytest.fixture
def staff(db: None) -> Staff:
    """A client of a staff user with these permissions of flowerapp."""

    def make(*permissions: str) -> Client:
        user = User.objects.create_user("clerk", password="clerk", is_staff=True)
        granted = Permission.objects.filter(content_type__app_label="flowerapp", codename__in=permissions)
        assert len(granted) == len(set(permissions))
        user.user_permissions.set(granted)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def split(steps: Steps) -> Split:
    """Write a workflow whose first step adds a child for each item, and whose second returns what it gets."""

    def write(task_id: str, items: list[Any], **columns: Any) -> None:
        first = {"program": "Split", "child_program": "Sum", "parameters": {"items": items}, "max_concurrency": 2}
        steps(task_id, first | columns, {"program": "Echo"})

    return write


@pytest.fixture
def failed(runner: InlineRunner, steps: Steps) -> Flow:
    """A flow whose second task of four failed; the third finished."""
    steps(
        "broken",
        {},
        {"program": "FailUnlisted", "depends_on": [1]},
        {"program": "Return", "parameters": {"value": {"api_token": "hidden-value"}}, "depends_on": [1]},
        {"depends_on": [2, 3]},
    )
    flow = engine.register("broken", actor="someone")
    runner.run()
    flow.refresh_from_db()
    return flow


@pytest.fixture
def flows(runner: InlineRunner, steps: Steps, failed: Flow) -> dict[str, Flow]:
    """One flow in each state."""
    steps("plain", {}, {})

    def started(times: int) -> Flow:
        flow = engine.register("plain")
        for _ in range(times):
            runner.step()
        runner.waiting.clear()
        return flow

    result = {
        "failed": failed,
        "waiting": started(0),
        "running": started(1),
        "finished": started(2),
        "held": engine.suspend(started(1).pk, why="stock-taking"),
        "cancelled": engine.cancel(started(1).pk),
    }
    for flow in result.values():
        flow.refresh_from_db()
    return result
