"""``/api/workflows/``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core.masking import MASKED
from flowerapp.models import Flow, TaskDefinition, Workflow

Make = Callable[..., str]
pytestmark = pytest.mark.django_db

STEP = {
    "task_seq": 1,
    "name": "",
    "program": "Return",
    "task_priority": 0,
    "parameters": {},
    "required_at_register": [],
    "overridable": [],
    "depends_on": None,
    "queue": None,
    "pool": None,
    "max_retries": None,
    "retry_delay": None,
    "time_limit": None,
    "merge": False,
    "when": "",
    "cache_key": "",
    "cache_seconds": None,
    "cache_scope": "workflow",
    "child_program": None,
    "max_concurrency": None,
    "exit_on_failed": True,
}
DOCUMENT: dict[str, Any] = {
    "task_id": "etl",
    "description": "Nightly",
    "max_active_flows": None,
    "unique": False,
    "entrance": None,
    "start_event": "",
    "start_match": None,
    "source": "",
    "tasks": [
        STEP,
        STEP | {"task_seq": 3, "depends_on": [1], "queue": "transcoding", "parameters": {"value": {"deep": [1, None]}}},
        STEP
        | {"task_seq": 2, "depends_on": [], "task_priority": -7, "retry_delay": 1, "time_limit": 9}
        | {"cache_key": "input.n", "cache_seconds": 60, "cache_scope": "global"},
        STEP
        | {"task_seq": 9, "name": "long", "merge": True, "when": "input.n > 1", "parameters": {"value": "x" * 2000}},
    ],
}


def by_seq(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "tasks": sorted(document["tasks"], key=lambda step: step["task_seq"])}


def test_a_document_comes_back_as_it_was_given(api: APIClient) -> None:
    created = api.post("/api/workflows/", DOCUMENT, format="json")
    assert created.status_code == 201, created.content
    assert created.json() == by_seq(DOCUMENT)
    assert api.get("/api/workflows/etl/").json() == by_seq(DOCUMENT)
    again = api.put("/api/workflows/etl", api.get("/api/workflows/etl").json(), format="json")
    assert (again.status_code, again.json()) == (200, by_seq(DOCUMENT))
    flow = engine.register("etl")
    depends = dict(flow.tasks.values_list("task_seq", "depends_on"))
    assert (depends[1], depends[2], len(depends[3]), len(depends[9])) == ([], [], 1, 1)


def test_replace_deletes_steps_that_are_left_out(api: APIClient) -> None:
    api.post("/api/workflows/", DOCUMENT, format="json")
    flow = engine.register("etl")
    answer = api.put("/api/workflows/etl/", {"tasks": [{"task_seq": 5, "program": "Echo"}]}, format="json")
    assert answer.json() == {**DOCUMENT, "description": "", "tasks": [STEP | {"task_seq": 5, "program": "Echo"}]}
    assert flow.tasks.count() == 4


def test_create_refuses_a_workflow_that_exists(api: APIClient, by_sql: Callable[..., None]) -> None:
    by_sql("etl", 1, "Return")
    answer = api.post("/api/workflows/", DOCUMENT, format="json")
    assert answer.status_code == 409
    assert "exists" in answer.json()["detail"]
    assert TaskDefinition.objects.count() == 1
    assert not Workflow.objects.exists()


def test_delete_keeps_flows(api: APIClient) -> None:
    api.post("/api/workflows/", DOCUMENT, format="json")
    engine.register("etl")
    assert api.delete("/api/workflows/etl/").status_code == 204
    assert Flow.objects.count() == 1
    assert not TaskDefinition.objects.exists()
    for call in (api.get, api.delete):
        answer = call("/api/workflows/etl/")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_workflow")
    assert api.put("/api/workflows/etl/", DOCUMENT, format="json").status_code == 404


def test_written_by_sql(api: APIClient, by_sql: Callable[..., None]) -> None:
    by_sql("example", 1, "EchoRandomTimeSleep")
    by_sql("example", 2, "EchoParamTimeSleep", "SLEEP_TIME_SECOND", "3")
    listed = api.get("/api/workflows/").json()
    assert listed == {
        "next": None,
        "previous": None,
        "results": [{"task_id": "example", "description": "", "steps": 2}],
    }
    document = api.get("/api/workflows/example/").json()
    assert [step["parameters"] for step in document["tasks"]] == [{}, {"SLEEP_TIME_SECOND": "3"}]
    assert [step["depends_on"] for step in document["tasks"]] == [None, None]


def test_pages_and_statements(
    api: APIClient, by_sql: Callable[..., None], django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for number in range(120):
        by_sql(f"w{number:03}", 1, "Return")
    Workflow.objects.create(task_id="w001", description="One")
    seen = []
    url = "/api/workflows/"
    while url:
        with django_assert_max_num_queries(4):  # session, user, page, headers
            page = api.get(url).json()
        assert len(page["results"]) <= 50
        seen += [row["task_id"] for row in page["results"]]
        url = page["next"]
    assert seen == [f"w{number:03}" for number in range(120)]


def test_secrets_show_masked_and_survive_a_replace(api: APIClient) -> None:
    parameters = {"value": {"api_key": "s3cret", "n": 1}}
    api.post("/api/workflows/", {"task_id": "etl", "tasks": [STEP | {"parameters": parameters}]}, format="json")
    document = api.get("/api/workflows/etl/").json()
    assert document["tasks"][0]["parameters"] == {"value": {"api_key": MASKED, "n": 1}}
    document["tasks"][0]["parameters"]["value"]["n"] = 2
    assert api.put("/api/workflows/etl/", document, format="json").status_code == 200
    assert TaskDefinition.objects.get().all_parameters == {"value": {"api_key": "s3cret", "n": 2}}
    document["tasks"][0]["task_seq"] = 4
    answer = api.put("/api/workflows/etl/", document, format="json")
    assert answer.status_code == 400
    assert MASKED in answer.json()["tasks"][0]["parameters"]["value"][0]


BAD = [
    ({"program": "Nope"}, "program"),
    ({"program": None}, "program"),
    ({"program": 3}, "program"),
    ({"program": "x" * 300}, "program"),
    ({"depends_on": [2]}, "depends_on"),
    ({"depends_on": [7]}, "depends_on"),
    ({"depends_on": [True]}, "depends_on"),
    ({"depends_on": ["1"]}, "depends_on"),
    ({"depends_on": 1}, "depends_on"),
    ({"task_seq": 1}, "task_seq"),
    ({"task_seq": -1}, "task_seq"),
    ({"task_seq": 2**31}, "task_seq"),
    ({"task_seq": 10**400}, "task_seq"),
    ({"task_seq": None}, "task_seq"),
    ({"task_seq": True}, "task_seq"),
    ({"task_priority": 20}, "task_priority"),
    ({"task_priority": -21}, "task_priority"),
    ({"task_priority": "0"}, "task_priority"),
    ({"parameters": []}, "parameters"),
    ({"parameters": {"nothing": 1}}, "parameters"),
    ({"program": "EchoParamTimeSleep", "parameters": {"SLEEP_TIME_SECOND": "soon"}}, "parameters"),
    ({"program": "Return", "when": "input.n >"}, "when"),
    ({"program": "Return", "when": "x" * 10_001}, "when"),
    ({"required_at_register": ["nothing"]}, "required_at_register"),
    ({"overridable": ["nothing"]}, "overridable"),
    ({"overridable": "value"}, "overridable"),
    ({"overridable": [1]}, "overridable"),
    ({"overridable": None}, "overridable"),
    ({"required_at_register": ["value"], "parameters": {"value": 1}}, "required_at_register"),
    ({"required_at_register": "value"}, "required_at_register"),
    ({"required_at_register": [1]}, "required_at_register"),
    ({"required_at_register": None}, "required_at_register"),
    ({"queue": "a/b"}, "queue"),
    ({"queue": 5}, "queue"),
    ({"pool": "gpu"}, "pool"),
    ({"max_retries": -1}, "max_retries"),
    ({"retry_delay": 2**31}, "retry_delay"),
    ({"time_limit": 0}, "time_limit"),
    ({"time_limit": 1.5}, "time_limit"),
    ({"pool": 3}, "pool"),
    ({"pool": "a/b"}, "pool"),
    ({"child_program": "Nope"}, "child_program"),
    ({"child_program": "FailWhile"}, "child_program"),
    ({"child_program": 1}, "child_program"),
    ({"max_concurrency": 0}, "max_concurrency"),
    ({"max_concurrency": "2"}, "max_concurrency"),
    ({"exit_on_failed": None}, "exit_on_failed"),
    ({"exit_on_failed": "no"}, "exit_on_failed"),
    ({"color": "red"}, "color"),
]


@pytest.mark.parametrize(("change", "field"), BAD)
def test_the_row_at_fault_is_named(api: APIClient, change: dict[str, Any], field: str) -> None:
    document = {"task_id": "etl", "tasks": [STEP, STEP | {"task_seq": 2} | change]}
    answer = api.post("/api/workflows/", document, format="json")
    body = answer.json()
    assert answer.status_code == 400, body
    assert body["tasks"][0] == {}
    assert next(iter(body["tasks"][1])) == field
    assert field in body["detail"]
    assert not TaskDefinition.objects.exists()
    assert not Workflow.objects.exists()


def test_a_cycle(api: APIClient) -> None:
    steps = [STEP | {"depends_on": [2]}, STEP | {"task_seq": 2, "depends_on": [1]}]
    answer = api.post("/api/workflows/", {"task_id": "etl", "tasks": steps}, format="json")
    assert answer.status_code == 400
    assert "cycle: 1 → 2 → 1" in answer.json()["tasks"][0]["depends_on"][0]


WHOLE = [
    ({"tasks": []}, "steps"),
    ({"tasks": None}, "tasks"),
    ({"tasks": {}}, "tasks"),
    ({"tasks": ["x"]}, "tasks"),
    ({"task_id": "a/b"}, "task_id"),
    ({"task_id": ""}, "task_id"),
    ({"task_id": "a\nb"}, "task_id"),
    ({"task_id": "x" * 257}, "task_id"),
    ({"task_id": ".."}, "task_id"),
    ({"task_id": 5}, "task_id"),
    ({"max_active_flows": 0}, "max_active_flows"),
    ({"max_active_flows": 2**31}, "max_active_flows"),
    ({"max_active_flows": "3"}, "max_active_flows"),
    ({"max_active_flows": True}, "max_active_flows"),
    ({"unique": 1}, "unique"),
    ({"unique": None}, "unique"),
    ({"entrance": 7}, "entrance 7"),
    ({"entrance": "load"}, "entrance"),
    ({"description": 3}, "description"),
    ({"owner": "me"}, "owner"),
]


@pytest.mark.parametrize(("change", "word"), WHOLE)
def test_the_workflow_at_fault(api: APIClient, change: dict[str, Any], word: str) -> None:
    answer = api.post("/api/workflows/", DOCUMENT | change, format="json")
    assert answer.status_code == 400, answer.content
    assert word in answer.json()["detail"]
    assert not TaskDefinition.objects.exists()


def test_the_url_and_the_body_agree(api: APIClient) -> None:
    api.post("/api/workflows/", DOCUMENT, format="json")
    answer = api.put("/api/workflows/etl/", DOCUMENT | {"task_id": "other"}, format="json")
    assert answer.status_code == 400
    assert "task_id" in answer.json()


def test_limits_children_and_pools_come_back_as_given(api: APIClient) -> None:
    engine.set_pool("gpu", 2)
    step = STEP | {"pool": "gpu", "child_program": "Sum", "max_concurrency": 3, "exit_on_failed": False}
    document = DOCUMENT | {"max_active_flows": 3, "unique": True, "entrance": 2}
    document["tasks"] = [step, STEP | {"task_seq": 2}]
    assert api.post("/api/workflows/", document, format="json").json() == document
    assert api.get("/api/workflows/etl/").json() == document
    row = TaskDefinition.objects.get(task_seq=1)
    assert (row.pool, row.child_program, row.max_concurrency, row.exit_on_failed) == ("gpu", "Sum", 3, False)
    header = Workflow.objects.get()
    assert (header.max_active_flows, header.unique, header.entrance) == (3, True, 2)
    cleared = api.put("/api/workflows/etl/", DOCUMENT | {"tasks": [STEP]}, format="json")
    assert cleared.json() == DOCUMENT | {"tasks": [STEP]}


def test_a_workflow_of_a_class_is_read_only(api: APIClient) -> None:
    engine.define("etl", [TaskDefinition(task_id="etl", task_seq=1, program="Return")], source="shop.flows.Etl")
    document = api.get("/api/workflows/etl/").json()
    assert document["source"] == "shop.flows.Etl"
    answer = api.put("/api/workflows/etl/", document, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "shop.flows.Etl" in answer.json()["detail"]
    resent = api.post("/api/workflows/", document | {"task_id": "copy"}, format="json")
    assert (resent.status_code, resent.json()["source"]) == (201, "")
    assert api.delete("/api/workflows/etl/").status_code == 204, "the class may be gone"
