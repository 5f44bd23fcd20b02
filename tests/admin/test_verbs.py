"""The verbs as buttons, confirmation pages and batch actions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff
from tests.admin.test_pages import LIST, READERS, flow_page, state_of

pytestmark = pytest.mark.django_db

OPERATORS = (*READERS, "operate_flow")


def flow_verb(flow: Flow, name: str) -> str:
    return reverse("admin:flowerapp_flow_verb", args=[flow.pk, name])


def task_verb(flow: Flow, seq: int, name: str) -> str:
    return reverse("admin:flowerapp_task_verb", args=[flow.tasks.get(task_exec_seq=seq).pk, name])


def last_event(flow: Flow) -> HistoryEntry:
    entry: HistoryEntry | None = HistoryEntry.objects.filter(task_flow=flow).order_by("-id").first()
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("name", "verb", "status"),
    [
        ("running", "suspend", Status.SUSPEND),
        ("held", "resume", Status.RUNNING),
        ("running", "cancel", Status.IGNORE),
        ("failed", "rerun-failed", Status.RUNNING),
        ("finished", "rerun-all", Status.RUNNING),
    ],
)
def test_flow_verbs(staff: Staff, flows: dict[str, Flow], name: str, verb: str, status: Status) -> None:
    flow, client = flows[name], staff(*OPERATORS)
    assert flow_verb(flow, verb) in client.get(flow_page(flow)).text

    answer = client.post(flow_verb(flow, verb), {"why": "because", "confirmed": "1"})

    assert answer.status_code == 302
    assert answer["Location"] == flow_page(flow)
    flow.refresh_from_db()
    assert flow.status is status
    event = last_event(flow)
    assert (event.verb, event.actor, event.reason) == (verb.partition("-")[0], "clerk", "because")


@pytest.mark.parametrize(("seq", "verb"), [(2, "skip"), (2, "rerun-failed"), (2, "rerun-from"), (2, "change")])
def test_task_verbs(staff: Staff, failed: Flow, seq: int, verb: str) -> None:
    client = staff(*OPERATORS)
    data = {"why": "because", "confirmed": "1", "parameters": "", "priority": "-3", "queue": ""}
    answer = client.post(task_verb(failed, seq, verb), data)
    assert answer["Location"] == flow_page(failed)
    event = last_event(failed)
    assert (event.verb, event.actor, event.reason) == (verb.partition("-")[0], "clerk", "because")
    task = failed.tasks.get(task_exec_seq=seq)
    expected = {"skip": Status.IGNORE, "change": Status.SUSPEND}.get(verb, Status.WAIT)
    assert task.status is expected


@pytest.mark.parametrize("verb", ["cancel", "rerun-all"])
def test_destructive_verbs_ask_first(staff: Staff, flows: dict[str, Flow], verb: str) -> None:
    flow, client = flows["running"], staff(*OPERATORS)
    before = state_of(flow)
    for answer in (client.get(flow_verb(flow, verb)), client.post(flow_verb(flow, verb), {"why": "slip"})):
        assert answer.status_code == 200
        assert 'name="confirmed"' in answer.text
    assert state_of(flow) == before


@pytest.mark.parametrize("verb", ["suspend", "resume", "cancel", "rerun-failed", "rerun-all"])
def test_get_changes_nothing(staff: Staff, flows: dict[str, Flow], verb: str) -> None:
    client = staff(*OPERATORS)
    for flow in flows.values():
        before = state_of(flow)
        assert client.get(flow_verb(flow, verb), {"confirmed": "1"}).status_code == 200
        assert state_of(flow) == before


@pytest.mark.parametrize("verb", ["skip", "change", "rerun-failed", "rerun-from"])
def test_get_changes_no_task(staff: Staff, failed: Flow, verb: str) -> None:
    before = state_of(failed)
    assert staff(*OPERATORS).get(task_verb(failed, 2, verb), {"confirmed": "1"}).status_code == 200
    assert state_of(failed) == before


def test_without_permission(staff: Staff, flows: dict[str, Flow]) -> None:
    client, flow = staff(*READERS), flows["failed"]
    before = state_of(flow)
    for verb in ("suspend", "resume", "cancel", "rerun-failed", "rerun-all"):
        assert client.post(flow_verb(flow, verb), {"confirmed": "1"}).status_code == 403
    for verb in ("skip", "change", "rerun-failed", "rerun-from"):
        assert client.post(task_verb(flow, 2, verb), {"confirmed": "1"}).status_code == 403
    client.post(LIST, {"action": "cancel", "_selected_action": [flow.pk], "confirmed": "1"})
    assert state_of(flow) == before


def test_forged_post_is_refused(failed: Flow, staff: Staff) -> None:
    signed_in = staff(*OPERATORS)
    client = Client(enforce_csrf_checks=True)
    client.cookies = signed_in.cookies
    before = state_of(failed)
    assert client.post(flow_verb(failed, "rerun-failed")).status_code == 403
    assert state_of(failed) == before


def test_form_of_several_parts_keeps_its_fields(flows: dict[str, Flow], staff: Staff) -> None:
    flow, signed_in = flows["running"], staff(*OPERATORS)
    client = Client(enforce_csrf_checks=True)
    client.cookies = signed_in.cookies
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get(flow_page(flow)).text)
    assert token
    answer = client.post(flow_verb(flow, "suspend"), {"csrfmiddlewaretoken": token[1], "why": "the tape is full"})
    assert answer.status_code == 302
    assert HistoryEntry.objects.get(task_flow=flow, verb="suspend").reason == "the tape is full"


@pytest.mark.parametrize(
    ("name", "verb", "sentence"),
    [
        ("finished", "suspend", "already Finish"),
        ("running", "resume", "is not held"),
        ("cancelled", "cancel", "has ended"),
        ("finished", "rerun-failed", "No task of flow"),
    ],
)
def test_conflict_is_a_message(staff: Staff, flows: dict[str, Flow], name: str, verb: str, sentence: str) -> None:
    flow, client = flows[name], staff(*OPERATORS)
    before = state_of(flow)
    answer = client.post(flow_verb(flow, verb), {"confirmed": "1"}, follow=True)
    assert answer.status_code == 200
    assert sentence in answer.text
    assert state_of(flow) == before


def test_rerun_from_over_a_running_task_names_it(staff: Staff, flows: dict[str, Flow]) -> None:
    flow = flows["running"]
    assert Task.objects.claim(TaskRef(flow.pk, 2), Process("elsewhere", 1)) is not None
    answer = staff(*OPERATORS).post(task_verb(flow, 1, "rerun-from"), {"confirmed": "1"}, follow=True)
    running = Task.objects.get(task_flow=flow, task_exec_seq=2)
    assert f"Tasks {running.title} of flow" in answer.text


def test_skip_of_a_finished_task_is_refused(staff: Staff, failed: Flow) -> None:
    answer = staff(*OPERATORS).post(task_verb(failed, 1, "skip"), {"confirmed": "1"}, follow=True)
    assert "only a Waiting or Failed task can be skipped" in answer.text


def change(client: Client, flow: Flow, seq: int, **data: Any) -> Any:
    form = {"parameters": "", "priority": "0", "queue": "", "confirmed": "1", **data}
    return client.post(task_verb(flow, seq, "change"), form)


def test_change_then_rerun_finishes_a_failed_flow(staff: Staff, runner: InlineRunner, steps: Any) -> None:
    steps("fixable", {"program": "FailWhile", "param1_key": "path", "param1_value": "/"}, {})
    flow = engine.register("fixable")
    runner.run()
    answer = change(staff(*OPERATORS), flow, 1, parameters='{"path": "/no/such/file"}', rerun="on", why="typo")
    assert answer.status_code == 302
    runner.run()
    flow.refresh_from_db()
    assert flow.status is Status.FINISH
    verbs = list(
        HistoryEntry.objects.filter(task_flow=flow, actor="clerk").order_by("id").values_list("verb", "reason")
    )
    assert verbs == [("change", "typo"), ("rerun", "typo")]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"parameters": "{"}, "not JSON"),
        ({"parameters": "[1]"}, "use a JSON object"),
        ({"parameters": '{"a": NaN}'}, "NaN is not JSON"),
        ({"parameters": '{"a": "\\u0000"}'}, "NUL"),
        ({"parameters": '{"nonsense": 1}'}, "no such parameter"),
        ({"parameters": "[" * 50_000}, "nested too deep"),
        ({"priority": "20"}, "less than or equal to 19"),
        ({"priority": "x"}, "whole number"),
        ({"queue": "a/b"}, "queue holds a slash"),
    ],
)
def test_change_shows_what_is_wrong_and_writes_nothing(
    staff: Staff, failed: Flow, data: dict[str, str], sentence: str
) -> None:
    before = state_of(failed)
    answer = change(staff(*OPERATORS), failed, 2, **data)
    assert answer.status_code == 200
    assert sentence in answer.text
    assert state_of(failed) == before


def test_change_keeps_what_is_masked(staff: Staff, runner: InlineRunner, steps: Any) -> None:
    steps(
        "secret",
        {"program": "HTTPPostRequest", "parameters": {"URL": "http://127.0.0.1:1/", "BODY": {"token": "xyzzy"}}},
    )
    flow = engine.register("secret")
    client = staff(*OPERATORS, "change_taskdefinition")
    page = client.get(task_verb(flow, 1, "change")).text
    assert "xyzzy" not in page
    masked = '{"URL": "http://127.0.0.1:2/", "BODY": {"token": "••••"}}'
    assert change(client, flow, 1, parameters=masked).status_code == 302
    assert flow.tasks.get().parameters == {"URL": "http://127.0.0.1:2/", "BODY": {"token": "xyzzy"}}
    half = '{"URL": "http://127.0.0.1:2/", "BODY": {"token": "••••", "more": 1}}'
    assert change(client, flow, 1, parameters=half).status_code == 302
    assert flow.tasks.get().parameters["BODY"] == {"token": "xyzzy", "more": 1}
    moved = '{"URL": "http://127.0.0.1:2/", "BODY": {"copy": "••••"}}'
    assert "parameter BODY holds ••••" in change(client, flow, 1, parameters=moved).text
    assert "cannot be removed" in change(client, flow, 1, parameters='{"URL": "x"}').text


@pytest.mark.parametrize("action", ["suspend", "resume", "rerun_failed"])
def test_batch(staff: Staff, flows: dict[str, Flow], action: str) -> None:
    client = staff(*OPERATORS)
    chosen = {"action": action, "_selected_action": [flow.pk for flow in flows.values()]}
    answer = client.post(LIST, chosen, follow=True)
    assert answer.status_code == 200
    moved = HistoryEntry.objects.filter(actor="clerk").values_list("task_flow_id", flat=True)
    expected = {
        "suspend": {"failed", "waiting", "running"},
        "resume": {"held"},
        "rerun_failed": {"failed"},
    }[action]
    assert set(moved) == {flows[name].pk for name in expected}
    refused = [message for message in answer.context["messages"] if message.level_tag == "error"]
    assert len(refused) == len(flows) - len(expected)


def test_batch_that_destroys_asks_first(staff: Staff, flows: dict[str, Flow]) -> None:
    client = staff(*OPERATORS)
    chosen = {"action": "cancel", "_selected_action": [flows["failed"].pk, flows["running"].pk, flows["finished"].pk]}
    answer = client.post(LIST, chosen)
    assert answer.status_code == 200
    assert "Cancel 3 flows" in answer.text
    assert not HistoryEntry.objects.filter(actor="clerk").exists()

    answer = client.post(LIST, {**chosen, "confirmed": "1", "why": "tidy"}, follow=True)
    assert "has ended" in answer.text
    assert set(HistoryEntry.objects.filter(actor="clerk", reason="tidy").values_list("task_flow_id", flat=True)) == {
        flows["failed"].pk,
        flows["running"].pk,
    }
