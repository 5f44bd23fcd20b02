"""What the OpenAPI document says is what the server does, for calls that schemathesis makes from it, over five roles.

With ``FLOWER_TEST_FAULTS=long`` there are over 5,000 calls, otherwise some 300. They are the same in each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.wsgi import get_wsgi_application
from rest_framework.authtoken.models import Token

from flowerapp import engine
from flowerapp.testing import inline
from tests import contract
from tests.cli.support import define
from tests.contract import LONG

pytestmark = pytest.mark.django_db(transaction=True)

ROLES: dict[str, list[str] | None] = {
    "anonymous": None,
    "viewer": ["view_flow", "view_taskdefinition", "view_pool"],
    "registrar": ["register_flow"],
    "operator": ["view_flow", "operate_flow"],
    "remote worker": ["remote_worker"],
    "definer": [
        f"{verb}_{model}" for verb in ("view", "add", "change", "delete") for model in ("taskdefinition", "pool")
    ],
}
"""Role → permissions; None is a caller who is not logged in."""
BOUNDARIES, FUZZED = (40, 10) if LONG else (2, 0)
"""Calls of each operation by each role: those at the bounds of the document, and random ones that are valid or not."""


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """Parts of paths that lead to rows: a flow that waits beside others, its task, a workflow, a pool."""
    with inline() as runner:
        define("etl", {"program": "Noop"}, {"program": "Noop"})
        define("broken", {"program": "FailUnlisted"})
        engine.set_pool("gpu", 1)
        define("pooled", {"program": "Noop", "pool": "gpu"})
        for name in ("broken", "etl", "pooled"):
            engine.register(name)
        runner.run()
        flow = engine.register("etl")
        yield {"flow_id": flow.pk, "seq": 1, "task_id": "etl", "name": "gpu"}


def login(role: str) -> str | None:
    """The token of a new user with a role."""
    permissions = ROLES[role]
    if permissions is None:
        return None
    user = User.objects.create_user(role)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return str(Token.objects.create(user=user).key)


@pytest.mark.parametrize("role", ROLES)
def test_the_document_is_true(names: dict[str, Any], role: str, settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "REMOTE_WAITS": 0}  # no call waits for work
    calls = contract.Calls(login(role), app=get_wsgi_application(), base_url="http://localhost")
    for operation in contract.operations():
        for case in contract.at_bounds(operation, role, names, BOUNDARIES):
            calls(case)
        if LONG:
            contract.fuzz(operation, names, FUZZED, calls)
    assert calls.statuses.total() >= (1000 if LONG else 55)
    assert calls.statuses.keys() >= {200, 401 if role == "anonymous" else 403}
    if LONG and role == "definer":
        assert calls.statuses.keys() >= {200, 201, 204, 400, 404, 405, 409, 415}
