"""Each operation of the API's document says what it is for, and shows a body and an answer that are real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.api import examples, schema_generator
from flowerapp.testing import InlineRunner

DOCUMENT: dict[str, Any] = schema_generator.document(settings.ROOT_URLCONF, None)
OPERATIONS = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["operationId"])
def test_summary_description_and_examples(operation: dict[str, Any]) -> None:
    assert 3 < len(operation["summary"]) <= 100
    assert operation["summary"][0].isupper() or operation["summary"][0].isdigit()
    assert len(operation["description"]) > 3
    for body in operation.get("requestBody", {}).get("content", {}).values():
        assert body.get("example") or body["examples"]
    answers = [answer for code, answer in operation["responses"].items() if code < "300"]
    assert answers
    for answer in answers:
        if "content" in answer and "application/json" in answer["content"]:
            shown = answer["content"]["application/json"]
            assert shown.get("example") or shown["examples"]
        else:
            assert operation["operationId"].endswith("_destroy")


def test_each_body_in_examples_is_shown() -> None:
    bodies = {operation["operationId"]: operation.get("requestBody", {}).get("content", {}) for operation in OPERATIONS}
    shown = {name for name, content in bodies.items() if "example" in content.get("application/json", {})}
    assert shown == set(examples.REQUESTS)


def test_the_description_says_how_to_get_a_token() -> None:
    assert "manage.py flow token" in DOCUMENT["info"]["description"]


def test_bodies_are_accepted(api: APIClient, runner: InlineRunner) -> None:
    bodies = examples.REQUESTS

    def call(method: str, path: str, body: str) -> int:
        return int(getattr(api, method)(path, bodies[body], format="json").status_code)

    assert call("post", "/api/workflows/", "api_workflows_create") == 201
    assert call("post", "/api/pools/", "api_pools_create") == 201
    assert call("put", "/api/pools/warehouse/", "api_pools_update") == 200
    assert call("post", "/register/etl", "register_named") == 200
    flow = f"/api/flows/{engine.register('etl').pk}/"
    for verb in ("suspend", "resume"):
        assert call("post", f"{flow}{verb}/", f"api_flows_{verb}_create") == 200
    assert call("patch", f"{flow}tasks/1/", "api_flows_tasks_partial_update") == 200
    assert call("post", f"{flow}tasks/1/skip/", "api_flows_tasks_skip_create") == 200
    assert call("post", f"{flow}rerun/", "api_flows_rerun_create") == 200
    assert call("post", f"{flow}cancel/", "api_flows_cancel_create") == 200
    assert call("put", "/api/workflows/etl/", "api_workflows_update") == 200


def test_answers_have_the_keys_of_real_ones(api: APIClient, workflow: Callable[..., str], runner: InlineRunner) -> None:
    flow_id = engine.register(workflow("etl", {"program": "Return"})).pk
    for path, name in (("/api/flows/{flow_id}/", "get"), ("/api/flows/", "get"), ("/api/programs/", "get")):
        shown = DOCUMENT["paths"][path][name]["responses"]["200"]["content"]["application/json"]["example"]
        assert set(shown) == set(api.get(path.format(flow_id=flow_id)).json())
