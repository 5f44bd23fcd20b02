"""Events and latches in the admin, and the pages of tasks that wait."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, COUNTDOWN, EVENT
from flowerapp.models import Event, Flow, Latch, TaskDefinition, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff, Steps
from tests.admin.test_pages import READERS
from tests.admin.test_verbs import OPERATORS, task_verb
from tests.admin.test_workflows import form

pytestmark = pytest.mark.django_db

LIST, ADD = "admin:flowerapp_event_changelist", "admin:flowerapp_event_add"


@pytest.fixture
def waiting(runner: InlineRunner, steps: Steps) -> Flow:
    """A flow that waits for the event ``paid`` of its order, for an hour at most."""
    parameters = {"event": "paid", "match": "input", "timeout": "1h"}
    steps("order", {"program": EVENT, "parameters": parameters}, {"program": "Echo"})
    flow = engine.register("order", input={"order": 7, "password": "unseen-value"})
    runner.run()
    return flow


def test_events_are_listed_searched_and_read(staff: Staff, waiting: Flow) -> None:
    event = engine.emit("shipped", {"order": 8, "password": "unseen-value"}, actor="bank")
    engine.emit("paid", {"large": "x" * 10_000})
    client = staff(*READERS)
    page = client.get(reverse(LIST)).text
    assert "shipped" in page
    assert "unseen-value" not in page
    assert "10,0" in page, "large data is shown as its size"
    assert "shipped" not in client.get(reverse(LIST), {"q": "paid"}).text
    shown = client.get(reverse("admin:flowerapp_event_change", args=[event.pk])).text
    assert "bank" in shown
    assert "••••" in shown
    assert "unseen-value" not in shown
    paid = Event.objects.get(kind="paid")
    assert waiting.pk in client.get(reverse("admin:flowerapp_event_change", args=[paid.pk])).text
    assert client.get(reverse(ADD)).status_code == 403


def test_a_form_reports_an_event(staff: Staff, waiting: Flow, runner: InlineRunner) -> None:
    client = staff("emit_event", *READERS)
    assert 'name="kind"' in client.get(reverse(ADD)).text
    answer = client.post(
        reverse(ADD), {"kind": "paid", "data": '{"order": 7, "password": "unseen-value"}'}, follow=True
    )
    assert answer.status_code == 200
    runner.run()
    waiting.refresh_from_db()
    event = Event.objects.get()
    assert (event.actor, waiting.status) == ("clerk", Status.FINISH)


@pytest.mark.parametrize(
    "data", [{"kind": "a/b"}, {"kind": ""}, {"kind": "k", "data": "[1]"}, {"kind": "k", "data": "{"}]
)
def test_a_bad_form_writes_nothing(staff: Staff, db: None, data: dict[str, str]) -> None:
    client = staff("emit_event", *READERS)
    assert client.post(reverse(ADD), {"data": "", **data}).status_code == 200
    client.post(reverse(ADD), {"kind": "k", "data": '{"a": "••••"}'})
    assert not Event.objects.exists()


def test_the_page_of_a_wait_says_for_what_and_ends_it(staff: Staff, waiting: Flow, runner: InlineRunner) -> None:
    client = staff(*OPERATORS)
    task = waiting.tasks.get(task_exec_seq=1)
    page = client.get(reverse("admin:flowerapp_task_change", args=[task.pk])).text
    assert "for event paid" in page
    assert "<dt>Fails at</dt>" in page
    assert "unseen-value" not in page
    assert task_verb(waiting, 1, "wake") in page
    assert "◔" in client.get(reverse("admin:flowerapp_flow_change", args=[waiting.pk])).text
    client.post(task_verb(waiting, 1, "wake"), {"confirmed": "1", "output": '{"amount": 1}', "why": "cash"})
    runner.run()
    waiting.refresh_from_db()
    assert (waiting.status, waiting.output) == (Status.FINISH, {"amount": 1})
    assert waiting.history.get(verb="wake").reason == "cash"


def test_a_latch_has_a_page_and_is_released(staff: Staff, steps: Steps, runner: InlineRunner) -> None:
    steps("hold", {"program": ACQUIRE, "parameters": {"name": "port"}})
    steps("wait", {"program": COUNTDOWN, "parameters": {"name": "port"}}, {"program": "Echo"})
    holder, waiter = engine.register("hold"), engine.register("wait")
    runner.run()
    client = staff(*OPERATORS)
    assert "port" in client.get(reverse("admin:flowerapp_latch_changelist"), {"q": "po"}).text
    page = client.get(reverse("admin:flowerapp_latch_change", args=["port"])).text
    assert holder.pk in page
    assert waiter.pk in page
    release = reverse("admin:flowerapp_latch_verb", args=["port", "release"])
    assert release in page
    assert "Yes: Release" in client.get(release).text
    answer = client.post(release, {"confirmed": "1", "why": "sunk"}, follow=True)
    assert (answer.status_code, Latch.objects.exists()) == (200, False)
    runner.run()
    waiter.refresh_from_db()
    assert waiter.status is Status.FINISH
    assert holder.history.get(verb="release").actor == "clerk"
    assert client.get(reverse("admin:flowerapp_latch_change", args=["port"])).status_code == 404


def test_the_editor_of_a_workflow_has_the_events_that_start_it(admin_client: object, runner: InlineRunner) -> None:
    client: Any = admin_client
    row = {"task_seq": "1", "program": "Noop"}
    add = reverse("admin:flowerapp_workflow_add")
    wrong: list[dict[str, Any]] = [{"start_match": "[1]"}, {"start_match": '{"a": 1}'}, {"start_event": "a/b"}]
    for refused in wrong:
        client.post(add, form(row, **{"task_id": "made", "start_event": "", **refused}))
        assert not Workflow.objects.exists(), refused
    header: dict[str, Any] = {
        "start_event": "paid",
        "start_match": '{"country": "DE", "token": "unseen-value"}',
    }
    client.post(add, form(row, task_id="made", **header))
    assert Workflow.objects.get().start_match == {"country": "DE", "token": "unseen-value"}
    change = reverse("admin:flowerapp_workflow_change", args=["made"])
    assert "unseen-value" not in client.get(change).text
    existing = list(TaskDefinition.objects.all())
    header["start_match"] = '{"country": "FR", "token": "••••"}'
    client.post(change, form(row, existing=existing, **header))
    assert Workflow.objects.get().start_match == {"country": "FR", "token": "unseen-value"}
    client.post(change, form(row, existing=existing, start_event="", start_match=""))
    assert Workflow.objects.get().start_match is None


def test_a_reader_of_workflows_sees_the_match_masked(staff: Staff, steps: Steps) -> None:
    steps("made", {})
    Workflow.objects.create(pk="made", start_event="paid", start_match={"token": "unseen-value"})
    page = staff("view_taskdefinition").get(reverse("admin:flowerapp_workflow_change", args=["made"])).text
    assert "paid" in page
    assert "••••" in page
    assert "unseen-value" not in page
