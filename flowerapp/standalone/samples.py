"""The first content of a new server's database: two workflows and an admin user."""

from __future__ import annotations

import re
import secrets

from django.contrib.auth import get_user_model

from flowerapp.models import TaskDefinition, Workflow

ADMIN = "admin"
SHIPPED_URL = re.compile(r"http://[^/]+:\d+/echo")
"""The URL of an echo page, as an earlier start on another port may have stored it."""

SAMPLE = [TaskDefinition(task_id="sample", task_seq=seq, program=f"Test{seq}", task_priority=10) for seq in (1, 2, 3)]


def _example(echo_url: str) -> list[TaskDefinition]:
    return [
        TaskDefinition(task_id="example", task_seq=1, program="EchoRandomTimeSleep"),
        TaskDefinition(
            task_id="example",
            task_seq=2,
            program="EchoParamTimeSleep",
            param1_key="SLEEP_TIME_SECOND",
            param1_value="3",
        ),
        TaskDefinition(
            task_id="example",
            task_seq=3,
            program="HTTPPostRequest",
            param1_key="URL",
            param1_value=echo_url,
            param2_key="BODY",
            param2_value='{"id": "test"}',
        ),
    ]


def make_workflows(echo_url: str) -> None:
    """Create ``example`` and ``sample`` if they do not exist, and make ``example`` post to ``echo_url``.

    A URL that a user has set in ``example`` is kept.
    """
    _make("example", "Sleeps, sleeps again, and posts to an echo page.", _example(echo_url))
    _make("sample", "Three steps that do nothing.", SAMPLE)
    step = TaskDefinition.objects.filter(task_id="example", program="HTTPPostRequest", param1_key="URL").first()
    if step and step.param1_value != echo_url and SHIPPED_URL.fullmatch(step.param1_value or ""):
        TaskDefinition.objects.filter(pk=step.pk).update(param1_value=echo_url)


def _make(task_id: str, description: str, steps: list[TaskDefinition]) -> None:
    if TaskDefinition.objects.filter(task_id=task_id).exists():
        return
    Workflow.objects.get_or_create(task_id=task_id, defaults={"description": description})
    TaskDefinition.objects.bulk_create(steps)


def make_admin(password: str = "") -> tuple[str, str | None]:
    """Create an admin user if there is none; returns its name and, if it was created now, its password.

    Without ``password`` the new user gets a random one.
    The name is empty if the host's user model requires more than a name and a password, so that none can be created.
    """
    model = get_user_model()
    existing = model._default_manager.filter(is_superuser=True).order_by("pk").first()
    if existing is not None:
        return existing.get_username(), None
    if set(model.REQUIRED_FIELDS) - {"email"}:
        return "", None
    password = password or secrets.token_urlsafe(12)
    user = model(**{model.USERNAME_FIELD: ADMIN, "is_staff": True, "is_superuser": True})
    user.set_password(password)
    user.save()
    return ADMIN, password
