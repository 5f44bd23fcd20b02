"""``/api/cache/``, and what the API says of tasks whose outputs are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import CachedOutput, Flow
from flowerapp.testing import InlineRunner

pytestmark = pytest.mark.django_db(transaction=True)

STEP = {"program": "Echo", "cache_seconds": 600, "cache_key": "input.n"}


@pytest.fixture
def flows(runner: InlineRunner, workflow: Callable[..., str]) -> list[Flow]:
    """Three flows; the second took the output of the first."""
    workflow("etl", STEP)
    flows = [engine.register("etl", input={"n": number}) for number in (1, 1, 2)]
    runner.run()
    return flows


def test_entries_are_listed_the_newest_first_without_their_outputs(api: APIClient, flows: list[Flow]) -> None:
    newest, first = api.get("/api/cache/").json()["results"]
    assert (newest["key"], first["key"]) == ("2", "1")
    assert first == {
        "id": first["id"],
        "task_id": "etl",
        "program": "Echo",
        "key": "1",
        "task_flow_id": flows[0].pk,
        "task_exec_seq": 1,
        "attempt": 1,
        "size": 7,
        "taken_ts": first["taken_ts"],
        "filled_ts": first["filled_ts"],
        "expires_ts": first["expires_ts"],
    }
    assert api.get(f"/api/cache/{first['id']}/").json() == first


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("program=Echo", {"1", "2"}),
        ("program=Noop", set()),
        ("workflow=etl&key=2", {"2"}),
        ("workflow=", set()),
        ("key=*", set()),
        ("page_size=1", {"2"}),
    ],
)
def test_entries_are_filtered(api: APIClient, flows: list[Flow], query: str, keys: set[str]) -> None:
    assert {entry["key"] for entry in api.get(f"/api/cache/?{query}").json()["results"]} == keys


def test_one_entry_is_forgotten(api: APIClient, flows: list[Flow]) -> None:
    number = CachedOutput.objects.get(key="1").pk
    assert api.delete(f"/api/cache/{number}/").status_code == 204
    assert list(CachedOutput.objects.values_list("key", flat=True)) == ["2"]
    for answer in (api.delete(f"/api/cache/{number}/"), api.get(f"/api/cache/{number}/")):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_cache_entry")


@pytest.mark.parametrize("entry", ["0", "x", "9" * 30, str(2**63), "²"])
def test_an_entry_that_cannot_be_is_not_found(api: APIClient, entry: str) -> None:
    assert api.get(f"/api/cache/{entry}/").status_code == 404


@pytest.mark.parametrize(
    ("body", "forgotten"),
    [
        ({"program": "Echo"}, 2),
        ({"workflow": "etl", "key": 2}, 1),
        ({"key": "1"}, 0),
        ({"program": "Noop"}, 0),
        ({"all": True}, 2),
    ],
)
def test_outputs_are_forgotten(api: APIClient, flows: list[Flow], body: dict[str, Any], forgotten: int) -> None:
    answer = api.post("/api/cache/forget/", body, format="json")
    assert (answer.status_code, answer.json()) == (200, {"forgotten": forgotten})
    assert CachedOutput.objects.count() == 2 - forgotten


@pytest.mark.parametrize(
    "body", [{}, {"all": False}, {"all": True, "program": "Echo"}, {"programs": "Echo"}, {"program": 1}, [], "x"]
)
def test_a_wish_to_forget_that_says_too_little_or_too_much_is_refused(
    api: APIClient, flows: list[Flow], body: Any
) -> None:
    assert api.post("/api/cache/forget/", body, format="json").status_code == 400
    assert CachedOutput.objects.count() == 2


def test_a_task_says_whose_output_it_took(api: APIClient, flows: list[Flow]) -> None:
    first, second = (api.get(f"/api/flows/{flow.pk}/tasks/1/").json() for flow in flows[:2])
    assert (first["cached_from"], second["cached_from"]) == (None, {"flow_id": flows[0].pk, "seq": 1})
    assert (second["cache_key"], second["cache_seconds"], second["cache_scope"]) == ("input.n", 600, "workflow")
    assert second["note"] == "cached"
    nodes = api.get(f"/api/flows/{flows[1].pk}/graph/").json()["nodes"]
    assert [node.get("cached") for node in nodes] == [True]
    assert "Finished, cached" in api.get(f"/api/flows/{flows[1].pk}/graph/?as=ascii").text
    history = api.get(f"/api/flows/{flows[1].pk}/history/").json()["results"]
    assert [(entry["verb"], entry["details"]) for entry in history] == [("cached", second["cached_from"])]


def test_a_workflow_says_how_its_outputs_are_kept(api: APIClient) -> None:
    document = {"task_id": "kept", "tasks": [{"task_seq": 1, **STEP, "cache_scope": "global"}]}
    assert api.post("/api/workflows/", document, format="json").status_code == 201
    (step,) = api.get("/api/workflows/kept/").json()["tasks"]
    assert (step["cache_key"], step["cache_seconds"], step["cache_scope"]) == ("input.n", 600, "global")
    document["tasks"] = [{"task_seq": 1, **STEP, "cache_key": "input."}]
    answer = api.put("/api/workflows/kept/", document, format="json")
    assert (answer.status_code, list(answer.json()["tasks"][0])) == (400, ["cache_key"])
