"""Fixtures for the tests of the REST API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from flowerapp.engine import define
from flowerapp.models import TaskDefinition
from flowerapp.querysets.db import connection
from flowerapp.testing import InlineRunner, inline

Step = dict[str, Any]


@pytest.fixture
def runner(transactional_db: None) -> Iterator[InlineRunner]:
    """Runs what is sent, when asked to."""
    with inline() as runner:
        yield runner


@pytest.fixture
def workflow(db: None) -> Callable[..., str]:
    """Make a workflow: ``workflow("etl", {"program": "Return"}, …)``; seqs count from 1."""

    def make(task_id: str, *steps: Step) -> str:
        rows = []
        for number, step in enumerate(steps, start=1):
            options = {name: value for name, value in step.items() if name != "parameters"}
            row = TaskDefinition(task_id=task_id, task_seq=number, **options)
            row.set_parameters(step.get("parameters", {}))
            rows.append(row)
        define(task_id, rows)
        return task_id

    return make


@pytest.fixture
def client_with(db: None) -> Callable[..., APIClient]:
    """A client logged in as a user with these permissions."""

    def make(*codenames: str, username: str = "ann") -> APIClient:
        user = User.objects.create_user(username)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = APIClient(raise_request_exception=True)
        client.force_login(user)
        return client

    return make


@pytest.fixture
def api(db: None) -> APIClient:
    """A client logged in as a superuser."""
    client = APIClient(raise_request_exception=True)
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def by_sql(db: None) -> Callable[..., None]:
    """Write rows of ``ms_task_definition`` as the original's users do."""

    def write(task_id: str, seq: int, program: str, key: str | None = None, value: str | None = None) -> None:
        with connection().cursor() as cursor:
            cursor.execute(
                "INSERT INTO ms_task_definition(task_id, task_seq, program, task_priority, param1_key, param1_value) "
                "VALUES (%s, %s, %s, 0, %s, %s)",
                [task_id, seq, program, key, value],
            )

    return write
