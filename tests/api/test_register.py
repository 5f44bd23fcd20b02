"""``/register``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from flowerapp.models import Flow, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner

Make = Callable[..., str]
pytestmark = pytest.mark.django_db


def failed(answer: Any, code: int, task_id: str, *words: str) -> None:
    assert answer.status_code == code, answer.content
    body = answer.json()
    assert set(body) == {"status", "taskId", "description"}
    assert (body["status"], body["taskId"]) == ("failed", task_id)
    for word in words:
        assert word in body["description"]


@pytest.mark.parametrize("path", ["/register/sample", "/register/sample/"])
def test_by_url_without_a_body(api: APIClient, workflow: Make, runner: InlineRunner, path: str) -> None:
    workflow("sample", {"program": "Return"}, {"program": "Return"})
    answer = api.generic("POST", path, content_type="")
    flow = Flow.objects.get()
    assert answer.status_code == 200
    assert answer.json() == {"status": "succeeded", "taskId": "sample", "taskFlowId": flow.pk}
    assert flow.registered_by == "root"
    runner.run()
    flow.refresh_from_db()
    assert flow.status is Status.FINISH


def test_an_empty_form_is_no_body(api: APIClient, workflow: Make) -> None:
    workflow("sample", {"program": "Return"})
    assert api.post("/register/sample", format="multipart").json()["status"] == "succeeded"
    failed(api.post("/register/sample", {"priority": "1"}, format="multipart"), 415, "sample", "application/json")


@pytest.mark.parametrize("path", ["/register", "/register/"])
def test_by_body(api: APIClient, workflow: Make, path: str) -> None:
    workflow("sample", {"program": "Return", "parameters": {"value": 1}}, {"program": "Return"})
    body = {
        "taskId": "sample",
        "input": [1, None],
        "priority": -3,
        "parameters": {"2": {"value": "x"}},
        "entrance": 2,
    }
    assert api.post(path, body, format="json").json()["status"] == "succeeded"
    flow = Flow.objects.get()
    assert (flow.input, flow.task_priority) == ([1, None], -3)
    first, second = flow.tasks.order_by("task_exec_seq")
    assert (first.status, second.status) == (Status.IGNORE, Status.WAIT)
    assert (second.parameters, second.task_priority) == ({"value": "x"}, -3)


def test_names_may_hold_anything_but_a_slash(api: APIClient, workflow: Make) -> None:
    for name in ("nightly etl", "v1.2.", "großes-Ü 数据 🌷", "a?b&c=#%41", "+"):
        workflow(name, {"program": "Return"})
        assert api.post(f"/register/{quote(name, safe='')}").json()["taskId"] == name
        assert api.get(f"/api/workflows/{quote(name, safe='')}/").json()["task_id"] == name


@pytest.mark.parametrize("path", ["/register/nothing", "/register/%00", "/register/a%0Ab", "/register/" + "x" * 3000])
def test_unknown_workflow(api: APIClient, path: str) -> None:
    answer = api.post(path)
    assert answer.status_code == 404
    assert answer.json()["status"] == "failed"
    assert answer.json()["description"]


def test_unknown_workflow_by_body(api: APIClient) -> None:
    failed(api.post("/register", {"taskId": "nothing"}, format="json"), 404, "nothing", "nothing")
    failed(api.post("/register", {"taskId": "a/b"}, format="json"), 404, "a/b")


BAD = [
    ({"priority": 20}, "priority 20"),
    ({"priority": True}, "priority"),
    ({"priority": 1.5}, "whole number"),
    ({"priority": "1"}, "whole number"),
    ({"priority": 10**400}, "priority"),
    ({"parameters": []}, "parameters"),
    ({"parameters": {"x": {}}}, "parameters.x"),
    ({"parameters": {"9": {"value": 1}}}, "step 9"),
    ({"parameters": {"99999999999": {}}}, "parameters"),
    ({"parameters": {"1": "value"}}, "parameters.1"),
    ({"parameters": {"1": {"valu": 1}}}, "valu"),
    ({"entrance": 7}, "entrance 7"),
    ({"entrance": False}, "entrance"),
    ({"entrance": "load"}, "entrance 'load'"),
    ({"entrance": ""}, "entrance"),
    ({"entrance": 1.0}, "entrance"),
    ({"entrance": ["1"]}, "entrance"),
    ({"entrance": 2**80}, "entrance"),
    ({"color": "red"}, "color"),
    ({"taskId": "other"}, "taskId"),
]


@pytest.mark.parametrize(("body", "word"), BAD)
def test_errors_name_the_bad_value(api: APIClient, workflow: Make, body: dict[str, Any], word: str) -> None:
    workflow("etl", {"program": "Return"})
    failed(api.post("/register/etl", body, format="json"), 400, "etl", word)
    assert not Flow.objects.exists()


@pytest.mark.parametrize(
    "body", [{}, [], "etl", None, 3, {"taskId": None}, {"taskId": 3}, {"taskId": True}, {"taskId": ["etl"]}]
)
def test_a_body_without_a_name(api: APIClient, body: Any) -> None:
    answer = api.generic("POST", "/register", json.dumps(body), content_type="application/json")
    failed(answer, 400, "")


def test_form_body_names_the_header(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""):
        answer = api.generic("POST", "/register", '{"taskId": "etl"}', content_type=kind)
        failed(answer, 415, "", "Content-Type: application/json")
    assert not Flow.objects.exists()


def test_chunked_body_is_not_dropped_in_silence(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    answer = api.generic("POST", "/register/etl", HTTP_TRANSFER_ENCODING="chunked", content_type="application/json")
    failed(answer, 411, "etl", "Content-Length")


def test_large_body(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    answer = api.post("/register/etl", {"input": "x" * 2_000_000}, format="json")
    failed(answer, 413, "etl", "1,048,576", "MAX_JSON_BYTES")
    assert not Flow.objects.exists()


def test_broken_definition_written_by_sql(api: APIClient, by_sql: Callable[..., None]) -> None:
    by_sql("bad", 1, "Nope")
    failed(api.post("/register/bad"), 400, "bad", "step 1", "Nope")


def test_idempotency_key(api: APIClient, client_with: Callable[..., APIClient], workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    workflow("other", {"program": "Return"})

    def register(client: APIClient, path: str, body: Any = None) -> Any:
        return client.post(path, body or {}, format="json", HTTP_IDEMPOTENCY_KEY="k 1")

    first = register(api, "/register/etl")
    assert register(api, "/register/etl").json() == first.json()
    failed(register(api, "/register/etl", {"priority": 1}), 409, "etl", "k 1")
    assert register(api, "/register/other").json()["taskFlowId"] != first.json()["taskFlowId"]
    other_user = client_with("register_flow", username="bob")
    assert register(other_user, "/register/etl").json()["taskFlowId"] != first.json()["taskFlowId"]
    assert Flow.objects.count() == 3


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\x00b", "\xe9"])
def test_bad_idempotency_key(api: APIClient, workflow: Make, key: str) -> None:
    workflow("etl", {"program": "Return"})
    failed(api.post("/register/etl", HTTP_IDEMPOTENCY_KEY=key), 400, "etl", "Idempotency-Key")


def test_only_post(api: APIClient) -> None:
    failed(api.get("/register/etl"), 405, "etl")


def test_an_entrance_by_its_name(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"}, {"program": "Return", "name": "load"})
    assert api.post("/register/etl", {"entrance": "load"}, format="json").json()["status"] == "succeeded"
    first, second = Flow.objects.get().tasks.order_by("task_exec_seq")
    assert (first.status, second.status) == (Status.IGNORE, Status.WAIT)


def test_a_unique_workflow_answers_with_the_flow_that_runs(
    api: APIClient, workflow: Make, runner: InlineRunner
) -> None:
    workflow("nightly", {"program": "Return"}, {"program": "Return"})
    Workflow.objects.filter(pk="nightly").update(unique=True)
    first = api.post("/register/nightly").json()
    assert first["status"] == "succeeded"
    flow = Flow.objects.get()
    waiting = api.post("/register", {"taskId": "nightly"}, format="json")
    assert waiting.status_code == 200
    body = waiting.json()
    sentence = body.pop("description")
    registered = flow.registered_ts.isoformat().replace("+00:00", "Z")
    ids = {"taskId": "nightly", "taskFlowId": flow.pk}
    assert body == {"status": "running", **ids, "startedTs": None, "registeredTs": registered}
    assert f"flow {flow.pk} waits for its first start since {flow.registered_ts:%Y-%m-%d %H:%M:%S} UTC" in sentence
    runner.step()
    flow.refresh_from_db()
    assert flow.started_ts
    body = api.post("/register/nightly").json()
    assert body["startedTs"] == flow.started_ts.isoformat().replace("+00:00", "Z")
    assert f"is running since {flow.started_ts:%Y-%m-%d %H:%M:%S} UTC" in body["description"]
    runner.run()
    assert api.post("/register/nightly").json()["status"] == "succeeded"
    assert Flow.objects.count() == 2


def test_the_same_key_is_no_second_flow_of_a_unique_workflow(
    api: APIClient, client_with: Callable[..., APIClient], workflow: Make
) -> None:
    workflow("nightly", {"program": "Return"})
    Workflow.objects.filter(pk="nightly").update(unique=True)

    def register(client: APIClient, key: str) -> str:
        return str(client.post("/register/nightly", HTTP_IDEMPOTENCY_KEY=key).json()["status"])

    assert [register(api, key) for key in ("a", "a", "b")] == ["succeeded", "succeeded", "running"]
    assert register(client_with("register_flow", username="bob"), "a") == "running"
    assert api.post("/register/nightly").json()["status"] == "running"
    assert Flow.objects.count() == 1
