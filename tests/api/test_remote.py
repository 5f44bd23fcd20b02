"""Remote tasks over the API, and flows of texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core.plan import Node, Plan
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner

pytestmark = pytest.mark.django_db


@pytest.fixture
def remote(runner: InlineRunner) -> Flow:
    """``docs:print → docs:bind``, both remote."""
    nodes = (
        Node(seq=1, program="", remote="docs:print", alias="print", parameters={"size": "A4"}),
        Node(seq=2, program="", remote="docs:bind", depends_on=(1,), when="input.pages > 1"),
    )
    return engine.register_plan(Plan("text", nodes), source="print → docs:bind", input={"day": 1})


def test_a_flow_is_ended_task_by_task(api: APIClient, remote: Flow) -> None:
    url = f"/api/flows/{remote.pk}/"
    task = api.get(f"{url}tasks/1/").json()
    assert (task["program"], task["remote"], task["alias"], task["note"]) == ("", "docs:print", "print", "remote")
    assert "no worker has answered for docs:print" in task["waits"]
    assert "no worker has answered for docs:print" in api.get(f"{url}tasks/").json()["results"][0]["waits"]
    answer = api.post(f"{url}tasks/1/end/", {"output": {"pages": 2}, "why": "by hand"}, format="json")
    assert answer.status_code == 200, answer.content
    assert answer.json()["status"] == "Running"
    assert api.get(f"{url}tasks/2/").json()["when"] == "input.pages > 1"
    answer = api.post(f"{url}tasks/2/fail", {"reason": "no glue"}, format="json")
    assert (answer.json()["status"], answer.json()["failed"]["error"]) == ("Suspend", "no glue")
    assert api.post(f"{url}rerun/", {}, format="json").status_code == 200
    assert api.post(f"{url}tasks/2/end/", {}, format="json").json()["output"] == {}
    verbs = [(entry["verb"], entry["task"], entry["reason"]) for entry in api.get(f"{url}history/").json()["results"]]
    assert verbs[:2] == [("end", "1 print", "by hand"), ("fail", "2 docs:bind", "no glue")]
    assert api.get(url).json()["source"] == "print → docs:bind"
    assert api.get(f"{url}graph/").json()["nodes"][0]["name"] == "print"


def test_a_condition_that_is_false_is_in_the_answer(api: APIClient, remote: Flow) -> None:
    url = f"/api/flows/{remote.pk}/"
    assert api.post(f"{url}tasks/1/end/", {"output": {"pages": 1}}, format="json").json()["status"] == "Finish"
    task = api.get(f"{url}tasks/2/").json()
    assert (task["word"], task["note"]) == ("Skipped", "its condition input.pages > 1 is false")
    assert task["output"] == {"pages": 1}


def test_what_is_not_ready_is_refused(api: APIClient, remote: Flow) -> None:
    url = f"/api/flows/{remote.pk}/"
    for verb, body in (("end", {}), ("fail", {"reason": "no"})):
        answer = api.post(f"{url}tasks/2/{verb}/", body, format="json")
        assert (answer.status_code, "is not ready" in answer.json()["detail"]) == (409, True)
        assert api.post(f"{url}tasks/9/{verb}/", body, format="json").status_code == 404
    bodies: list[Any] = [{}, {"reason": ""}, {"reason": 1}, {"reason": "x", "more": 1}]
    for body in bodies:
        assert api.post(f"{url}tasks/1/fail/", body, format="json").status_code == 400
    assert api.post(f"{url}tasks/1/end/", {"output": "••••"}, format="json").status_code in (200, 400)


def test_who_may_end_tasks(client_with: Callable[..., APIClient], remote: Flow) -> None:
    url = f"/api/flows/{remote.pk}/tasks/1/end/"
    assert client_with("view_flow", username="reader").post(url, {}, format="json").status_code == 403
    assert client_with("view_flow", "operate_flow", username="operator").post(url, {}, format="json").status_code == 200
    assert remote.history.get(verb="end").actor == "operator"


def test_a_workflow_that_is_not_stored_has_no_page(api: APIClient, remote: Flow) -> None:
    assert api.get("/api/workflows/text/").status_code == 404
    assert api.get("/api/flows/", {"task_id": "text"}).json()["results"][0]["task_flow_id"] == remote.pk
