"""Requests that ask for much: what they may hold is bounded, and so is the answer that refuses them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from flowerapp.core.plan import Plan
from flowerapp.models import Pool, TaskDefinition, Workflow
from flowerapp.selectors.queues import Queue

pytestmark = pytest.mark.django_db
MOST = 2 * 1024 * 1024
SMALL = 200_000
MIB = 1024 * 1024


def send(api: APIClient, url: str, body: Any) -> Any:
    """Post a body as large as is taken."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    assert len(text.encode()) <= MIB
    return api.post(url, text, content_type="application/json")


def steps(*rows: dict[str, Any]) -> dict[str, Any]:
    """A workflow's document."""
    return {"task_id": "new", "tasks": list(rows)}


NOOP = {"task_seq": 1, "program": "Noop"}
REFUSED: dict[str, tuple[str, Any]] = {
    "too many steps": ("/api/workflows/", steps(*[{"task_seq": n, "program": "Noop"} for n in range(20_000)])),
    "empty steps": ("/api/workflows/", steps(*[{}] * 300_000)),
    "bad steps": ("/api/workflows/", steps(*[{"task_seq": n, "x": 1} for n in range(5000)])),
    "unknown programs": ("/api/workflows/", steps(*[{"task_seq": n, "program": "No"} for n in range(5000)])),
    "unknown parameters": ("/api/workflows/", steps(NOOP | {"parameters": {f"k{n}": 1 for n in range(60_000)}})),
    "a long parameter": ("/api/workflows/", steps(NOOP | {"parameters": {"k" * 1_000_000: 1}})),
    "a wide parameter": ("/api/workflows/", steps(NOOP | {"parameters": {"\u2028" * 340_000: 1}})),
    "names required": (
        "/api/workflows/",
        steps(NOOP | {"required_at_register": [f"k{n}" for n in range(90_000)]}),
    ),
    "missing dependencies": ("/api/workflows/", steps(NOOP | {"depends_on": list(range(2, 140_000))})),
    "a cycle": (
        "/api/workflows/",
        steps(*[{"task_seq": n, "program": "Noop", "depends_on": [n % 4000 + 1]} for n in range(1, 4001)]),
    ),
    "an unknown field": ("/api/workflows/", steps() | {"x" * 1_000_000: 1}),
    "unknown fields": ("/api/workflows/", steps() | {f"x{n}": 1 for n in range(60_000)}),
    "overrides of no step": ("/register/etl", {"parameters": {str(n): {} for n in range(2, 60_000)}}),
    "overrides": ("/register/etl", {"parameters": {"1": {f"k{n}": 1 for n in range(60_000)}}}),
    "a long entrance": ("/register/etl", {"entrance": "x" * 1_000_000}),
    "deep": ("/register/etl", {"input": json.loads("[" * 300 + "]" * 300)}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_small(api: APIClient, name: str) -> None:
    TaskDefinition.objects.create(task_id="etl", task_seq=1, program="Noop")
    answer = send(api, *REFUSED[name])
    assert answer.status_code == 400
    assert len(answer.content) < SMALL


def test_no_more_problems_are_looked_for_than_are_reported(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Any] = []
    before = Plan.problems

    def noted(self: Plan) -> Any:
        for problem in before(self):
            looked_at.append(problem)
            yield problem

    monkeypatch.setattr(Plan, "problems", noted)
    answer = send(api, *REFUSED["unknown programs"])
    assert (answer.status_code, len(looked_at)) == (400, 101)
    assert sum(bool(step) for step in answer.json()["tasks"]) == 100


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"input":' * 50_000, "[" * 201 + "]" * 201])
def test_a_body_that_is_nested_deeply(api: APIClient, text: str) -> None:
    for url in ("/register/etl", "/register", "/api/workflows/", "/api/pools/"):
        answer = api.post(url, text, content_type="application/json")
        assert answer.status_code == 400
        assert len(answer.content) < 1000


@pytest.mark.parametrize("size", [MIB + 1, 20 * MIB])
def test_a_body_that_is_too_large(api: APIClient, size: int) -> None:
    assert api.post("/register/etl", "x" * size, content_type="application/json").status_code == 413


def test_a_workflow_of_many_steps_is_read_in_parts(api: APIClient) -> None:
    TaskDefinition.objects.bulk_create(
        TaskDefinition(task_id="wide", task_seq=n, program="Noop", param1_key="a", param1_value="x" * 300)
        for n in range(1, 7001)
    )
    seqs: list[int] = []
    query: dict[str, int] = {}
    while True:
        answer = api.get("/api/workflows/wide/", query)
        assert answer.status_code == 200
        assert len(answer.content) <= MOST
        document = answer.json()
        seqs += [step["task_seq"] for step in document["tasks"]]
        assert document["left_out"] == {"tasks": 7000 - len(seqs)}
        if not document["left_out"]["tasks"]:
            break
        query = {"after": seqs[-1]}
    assert seqs == list(range(1, 7001))


def test_a_part_cannot_take_the_place_of_the_whole(api: APIClient) -> None:
    TaskDefinition.objects.bulk_create(TaskDefinition(task_id="etl", task_seq=n, program="Noop") for n in range(1, 5))
    part = api.get("/api/workflows/etl/", {"after": 2}).json()
    assert ([step["task_seq"] for step in part["tasks"]], part["left_out"]) == ([3, 4], {"tasks": 0})
    assert api.put("/api/workflows/etl/", part, format="json").status_code == 400
    whole = api.get("/api/workflows/etl/").json()
    assert "left_out" not in whole
    assert api.put("/api/workflows/etl/", whole, format="json").status_code == 200


@pytest.mark.parametrize("after", ["x", "-1", "", "9" * 20])
def test_a_part_after_nothing(api: APIClient, after: str) -> None:
    TaskDefinition.objects.create(task_id="etl", task_seq=1, program="Noop")
    assert api.get("/api/workflows/etl/", {"after": after}).status_code == 400


def test_lists_of_long_descriptions(api: APIClient, admin_client: Client) -> None:
    TaskDefinition.objects.bulk_create(TaskDefinition(task_id=f"d{n}", task_seq=1, program="Noop") for n in range(30))
    Workflow.objects.bulk_create(Workflow(task_id=f"d{n}", description="x" * 900_000) for n in range(30))
    Pool.objects.bulk_create(Pool(name=f"p{n}", slots=1, description="x" * 900_000) for n in range(30))
    for url, number in (("/api/workflows/", 30), ("/api/pools/", 2)):
        answer = api.get(url)
        assert len(answer.content) <= MOST
        assert len(answer.json()["results"]) == number
    for name in ("workflow", "pool"):
        listed = admin_client.get(reverse(f"admin:flowerapp_{name}_changelist"))
        assert len(listed.content) < SMALL


def test_lists_that_are_put_together_have_pages_too(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = [
        Queue(name=f"{n:05}" + "q" * 250, waiting=1, messages=None, unknown="?", workers=("w" * 250,) * 5)
        for n in range(1300)
    ]
    monkeypatch.setattr("flowerapp.selectors.queues.overview", lambda: queues)
    names: list[str] = []
    url: str | None = "/api/queues/"
    while url:
        answer = api.get(url)
        assert len(answer.content) <= MOST
        page = answer.json()
        assert page["results"]
        names += [row["name"] for row in page["results"]]
        last, url = page, page["next"]
    assert names == [queue.name for queue in queues]
    assert last["previous"]
    for cursor in ("x", "-1", "", "9" * 30, "²"):
        assert api.get("/api/queues/", {"cursor": cursor}).status_code == 400
    assert api.get("/api/queues/", {"cursor": 99_999}).json()["results"] == []


@pytest.mark.parametrize("size", ["0", "-1", "x", "", "1.5", "9" * 30, "501", "100000"])
def test_the_size_of_a_page(api: APIClient, size: str) -> None:
    Pool.objects.bulk_create(Pool(name=f"{n:04}", slots=1) for n in range(600))
    answer = api.get("/api/pools/", {"page_size": size})
    assert answer.status_code in (200, 400)
    assert answer.status_code == 400 or len(answer.json()["results"]) <= 500
