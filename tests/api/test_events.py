"""Events, latches and the ends of waits over the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, COUNTDOWN, DELAY, EVENT
from flowerapp.models import Event, Flow, Latch, LatchHold, Workflow
from flowerapp.querysets.db import connection
from flowerapp.states import Status
from flowerapp.testing import InlineRunner

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., str]


@pytest.fixture
def waiting(runner: InlineRunner, workflow: Make) -> Flow:
    """A flow that waits for the event ``paid`` of its order, for an hour at most."""
    parameters = {"event": "paid", "match": "input", "timeout": "1h"}
    workflow("order", {"program": EVENT, "parameters": parameters}, {"program": "Echo"})
    flow = engine.register("order", input={"order": 7, "api_token": "hidden"})
    runner.run()
    return flow


def test_a_reported_event_says_what_it_led_to(api: APIClient, waiting: Flow, runner: InlineRunner) -> None:
    engine.define("etl", [*_rows("etl")], {"start_event": "paid"})
    data = {"order": 7, "api_token": "hidden", "output": {"amount": 120}}
    answer = api.post("/api/events/", {"kind": "paid", "data": data}, format="json")
    assert answer.status_code == 201, answer.content
    body = answer.json()
    event = Event.objects.get()
    started = Flow.objects.get(task_id="etl")
    expected = {"id": event.pk, "kind": "paid", "ended": 1, "started": [started.pk]}
    assert {name: body[name] for name in expected} == expected
    assert body["ts"].endswith("Z")
    assert (event.actor, started.registered_by, started.input) == ("root", "event", data)
    runner.run()
    waiting.refresh_from_db()
    assert waiting.status is Status.FINISH


def _rows(task_id: str) -> list[Any]:
    from flowerapp.models import TaskDefinition

    return [TaskDefinition(task_id=task_id, task_seq=1, program="Echo")]


def test_events_are_listed_by_pages_and_read_masked(api: APIClient, db: None) -> None:
    for number in range(60):
        engine.emit("even" if number % 2 == 0 else "odd", {"n": number, "password": "hidden"})
    page = api.get("/api/events/").json()
    assert (len(page["results"]), page["results"][0]["data"]) == (50, {"n": 59, "password": "••••"})
    assert len(api.get(page["next"]).json()["results"]) == 10
    even = api.get("/api/events/?kind=even&page_size=100").json()["results"]
    assert {event["kind"] for event in even} == {"even"}
    assert len(even) == 30
    one = api.get(f"/api/events/{even[0]['id']}/").json()
    assert (one["offered"], one["consumed_ts"], one["data"]["password"]) == (True, None, "••••")


def test_large_data_is_left_out_of_the_list(api: APIClient, db: None) -> None:
    event = engine.emit("large", {"text": "x" * 20_000})
    listed = api.get("/api/events/").json()["results"][0]
    assert listed["data"] is None
    assert listed["left_out"]["data"] > 20_000
    assert len(api.get(f"/api/events/{event.pk}/").json()["data"]["text"]) == 20_000


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": ""},
        {"kind": 1},
        {"kind": "a/b"},
        {"kind": "a\u202eb"},
        {"kind": "x" * 257},
        {"kind": "paid", "data": [1]},
        {"kind": "paid", "data": "text"},
        {"kind": "paid", "data": {"password": "••••"}},
        {"kind": "paid", "data": {str(number): number for number in range(201)}},
        {"kind": "paid", "more": 1},
        [],
    ],
)
def test_a_bad_event_is_refused_and_nothing_is_written(api: APIClient, db: None, body: Any) -> None:
    answer = api.post("/api/events/", body, format="json")
    assert (answer.status_code, Event.objects.exists()) == (400, False)


@pytest.mark.parametrize("number", ["0", "x", "9" * 30, "-1", "1.5", "²"])
def test_an_unknown_event_is_404(api: APIClient, db: None, number: str) -> None:
    assert api.get(f"/api/events/{number}/").status_code == 404


def test_who_may_report_and_see(client_with: Callable[..., APIClient], waiting: Flow) -> None:
    reporter, reader = client_with("emit_event", username="bank"), client_with("view_flow", username="eve")
    body = {"kind": "paid", "data": {}}
    assert reader.post("/api/events/", body, format="json").status_code == 403
    assert reporter.post("/api/events/", body, format="json").status_code == 201
    assert Event.objects.get().actor == "bank"
    assert (reporter.get("/api/events/").status_code, reader.get("/api/events/").status_code) == (403, 200)
    assert reader.post("/api/latches/port/release/", {}, format="json").status_code == 403


def test_a_task_that_waits_says_for_what_and_until_when(api: APIClient, waiting: Flow) -> None:
    task = api.get(f"/api/flows/{waiting.pk}/tasks/1/").json()
    assert (task["word"], task["symbol"], task["parked"]) == ("Waiting", "◔", True)
    assert task["note"].startswith("for an event, ")
    assert task["waits"].startswith('for event paid with {"order":7,"api_token":"••••"}, until ')
    assert "hidden" not in str(task)
    assert task["duration_seconds"] is not None
    node = api.get(f"/api/flows/{waiting.pk}/graph/").json()["nodes"][0]
    assert (node["status"], node["waits"]) == ("Wait", "for an event")
    for form in ("mermaid", "ascii", "svg"):
        drawn = api.get(f"/api/flows/{waiting.pk}/graph/?as={form}")
        assert "for an event" in drawn.content.decode()
    state = api.get(f"/workflows/{waiting.pk}/state").json()
    assert (state["state"], state["S"][1]) == ("RUNNING", 1)


def test_a_reason_does_not_quote_a_secret_of_the_input(api: APIClient, runner: InlineRunner, workflow: Make) -> None:
    parameters = {"event": "paid-{{ input.token }}", "match": {"code": "{{ input.token }}"}}
    workflow("order", {"program": EVENT, "parameters": parameters})
    flow = engine.register("order", input={"token": "hidden-value"})
    runner.run()
    task = api.get(f"/api/flows/{flow.pk}/tasks/1/").json()
    assert "hidden-value" not in str(task)
    assert '{"code":"••••"}' in task["waits"]


def test_a_wait_is_ended_by_hand(api: APIClient, waiting: Flow, runner: InlineRunner) -> None:
    url = f"/api/flows/{waiting.pk}/tasks/1/wake/"
    assert api.post(f"/api/flows/{waiting.pk}/tasks/2/wake/", {}, format="json").status_code == 409
    answer = api.post(url, {"output": {"amount": 1}, "why": "it was paid in cash"}, format="json")
    assert answer.status_code == 200, answer.content
    runner.run()
    assert api.get(f"/api/flows/{waiting.pk}/").json()["output"] == {"amount": 1}
    entry = waiting.history.get(verb="wake")
    assert (entry.actor, entry.reason) == ("root", "it was paid in cash")
    assert api.post(url, {}, format="json").status_code == 409
    assert api.post(f"/api/flows/{waiting.pk}/tasks/9/wake/", {}, format="json").status_code == 404
    assert api.post(url, {"output": "••••"}, format="json").status_code == 400


@pytest.fixture
def latched(runner: InlineRunner, workflow: Make) -> tuple[Flow, Flow]:
    """A flow that holds the latch ``port``, and one that waits for it."""
    port = {"name": "port"}
    delay = {"program": DELAY, "parameters": {"duration": 60}}
    workflow("hold", {"program": ACQUIRE, "parameters": port}, delay)
    workflow("wait", {"program": COUNTDOWN, "parameters": port, "name": "until free"}, {"program": "Echo"})
    flows = engine.register("hold"), engine.register("wait")
    runner.run()
    return flows


def test_latches_are_listed_read_and_released(api: APIClient, latched: tuple[Flow, Flow], runner: InlineRunner) -> None:
    holder, waiter = latched
    listed = api.get("/api/latches/").json()["results"]
    assert [(latch["name"], latch["count"], latch["waiting"]) for latch in listed] == [("port", 1, 1)]
    one = api.get("/api/latches/port/").json()
    assert [(row["task_flow_id"], row["task_id"], row["task_exec_seq"]) for row in one["holders"]] == [
        (holder.pk, "hold", 1)
    ]
    assert [(row["task_flow_id"], row["name"]) for row in one["waiters"]] == [(waiter.pk, "until free")]
    wrong = {"task_flow_id": waiter.pk}
    assert api.post("/api/latches/port/release/", wrong, format="json").status_code == 409
    answer = api.post("/api/latches/port/release/", {"why": "the ship has sunk"}, format="json")
    assert (answer.status_code, answer.json()) == (200, {"name": "port", "released": 1})
    runner.run()
    waiter.refresh_from_db()
    assert (waiter.status, Latch.objects.exists()) == (Status.FINISH, False)
    entry = holder.history.get(verb="release")
    assert (entry.actor, entry.reason, entry.details) == ("root", "the ship has sunk", {"latch": "port"})
    for method in (api.get, api.post):
        suffix = "release/" if method == api.post else ""
        assert method(f"/api/latches/port/{suffix}").status_code == 404


def test_the_counts_of_one_flow_are_released_alone(api: APIClient, latched: tuple[Flow, Flow]) -> None:
    latch = Latch.objects.get()
    LatchHold.objects.create(latch=latch, task_flow_id="deleted", task_exec_seq=1)
    assert api.get("/api/latches/port/").json()["holders"][1]["task_id"] == ""
    body = {"task_flow_id": f"workflow:{latched[0].pk}"}
    assert api.post("/api/latches/port/release/", body, format="json").json()["released"] == 1
    assert api.get("/api/latches/port/").json()["count"] == 1
    assert api.post("/api/latches/port/release/", {}, format="json").json()["released"] == 1


def test_lists_of_events_and_latches_take_the_same_statements_for_few_and_many(api: APIClient, db: None) -> None:
    counts = []
    for number in (1, 30):
        for at in range(number):
            engine.emit("k", {"n": at})
            Latch.objects.get_or_create(pk=f"l{at}")
        statements = []
        for url in ("/api/events/", "/api/latches/", "/api/latches/l0/"):
            with CaptureQueriesContext(connection()) as queries:
                assert api.get(url).status_code == 200
            statements.append(len(queries))
        counts.append(statements)
    assert counts[0] == counts[1]


DOCUMENT: dict[str, Any] = {"task_id": "started", "tasks": [{"task_seq": 1, "program": "Echo"}]}


def test_a_workflow_says_which_events_start_it(api: APIClient, runner: InlineRunner) -> None:
    match = {"country": "DE", "token": "hidden"}
    document = {**DOCUMENT, "start_event": "paid", "start_match": match}
    assert api.post("/api/workflows/", document, format="json").status_code == 201
    shown = api.get("/api/workflows/started/").json()
    assert (shown["start_event"], shown["start_match"]) == ("paid", {"country": "DE", "token": "••••"})
    shown["start_match"]["country"] = "FR"
    assert api.put("/api/workflows/started/", shown, format="json").status_code == 200
    assert Workflow.objects.get().start_match == {"country": "FR", "token": "hidden"}
    started = [
        api.post("/api/events/", {"kind": "paid", "data": data}, format="json").json()["started"]
        for data in ({"country": "FR"}, {"country": "FR", "token": "hidden", "n": 1})
    ]
    assert [len(flows) for flows in started] == [0, 1]
    plain = {**DOCUMENT, "start_event": ""}
    assert api.put("/api/workflows/started/", plain, format="json").json()["start_match"] is None


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"start_event": "a/b"}, "start_event"),
        ({"start_event": 1}, "start_event"),
        ({"start_event": "x" * 300}, "start_event"),
        ({"start_match": {"a": 1}}, "start_match"),
        ({"start_event": "paid", "start_match": [1]}, "start_match"),
        ({"start_event": "paid", "start_match": {"token": "••••"}}, "start_match"),
        ({"start_event": "paid", "start_match": {str(number): 0 for number in range(201)}}, "start_match"),
        (
            {"start_event": "paid", "tasks": [{"task_seq": 1, "program": "Echo", "required_at_register": ["value"]}]},
            "start_event",
        ),
    ],
)
def test_settings_of_events_that_cannot_be_are_refused(
    api: APIClient, db: None, settings: dict[str, Any], place: str
) -> None:
    answer = api.post("/api/workflows/", {**DOCUMENT, **settings}, format="json")
    assert (answer.status_code, Workflow.objects.exists()) == (400, False)
    assert place in answer.json(), answer.content
