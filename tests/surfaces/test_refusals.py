"""Admin, API and command line say why a task is refused, since when, and when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.core.executor import UnpublishableError
from flowerapp.core.messages import Message
from flowerapp.models import Flow, Task
from flowerapp.testing import inline
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)

SENTENCE = "cannot be published: no such queue; since 2026-03-01 12:00:00"
UNTIL = "tried again until 2026-03-01 12:05:00"


@pytest.fixture
def unpublishable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flow]:
    """A flow whose first task cannot be published."""

    def send(messages: Sequence[Message]) -> None:
        raise UnpublishableError({message.ref: "no such queue" for message in messages})

    with inline() as runner:
        monkeypatch.setattr(runner, "send", send)
        define("etl", {"program": "Noop"}, {"program": "Noop"})
        begun = engine.register("etl")
        Task.objects.filter(refused_ts__isnull=False).update(refused_ts=datetime(2026, 3, 1, 12, tzinfo=UTC))
        yield begun


@pytest.fixture
def client() -> Client:
    """A client of the admin and of the API."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_all_surfaces_show_a_refusal(unpublishable: Flow, client: Client) -> None:
    task = unpublishable.tasks.get(task_exec_seq=1)
    pages = [
        client.get(reverse("admin:flowerapp_flow_change", args=[unpublishable.pk])).text,
        client.get(reverse("admin:flowerapp_task_change", args=[task.pk])).text,
        client.get(f"/api/flows/{unpublishable.pk}/tasks/").text,
        client.get(f"/api/flows/{unpublishable.pk}/tasks/1/").text,
        " ".join(flow("show", unpublishable.pk).out.split()),
        flow("show", unpublishable.pk, "--json").out,
    ]
    for page in pages:
        assert SENTENCE in page
        assert UNTIL in page
