"""``POST /register`` with a list."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp.models import Flow, Workflow
from flowerapp.testing import InlineRunner

Make = Callable[..., str]
pytestmark = pytest.mark.django_db


def post(client: APIClient, body: Any, path: str = "/register", **options: Any) -> Any:
    return client.generic("POST", path, json.dumps(body), content_type="application/json", **options)


def refusals_of(answer: Any, code: int, *indexes: int) -> list[dict[str, Any]]:
    """The refused items of an answer."""
    assert answer.status_code == code, answer.content
    body = answer.json()
    assert set(body) == {"status", "taskId", "description", "refusals"}
    assert (body["status"], body["taskId"]) == ("failed", "")
    assert [item["index"] for item in body["refusals"]] == list(indexes)
    for item in body["refusals"]:
        assert (set(item), item["status"]) == ({"index", "status", "taskId", "description"}, "failed")
        assert f"item {item['index']}: {item['description']}"[:200] in body["description"]
    refusals: list[dict[str, Any]] = body["refusals"]
    return refusals


@pytest.mark.parametrize("path", ["/register", "/register/"])
def test_an_answer_for_each_in_order(api: APIClient, workflow: Make, runner: InlineRunner, path: str) -> None:
    workflow("etl", {"program": "Return"}, {"program": "Return"})
    workflow("other", {"program": "Return"})
    body = [
        {"taskId": "etl", "input": [1], "priority": -3, "parameters": {"2": {"value": "x"}}, "entrance": 2},
        {"taskId": "other"},
        {"taskId": "etl", "input": None, "idempotency_key": "k"},
        {"taskId": "etl", "input": None, "idempotency_key": "k"},
    ]
    answer = post(api, body, path)
    assert answer.status_code == 200
    answers = answer.json()
    flows = list(Flow.objects.order_by("task_flow_id"))
    ids = [flows[0].pk, flows[1].pk, flows[2].pk, flows[2].pk]
    names = ["etl", "other", "etl", "etl"]
    assert answers == [
        {"status": "succeeded", "taskId": name, "taskFlowId": flow_id} for name, flow_id in zip(names, ids, strict=True)
    ]
    assert {flow.registered_by for flow in flows} == {"root"}
    assert flows[0].tasks.get(task_exec_seq=2).parameters == {"value": "x"}
    assert post(api, body[2:], path).json()[0]["taskFlowId"] == flows[2].pk
    runner.run()
    assert {flow.exec_status for flow in Flow.objects.all()} == {3}


def test_an_empty_list(api: APIClient) -> None:
    answer = post(api, [])
    sentence = "the list is empty; it needs at least one item"
    assert (answer.status_code, answer.json()) == (400, {"status": "failed", "taskId": "", "description": sentence})


def test_a_unique_workflow_is_running_from_the_second_item_on(api: APIClient, workflow: Make) -> None:
    workflow("nightly", {"program": "Return"})
    Workflow.objects.filter(pk="nightly").update(unique=True)
    first, second = post(api, [{"taskId": "nightly"}, {"taskId": "nightly"}]).json()
    assert (first["status"], second["status"]) == ("succeeded", "running")
    assert first["taskFlowId"] == second["taskFlowId"]
    assert second["registeredTs"].endswith("Z")


SHAPES: list[tuple[Any, str, str]] = [
    (7, "", "must be a JSON object"),
    (None, "", "must be a JSON object"),
    ([], "", "must be a JSON object"),
    ("etl", "", "must be a JSON object"),
    ({}, "", "taskId"),
    ({"taskId": 1}, "", "taskId"),
    ({"taskId": "etl", "color": 1}, "etl", "color"),
    ({"taskId": "etl", "priority": "1"}, "etl", "priority"),
    ({"taskId": "etl", "parameters": {"x": {}}}, "etl", "parameters.x"),
    ({"taskId": "etl", "idempotency_key": "\xe9"}, "etl", "printable ASCII"),
    ({"taskId": "etl", "idempotency_key": ""}, "etl", "1 to 255"),
    ({"taskId": "etl", "idempotency_key": "x" * 256}, "etl", "1 to 255"),
    ({"taskId": "etl", "idempotency_key": 1}, "etl", "idempotency_key"),
]


@pytest.mark.parametrize(("item", "name", "word"), SHAPES)
def test_items_of_another_shape(api: APIClient, workflow: Make, item: Any, name: str, word: str) -> None:
    workflow("etl", {"program": "Return"})
    (refusal,) = refusals_of(post(api, [{"taskId": "etl"}, item]), 400, 1)
    assert refusal["taskId"] == name
    assert word in refusal["description"]
    assert not Flow.objects.exists()


def test_refusals_say_which_and_why(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    good = {"taskId": "etl", "idempotency_key": "k"}
    assert post(api, [good]).status_code == 200
    missing, conflicting, bad = {"taskId": "none"}, {**good, "priority": 1}, {"taskId": "etl", "priority": 99}
    (first, second) = refusals_of(post(api, [missing, good, missing]), 404, 0, 2)
    assert first == {**second, "index": 0}
    assert (first["taskId"], "none" in first["description"]) == ("none", True)
    (conflict,) = refusals_of(post(api, [good, conflicting, {"taskId": "etl"}]), 409, 1)
    assert "'k'" in conflict["description"]
    refusals_of(post(api, [bad, good]), 400, 0)
    refusals_of(post(api, [missing, bad]), 400, 0, 1)
    assert Flow.objects.count() == 1


def test_a_list_that_is_too_long(api: APIClient, workflow: Make, settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "MAX_REGISTRATIONS": 2}
    workflow("etl", {"program": "Return"})
    answer = post(api, [{"taskId": "etl"}, {"taskId": "etl"}, 7])
    assert answer.status_code == 400
    assert "3 items; the limit is 2" in answer.json()["description"]
    assert post(api, [{"taskId": "etl"}, {"taskId": "etl"}]).status_code == 200
    assert Flow.objects.count() == 2


def test_the_header_is_for_one_flow(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    answer = post(api, [{"taskId": "etl"}], HTTP_IDEMPOTENCY_KEY="k")
    assert answer.status_code == 400
    assert "idempotency_key" in answer.json()["description"]
    assert post(api, {"taskId": "etl", "idempotency_key": "k"}).status_code == 400
    assert not Flow.objects.exists()


def test_a_list_has_no_workflow_in_its_address(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    answer = post(api, [{"taskId": "etl"}], "/register/etl")
    assert answer.status_code == 400
    assert "object" in answer.json()["description"]


def test_who_may(client_with: Callable[..., APIClient], workflow: Make, settings: Any) -> None:
    secret = {"program": "Return", "parameters": {"value": {"password": "s3cret"}}}
    workflow("etl", secret)
    plain, override = {"taskId": "etl"}, {"taskId": "etl", "parameters": {"1": {"value": 1}}}
    assert post(client_with("view_flow"), [plain]).status_code == 403
    (refusal,) = refusals_of(post(client_with("register_flow", username="bob"), [plain, override]), 400, 1)
    assert "masked values" in refusal["description"]
    near = APIClient(REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")
    assert post(near, [plain]).status_code == 401
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    assert post(near, [plain], HTTP_ORIGIN="https://evil.example").status_code == 403
    refusals_of(post(near, [override]), 400, 0)
    assert not Flow.objects.exists()
    assert len(post(near, [plain, plain]).json()) == 2
    assert {flow.registered_by for flow in Flow.objects.all()} == {""}
