"""What django-celery-beat's admin offers to schedule."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django import forms
from django.apps import apps

from flowerapp.admin import beat
from flowerapp.executors.celery.routes import REGISTER

TASKS = ["flowerapp.Return", "flowerapp.shop.tasks.add", "flowerapp.tasks.deliver", REGISTER, "shop.tasks.add"]


class TaskSelectWidget(forms.Select):
    """That of django-celery-beat."""

    def tasks_as_choices(self) -> Any:
        """All tasks of the app."""
        return (("", ""), *((name, name) for name in TASKS))


@pytest.fixture
def widget() -> Any:
    """The widget of a host that has django-celery-beat."""
    module = mock.Mock(TaskSelectWidget=type("Widget", (TaskSelectWidget,), {}))
    with (
        mock.patch.dict(
            "sys.modules", {"django_celery_beat": mock.Mock(admin=module), "django_celery_beat.admin": module}
        ),
        mock.patch.object(apps, "is_installed", return_value=True),
    ):
        beat.install()
        beat.install()
    return module.TaskSelectWidget()


def test_only_what_can_be_called(widget: Any) -> None:
    assert [name for name, _ in widget.tasks_as_choices()] == ["", REGISTER, "shop.tasks.add"]
