"""Children and their parents, pools and limits, as flows and tasks show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import Flow, Workflow
from flowerapp.testing import InlineRunner

Make = Callable[..., str]
Statements = Callable[..., Any]
pytestmark = pytest.mark.django_db


@pytest.fixture
def splitting(workflow: Make, runner: InlineRunner) -> Callable[..., Flow]:
    """Register a flow whose first step adds children, and whose second returns what it gets."""

    def register(items: Any, **options: Any) -> Flow:
        first = {"program": "Split", "child_program": "Sum", "max_concurrency": 2, "parameters": {"items": items}}
        workflow("split", first | options, {"program": "Echo"})
        return engine.register("split")

    return register


def tasks_of(api: APIClient, flow: Flow, query: str = "") -> list[dict[str, Any]]:
    answer = api.get(f"/api/flows/{flow.pk}/tasks/{query}")
    assert answer.status_code == 200, answer.content
    return list(answer.json()["results"])


def test_a_parent_and_its_children(api: APIClient, splitting: Callable[..., Flow], runner: InlineRunner) -> None:
    flow = splitting([[1], [2], [3]])
    runner.step()
    runner.step()
    parent, after, *children = tasks_of(api, flow)
    assert (parent["status"], parent["children"], parent["progress"]) == ("Wait", 3, {"done": 1, "total": 3})
    assert (parent["child_program"], parent["max_concurrency"], parent["exit_on_failed"]) == ("Sum", 2, True)
    assert parent["waits"] == "for its children"
    assert after["waits"] == "for 1 of the tasks before it"
    assert [parent[name] for name in ("parent_seq", "child_index", "child_id")] == [None, None, None]
    places = [(task["parent_seq"], task["child_index"], task["child_id"]) for task in children]
    assert places == [(1, 0, 0), (1, 1, 1), (1, 2, 2)]
    assert [task["status"] for task in children] == ["Finish", "Wait", "Wait"]
    runner.run()
    assert tasks_of(api, flow, "?parent=none")[0]["progress"] == {"done": 3, "total": 3}


def test_a_child_behind_its_siblings(api: APIClient, splitting: Callable[..., Flow], runner: InlineRunner) -> None:
    flow = splitting([[1], [2], [3]])
    runner.step()
    waits = [task["waits"] for task in tasks_of(api, flow, "?parent=1")]
    assert waits == ["", "", "behind other children of its parent"]


def test_progress_counts_finished_children_alone(
    api: APIClient, splitting: Callable[..., Flow], runner: InlineRunner
) -> None:
    failed = splitting([[1], ["bad"], [2]])
    runner.run()
    assert tasks_of(api, failed)[0]["progress"] == {"done": 1, "total": 3}
    assert api.get(f"/api/flows/{failed.pk}/").json()["failed"]["task_exec_seq"] == 4
    engine.cancel(failed.pk)
    cancelled = tasks_of(api, failed)[0]
    assert cancelled["progress"] == {"done": 1, "total": 3}
    assert cancelled["counts"] == "1 of 3 done, 2 cancelled"


def test_filters(api: APIClient, splitting: Callable[..., Flow], runner: InlineRunner) -> None:
    flow = splitting([[1], [2], [3]])
    runner.run()

    def seqs(query: str) -> list[int]:
        return [task["task_exec_seq"] for task in tasks_of(api, flow, query)]

    assert seqs("") == [1, 2, 3, 4, 5]
    assert seqs("?parent=none") == [1, 2]
    assert seqs("?parent=1") == [3, 4, 5]
    assert seqs("?parent=2") == seqs("?parent=2147483648") == seqs("?parent=9999999999") == []
    page = api.get(f"/api/flows/{flow.pk}/tasks/?parent=1&page_size=2").json()
    assert [task["task_exec_seq"] for task in api.get(page["next"]).json()["results"]] == [5]


@pytest.mark.parametrize("query", ["parent=", "parent=x", "parent=-1", "parent=%00", "parent=1.0", "parnet=1", "seq=1"])
def test_bad_filters(api: APIClient, splitting: Callable[..., Flow], query: str) -> None:
    answer = api.get(f"/api/flows/{splitting([[1]]).pk}/tasks/?{query}")
    assert answer.status_code == 400
    assert "parent" in answer.json()["detail"]


def test_one_child_shows_its_item(api: APIClient, splitting: Callable[..., Flow], runner: InlineRunner) -> None:
    flow = splitting([[1, 2], {"password": "s3cret", "n": 1}], child_program="Item")
    runner.run()
    assert api.get(f"/api/flows/{flow.pk}/tasks/3/").json()["item"] == [1, 2]
    assert api.get(f"/api/flows/{flow.pk}/tasks/4/").json()["item"] == {"password": "••••", "n": 1}
    assert api.get(f"/api/flows/{flow.pk}/tasks/1/").json()["item"] is None
    assert "item" not in tasks_of(api, flow)[0]


def test_output_of_a_flow(api: APIClient, workflow: Make, splitting: Callable[..., Flow], runner: InlineRunner) -> None:
    flow = splitting([[1, 2], [3]])
    assert api.get(f"/api/flows/{flow.pk}/").json()["output"] is None
    runner.run()
    assert api.get(f"/api/flows/{flow.pk}/").json()["output"] == [3, 3]
    secret = engine.register(workflow("secret", {"program": "Return", "parameters": {"value": {"api_key": "s3cret"}}}))
    runner.run()
    assert api.get(f"/api/flows/{secret.pk}/").json()["output"] == {"api_key": "••••"}


def test_graph_is_of_steps(api: APIClient, splitting: Callable[..., Flow], runner: InlineRunner) -> None:
    flow = splitting([[n] for n in range(40)])
    runner.step()
    runner.step()
    url = f"/api/flows/{flow.pk}/graph/"
    first, second = api.get(url).json()["nodes"]
    assert (first["seq"], first["children"]) == (1, {"done": 1, "total": 40})
    assert "children" not in second
    assert api.get(url).json()["edges"] == [{"from": 1, "to": 2}]
    for kind in ("svg", "mermaid", "ascii"):
        assert "Waiting, 1 of 40 children done" in api.get(url, {"as": kind}).content.decode()


def test_a_task_that_waits_for_a_slot(api: APIClient, workflow: Make, runner: InlineRunner) -> None:
    engine.set_pool("gpu", 1)
    flow = engine.register(workflow("train", *[{"program": "Return", "pool": "gpu", "depends_on": []}] * 2))
    first, second = sorted(tasks_of(api, flow), key=lambda task: not task["admitted"])
    assert (first["pool"], first["admitted"], first["waits"]) == ("gpu", True, "")
    sentence = "for a slot of pool gpu: 1 of 1 are taken; 1 waiting"
    assert (second["pool"], second["admitted"], second["waits"]) == ("gpu", False, sentence)
    assert api.get(f"/api/flows/{flow.pk}/tasks/{second['task_exec_seq']}/").json()["waits"] == sentence


def test_a_flow_that_is_not_admitted(api: APIClient, workflow: Make, runner: InlineRunner) -> None:
    workflow("etl", {"program": "Return"})
    Workflow.objects.filter(pk="etl").update(max_active_flows=1)
    first, second = engine.register("etl"), engine.register("etl")
    assert [api.get(f"/api/flows/{flow.pk}/").json()["admitted"] for flow in (first, second)] == [True, False]
    assert tasks_of(api, second)[0]["waits"] == "for its flow to be admitted: 1 of at most 1 flows of etl are active"


def test_statements_do_not_grow_with_children(
    api: APIClient, splitting: Callable[..., Flow], runner: InlineRunner, django_assert_num_queries: Statements
) -> None:
    engine.set_pool("gpu", 1)
    flow = splitting([[n] for n in range(100)], pool="gpu", max_concurrency=60)
    runner.step()
    for size in (5, 100):
        with django_assert_num_queries(8):  # session, user, flow, page, children, and pool, its two counts for reasons
            assert len(tasks_of(api, flow, f"?page_size={size}")) == size
    with django_assert_num_queries(5):  # session, user, flow, steps, children
        assert len(api.get(f"/api/flows/{flow.pk}/graph/").json()["nodes"]) == 2
