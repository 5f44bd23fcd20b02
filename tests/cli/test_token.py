"""``flow token``: a user's token, for programs that call the API."""

from __future__ import annotations

from io import StringIO
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from rest_framework.test import APIClient

from flowerapp.engine import define
from flowerapp.models import TaskDefinition

pytestmark = pytest.mark.django_db


def token(*arguments: str) -> str:
    """What it printed."""
    out = StringIO()
    call_command("flow", "token", *arguments, stdout=out)
    return out.getvalue().strip()


def test_the_token_of_a_user() -> None:
    User.objects.create_superuser("root")
    assert token("root") == token("root")
    assert APIClient(HTTP_AUTHORIZATION=f"Token {token('root')}").get("/api/flows/").status_code == 200


def test_a_user_is_made_when_asked_for() -> None:
    define("etl", [TaskDefinition(task_id="etl", task_seq=1, program="Return")])
    client = APIClient(HTTP_AUTHORIZATION=f"Token {token('robot@example.org', '--create')}")
    flow = client.post("/register/etl").json()["taskFlowId"]
    assert client.get("/api/flows/").status_code == 200
    assert client.post(f"/api/flows/{flow}/suspend/").status_code == 200
    assert client.delete("/api/workflows/etl/").status_code == 403
    user = User.objects.get(username="robot@example.org")
    assert not user.has_usable_password()
    assert not user.is_staff
    token("robot@example.org", "--create")
    assert User.objects.count() == 1


def test_an_unknown_user_is_refused() -> None:
    with pytest.raises(CommandError, match="there is no user 'robot'; --create makes one"):
        token("robot")
    assert not User.objects.exists()


def test_a_user_that_needs_more_is_refused() -> None:
    with (
        mock.patch.object(User, "save", side_effect=IntegrityError("birthday must not be null")),
        pytest.raises(CommandError, match="createsuperuser"),
    ):
        token("robot", "--create")


def test_tokens_need_their_app() -> None:
    def is_installed(name: str) -> Any:
        return name != "rest_framework.authtoken"

    with (
        mock.patch.object(apps, "is_installed", is_installed),
        pytest.raises(CommandError, match=r"add 'rest_framework\.authtoken' to INSTALLED_APPS"),
    ):
        token("robot")
