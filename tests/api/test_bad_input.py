"""No input gives a 500, and what is refused leaves nothing behind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import Approval, Flow, HistoryEntry, Pool, TaskDefinition, Workflow

pytestmark = pytest.mark.django_db

NOT_JSON: dict[str, Any] = {
    "nothing but space": b" ",
    "half": b'{"input": ',
    "not UTF-8": b'{"input": "\xff"}',
    "NaN": b'{"input": NaN}',
    "infinity": b'{"input": -Infinity}',
    "over a float": b'{"input": 1e400}',
    "NUL": b'{"input": "a\\u0000b"}',
    "NUL in a key": b'{"input": {"a\\u0000b": 1}}',
    "raw NUL": b'{"input": "a\x00b"}',
    "lone surrogate": b'{"input": "\\ud800"}',
    "deep array": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"input": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "deep, but read": b'{"input": ' + b"[" * 600 + b"]" * 600 + b"}",
    "number of 5,000 digits": b'{"input": ' + b"9" * 5000 + b"}",
    "2 MB": b'{"input": "' + b"x" * 2_000_000 + b'"}',
    "two values": b"{} {}",
    "YAML": b"input: 1",
}


@pytest.fixture
def targets(api: APIClient, workflow: Callable[..., str]) -> list[tuple[str, str]]:
    """Method and path of everything that takes a body."""
    workflow("etl", {"program": "Return"}, {"program": "Return"})
    engine.set_pool("gpu", 1)
    flow = engine.register("etl")
    verbs = [("POST", f"/api/flows/{flow.pk}/{verb}/") for verb in ("suspend", "resume", "cancel", "rerun")]
    return [
        ("POST", "/register"),
        ("POST", "/register/etl"),
        ("POST", "/api/workflows/"),
        ("PUT", "/api/workflows/etl/"),
        ("POST", "/api/pools/"),
        ("PUT", "/api/pools/gpu/"),
        ("POST", "/api/cache/forget/"),
        ("PATCH", f"/api/flows/{flow.pk}/tasks/1/"),
        ("POST", f"/api/flows/{flow.pk}/tasks/1/skip/"),
        ("POST", f"/api/approvals/{Approval.objects.create(task_flow=flow, task_exec_seq=1, run=1).pk}/decide/"),
        ("POST", f"/api/flows/{flow.pk}/tasks/1/wake/"),
        ("POST", "/api/events/"),
        ("POST", "/api/latches/gpu/release/"),
        *verbs,
    ]


def counts() -> list[int]:
    return [model.objects.count() for model in (Flow, HistoryEntry, TaskDefinition, Workflow, Pool)]


@pytest.mark.parametrize("name", NOT_JSON)
def test_bodies_that_are_not_strict_json(api: APIClient, targets: list[tuple[str, str]], name: str) -> None:
    before = counts()
    for method, path in targets:
        answer = api.generic(method, path, NOT_JSON[name], content_type="application/json")
        assert answer.status_code in (400, 413), (method, path, answer.content)
        body = answer.json()
        assert body.get("detail") or body["description"]
    assert counts() == before


def odd(dice: random.Random, depth: int = 0) -> Any:
    """A value that is rarely what is wanted."""
    plain = [None, True, False, 0, -1, 1, 20, 2**31, -(2**31) - 1, 2**63, 2**64, 10**300, 1.5, -0.0, 1e308]
    texts = ["", " ", "1", "etl", "Return", "Nope", "••••", "\x7f\x01", "ü" * 300, "[" * 5000, "9" * 5000, "🌷", "../x"]
    kind = dice.randrange(5 if depth < 4 else 2)
    if kind < 2:
        return dice.choice(plain if kind else texts)
    if kind < 4:
        return {dice.choice(KEYS): odd(dice, depth + 1) for _ in range(dice.randrange(5))}
    return [odd(dice, depth + 1) for _ in range(dice.randrange(4))]


KEYS = [
    *("taskId", "task_id", "tasks", "task_seq", "program", "parameters", "depends_on", "queue", "pool", "input"),
    *("priority", "entrance", "from", "all", "failed", "refresh", "why", "description", "max_retries", "time_limit"),
    *("name", "slots", "unique", "child_program", "max_concurrency", "exit_on_failed", "source"),
    *("required_at_register", "overridable", "kind", "data", "start_event", "start_match", "output", "task_flow_id"),
    *("task_priority", "retry_delay", "max_active_flows", "1", "2", "value", "SLEEP_TIME_SECOND", "", "é", "9" * 12),
]
FRAMES: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: {"taskId": "etl", "input": value},
    lambda value: {"taskId": "etl", "parameters": {"1": value}},
    lambda value: {"taskId": "etl", "parameters": {"1": {"value": value}}},
    lambda value: {"taskId": value},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Return", "parameters": {"value": value}}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Return", "depends_on": value}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "EchoParamTimeSleep", "parameters": value}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Echo", "required_at_register": value}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Echo", "required_at_register": [value]}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Echo", "overridable": value}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Echo", "overridable": [value]}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": value, "program": value, "queue": value}]},
    lambda value: {"parameters": {"value": value}},
    lambda value: {"parameters": {"1": {"value": value}}, "all": True},
    lambda value: {"queue": value},
    lambda value: {"kind": "paid", "data": value},
    lambda value: {"kind": value},
    lambda value: {"output": value},
    lambda value: {"task_flow_id": value},
    lambda value: {"task_id": "new", "start_event": "paid", "start_match": value, "tasks": [{"task_seq": 1}]},
    lambda value: {"task_id": "new", "start_event": value, "tasks": [{"task_seq": 1, "program": "Echo"}]},
    lambda value: {"name": value, "slots": 1},
    lambda value: {"slots": value},
    lambda value: {"taskId": "etl", "entrance": value},
    lambda value: {"task_id": "new", "entrance": value, "unique": value, "tasks": [{"task_seq": 1, "program": "Echo"}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Split", "child_program": value}]},
    lambda value: {"task_id": "new", "tasks": [{"task_seq": 1, "program": "Echo", "pool": value}]},
]


@pytest.mark.parametrize("seed", range(12))
def test_odd_bodies(api: APIClient, targets: list[tuple[str, str]], seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same values in every run
    for _ in range(3):
        for frame in FRAMES:
            body = json.dumps(frame(odd(dice)))
            method, path = dice.choice(targets)
            answer = api.generic(method, path, body, content_type="application/json")
            assert answer.status_code < 500, (method, path, body[:500], answer.content[:500])
        for path in ("/api/workflows/new/", "/api/flows/", "/api/pools/"):
            assert api.get(path).status_code < 500, (seed, path)


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000, '{"a":' * 50_000, "NaN", "1e999"])
def test_odd_text_for_a_number(api: APIClient, workflow: Callable[..., str], value: str) -> None:
    workflow("sleep", {"program": "EchoParamTimeSleep", "parameters": {"SLEEP_TIME_SECOND": "1"}})
    body = {"parameters": {"1": {"SLEEP_TIME_SECOND": value}}}
    assert api.post("/register/sleep", body, format="json").status_code == 400


def test_columns_that_sql_filled_wrongly(api: APIClient, workflow: Callable[..., str]) -> None:
    workflow("etl", {"program": "Return"})
    for column, wrong in [("depends_on", "x"), ("depends_on", [[1]]), ("depends_on", 5), ("parameters", [1])]:
        TaskDefinition.objects.update(depends_on=None, parameters={})
        TaskDefinition.objects.update(**{column: wrong})
        answer = api.post("/register/etl")
        assert (answer.status_code, answer.json()["status"]) == (400, "failed")
        assert "step 1" in answer.json()["description"]
        assert api.get("/api/workflows/etl/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/docs/", "/api/schema/", "/api/flows/", "/api/workflows/x/", "/register", "/livez"]
)
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PATCH", "FOO"])
def test_methods_that_no_page_has(api: APIClient, path: str, method: str) -> None:
    api.raise_request_exception = False
    assert api.generic(method, path).status_code in (200, 405)


def test_a_body_of_null(api: APIClient, workflow: Callable[..., str]) -> None:
    workflow("etl", {"program": "Return"})
    answer = api.generic("POST", "/register/etl", "null", content_type="application/json")
    assert (answer.status_code, answer.json()["description"]) == (400, "must be a JSON object")
    assert not Flow.objects.exists()
