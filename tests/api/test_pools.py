"""``/api/pools/``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Pool, Task
from flowerapp.testing import InlineRunner

Make = Callable[..., str]
pytestmark = pytest.mark.django_db


def test_make_read_change_delete(api: APIClient) -> None:
    unused = {"held": 0, "waiting": 0}
    made = api.post("/api/pools/", {"name": "gpu", "slots": 2, "description": "Cards"}, format="json")
    pool = {"name": "gpu", "slots": 2, "description": "Cards", **unused}
    assert (made.status_code, made.json()) == (201, {**pool, "holders": [], "waiters": []})
    assert api.get("/api/pools/").json() == {"next": None, "previous": None, "results": [pool]}
    changed = api.put("/api/pools/gpu/", {"slots": 0}, format="json")
    assert (changed.status_code, changed.json()["slots"], changed.json()["description"]) == (200, 0, "")
    assert api.get("/api/pools/gpu").json() == changed.json()
    assert api.delete("/api/pools/gpu/").status_code == 204
    for answer in (
        api.get("/api/pools/gpu/"),
        api.put("/api/pools/gpu/", {"slots": 1}, format="json"),
        api.delete("/api/pools/gpu/"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_pool")


def test_a_pool_lists_holders_and_waiters(api: APIClient, workflow: Make, runner: InlineRunner) -> None:
    engine.set_pool("gpu", 1)
    steps = [{"program": "Return", "pool": "gpu", "depends_on": [], "task_priority": 3 - n} for n in range(3)]
    flow = engine.register(workflow("train", *steps))
    first, second, third = Task.objects.order_by("task_priority")
    body = api.get("/api/pools/gpu/").json()
    assert (body["slots"], body["held"], body["waiting"]) == (1, 1, 2)
    (holder,) = body["holders"]
    assert holder == {
        "task_flow_id": flow.pk,
        "task_id": "train",
        "task_exec_seq": first.task_exec_seq,
        "program": "Return",
        "task_priority": 1,
        "status": "Wait",
        "word": "Waiting",
        "symbol": "○",
        "note": "",
        "duration": "",
        "duration_seconds": None,
        "started_ts": None,
        "why": "",
    }
    assert [row["task_exec_seq"] for row in body["waiters"]] == [second.task_exec_seq, third.task_exec_seq]
    assert {row["why"] for row in body["waiters"]} == {"for a slot of pool gpu: 1 of 1 are taken; 2 waiting"}
    (listed,) = api.get("/api/pools/").json()["results"]
    assert (listed["held"], listed["waiting"]) == (1, 2)
    assert Task.objects.claim(TaskRef(flow.pk, first.task_exec_seq), Process("w", 1))
    (holder,) = api.get("/api/pools/gpu/").json()["holders"]
    assert holder["status"] == "Running"
    assert holder["started_ts"].endswith("Z")


def test_more_slots_let_tasks_in_at_once(api: APIClient, workflow: Make, runner: InlineRunner) -> None:
    engine.set_pool("gpu", 0)
    engine.register(workflow("train", *[{"program": "Return", "pool": "gpu", "depends_on": []}] * 3))
    assert not runner.waiting
    answer = api.put("/api/pools/gpu/", {"name": "gpu", "slots": 2}, format="json").json()
    assert (answer["held"], answer["waiting"]) == (2, 1)
    assert len(runner.waiting) == 2


def test_delete_refuses_a_pool_that_steps_name(api: APIClient, workflow: Make, runner: InlineRunner) -> None:
    engine.set_pool("gpu", 1)
    workflow("train", {"program": "Return", "pool": "gpu"})
    engine.register("train")
    refused = api.delete("/api/pools/gpu/")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "train" in refused.json()["detail"]
    engine.undefine("train")
    assert "have not ended" in api.delete("/api/pools/gpu/").json()["detail"]
    runner.run()
    assert api.delete("/api/pools/gpu/").status_code == 204


def test_create_refuses_a_pool_that_exists(api: APIClient) -> None:
    engine.set_pool("gpu", 1)
    answer = api.post("/api/pools/", {"name": "gpu", "slots": 9}, format="json")
    assert answer.status_code == 409
    assert "exists" in answer.json()["detail"]
    assert Pool.objects.get().slots == 1


BAD: list[tuple[Any, str]] = [
    ({"slots": 1}, "name"),
    ({"name": "gpu"}, "slots"),
    ({"name": "gpu", "slots": None}, "slots"),
    ({"name": "gpu", "slots": -1}, "slots"),
    ({"name": "gpu", "slots": 2**31}, "slots"),
    ({"name": "gpu", "slots": 10**400}, "slots"),
    ({"name": "gpu", "slots": True}, "slots"),
    ({"name": "gpu", "slots": "1"}, "slots"),
    ({"name": "gpu", "slots": 1.5}, "slots"),
    ({"name": "", "slots": 1}, "name"),
    ({"name": "a/b", "slots": 1}, "name"),
    ({"name": "a\nb", "slots": 1}, "name"),
    ({"name": "..", "slots": 1}, "name"),
    ({"name": "x" * 257, "slots": 1}, "name"),
    ({"name": 3, "slots": 1}, "name"),
    ({"name": "gpu", "slots": 1, "description": None}, "description"),
    ({"name": "gpu", "slots": 1, "color": "red"}, "color"),
    ([], "object"),
]


@pytest.mark.parametrize(("body", "word"), BAD)
def test_errors_name_the_bad_value(api: APIClient, body: Any, word: str) -> None:
    answer = api.post("/api/pools/", body, format="json")
    assert answer.status_code == 400, answer.content
    assert word in answer.json()["detail"]
    assert not Pool.objects.exists()


def test_the_url_and_the_body_agree(api: APIClient) -> None:
    engine.set_pool("gpu", 1)
    answer = api.put("/api/pools/gpu/", {"name": "cpu", "slots": 2}, format="json")
    assert (answer.status_code, "name" in answer.json()) == (400, True)
    assert Pool.objects.get().slots == 1


@pytest.mark.parametrize("name", ["nothing", "%00", "a%0Ab", "x" * 3000, "%F0%9F%8C%B7", "%ff", ".."])
def test_unknown_pool(api: APIClient, name: str) -> None:
    assert api.get(f"/api/pools/{name}/").status_code == 404
    assert api.put(f"/api/pools/{name}/", {"slots": 1}, format="json").status_code == 404
    assert api.delete(f"/api/pools/{name}/").status_code == 404
    assert not Pool.objects.exists()


def test_names_may_hold_anything_but_a_slash(api: APIClient) -> None:
    for name in ("big machines", "großes-Ü 数据 🌷", "a?b&c=#%41"):
        assert api.post("/api/pools/", {"name": name, "slots": 1}, format="json").status_code == 201
        assert api.get(f"/api/pools/{quote(name, safe='')}/").json()["name"] == name


def test_pages_and_statements(api: APIClient, django_assert_max_num_queries: Callable[..., Any]) -> None:
    Pool.objects.bulk_create(Pool(name=f"p{number:03}", slots=1) for number in range(120))
    seen = []
    url = "/api/pools/"
    while url:
        with django_assert_max_num_queries(3):  # session, user, page
            page = api.get(url).json()
        assert len(page["results"]) <= 50
        seen += [row["name"] for row in page["results"]]
        url = page["next"]
    assert seen == [f"p{number:03}" for number in range(120)]


def test_statements_of_one_pool(
    api: APIClient, workflow: Make, runner: InlineRunner, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    engine.set_pool("gpu", 3)
    engine.register(workflow("train", *[{"program": "Return", "pool": "gpu", "depends_on": []}] * 120))
    with django_assert_max_num_queries(11):
        body = api.get("/api/pools/gpu/").json()
    assert (len(body["holders"]), len(body["waiters"]), body["waiting"]) == (3, 100, 117)


def test_permission_per_verb(client_with: Callable[..., APIClient]) -> None:
    clients = {verb: client_with(f"{verb}_pool", username=verb) for verb in ("view", "add", "change", "delete")}
    body = {"name": "gpu", "slots": 1}

    def codes(call: Callable[[APIClient], Any]) -> dict[str, int]:
        return {verb: call(client).status_code for verb, client in clients.items()}

    refused = dict.fromkeys(clients, 403)
    read = refused | {"view": 200, "change": 200}
    assert codes(lambda client: client.get("/api/pools/")) == read
    assert codes(lambda client: client.post("/api/pools/", body, format="json")) == refused | {"add": 201}
    assert codes(lambda client: client.get("/api/pools/gpu/")) == read
    assert codes(lambda client: client.put("/api/pools/gpu/", body, format="json")) == refused | {"change": 200}
    assert codes(lambda client: client.delete("/api/pools/gpu/")) == refused | {"delete": 204}
