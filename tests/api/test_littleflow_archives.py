"""littleflow's routes of archives, and its archives."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner
from tests.api.test_littleflow import end, is_refused, start

pytestmark = pytest.mark.django_db(transaction=True)

Document = dict[str, Any]
FORM: Document = {
    "F": [
        [0, 1, 0, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
    ],
    "T": [
        ["StartFlow", {"index": 0}],
        ["InvokeTask", {"index": 1, "name": "A", "parameters": {}, "base": None, "doc": None}],
        ["InvokeTask", {"index": 2, "name": "B", "parameters": {"n": 1}, "base": "b", "doc": "Does B."}],
        ["InvokeTask", {"index": 3, "name": "C", "parameters": {}, "guard": "$"}],
        ["Sink", {"index": 4, "merge": False}],
    ],
}
"""``A → B | C``, as littleflow compiles it."""
TIMES = [f"2026-01-31T12:00:0{number}.000000" for number in range(9)]
TRACES: Document = {
    "S": [
        [TIMES[3], [0, 0, -1, 0, 0]],
        [TIMES[2], [0, -1, 1, 1, 0]],
        [TIMES[1], [-1, 1, 0, 0, 0]],
        [TIMES[0], [1, 0, 0, 0, 0]],
    ],
    "A": [
        [TIMES[3], [0, 0, 0, 0, 1]],
        [TIMES[2], [0, 0, 0, 0, 0]],
        [TIMES[1], [0, 0, 0, 0, 0]],
    ],
}
"""A and B have ended, C was running."""
THEIRS = FORM | TRACES


def restore(client: APIClient, body: Any, query: str = "") -> Any:
    return client.post(f"/workflows/restore{query}", json.dumps(body), content_type="application/json")


def test_theirs_is_restored_as_terminated_and_restarts_where_it_was(api: APIClient, runner: InlineRunner) -> None:
    answer = restore(api, THEIRS).json()
    assert answer["status"] == "Success"
    flow_id = answer["workflow"]
    state = api.get(f"/workflows/{flow_id}/state").json()
    assert state["state"] == "TERMINATED"
    compiled = api.get(f"/workflows/{flow_id}").json()
    assert compiled["F"] == FORM["F"]
    assert [node[1].get("name") for node in compiled["T"]] == [None, "A", "B", "C", None]
    tasks = {task.label: task for task in Flow.objects.get(pk=flow_id).tasks.all()}
    assert {name: (task.status.label, task.ignored_by) for name, task in tasks.items() if name} == {
        "A": ("Finish", ""),
        "B": ("Finish", ""),
        "C": ("Ignore", "cancel"),
    }
    times = (tasks["A"].started_ts, tasks["A"].finished_ts)
    assert [ts and ts.isoformat() for ts in times] == ["2026-01-31T12:00:01+00:00", "2026-01-31T12:00:02+00:00"]
    assert api.post(f"/workflows/{flow_id}/restart").json()["status"] == "Success"
    state = api.get(f"/workflows/{flow_id}/state").json()
    assert (state["state"], state["S"]) == ("RUNNING", [0, 0, 0, 1, 0])
    end(Flow.objects.get(pk=flow_id), tasks["C"].task_exec_seq, output={"c": 1})
    assert api.get(f"/workflows/{flow_id}/state").json()["state"] == "FINISHED"
    for path in ("graph", "archive", "trace/S"):
        assert api.get(f"/workflows/{flow_id}/{path}").status_code == 200
    assert api.get(f"/api/flows/{flow_id}/").status_code == 200


def test_an_id_may_be_given(api: APIClient, runner: InlineRunner) -> None:
    flow_id = "4d2f5c8e-0000-4000-8000-000000000001"
    assert restore(api, THEIRS, f"?workflow=workflow:{flow_id}").json()["workflow"] == flow_id
    is_refused(restore(api, THEIRS, f"?workflow={flow_id}"), 400, "there already")
    is_refused(restore(api, THEIRS, "?workflow=a/b"), 400, "slash")


@pytest.mark.parametrize("key", ["F", "T", "A", "S"])
def test_a_missing_part_is_400(api: APIClient, key: str) -> None:
    body = {name: value for name, value in THEIRS.items() if name != key}
    is_refused(restore(api, body), 400, f"no {key}")


BAD: dict[str, list[Any]] = {
    "F": [1, [], [[1]], [[0] * 5] * 5, [["a"] * 5] * 5],
    "T": [1, [], [["Task", {}]], FORM["T"][:4], [["StartFlow", {"index": 0}]] * 5],
    "S": [
        *(1, {}, [1], [[]], [["now", [0] * 5]], [[TIMES[0], [0] * 4]], [[TIMES[0], ["a"] * 5]]),
        *([[TIMES[0], value]] for value in ([0.5] * 5, [True] * 5, [-1] * 5, [10**30] * 5, None)),
    ],
    "A": [None, [[None, [0] * 5]], [[TIMES[0], [-1] * 5]], [["0001-01-01T00:00:00+14:00", [0] * 5]]],
}
HOSTILE = [(key, value) for key, values in BAD.items() for value in values]


@pytest.mark.parametrize(("key", "value"), HOSTILE)
def test_hostile_vectors_are_400(api: APIClient, key: str, value: Any) -> None:
    is_refused(restore(api, deepcopy(THEIRS) | {key: value}), 400)
    assert not Flow.objects.exists()


@pytest.mark.parametrize("body", [None, 1, [], "x", {"uri": 1}, {"uri": "http://127.0.0.1/x"}, {"flowerapp": 1}, {}])
def test_hostile_bodies_are_400(api: APIClient, body: Any) -> None:
    is_refused(restore(api, body), 400)


def test_their_programs_need_the_right_to_define(client_with: Callable[..., APIClient], runner: InlineRunner) -> None:
    body = deepcopy(THEIRS)
    body["T"][1][1]["name"] = "Noop"
    client = client_with("add_flow", "view_flow")
    is_refused(restore(client, body), 403, "add_taskdefinition")
    assert restore(client, THEIRS).status_code == 200


def test_ours_has_their_vectors_and_outputs_beside_them(api: APIClient, runner: InlineRunner) -> None:
    flow = start("A → B | C → D", {"day": 1})
    end(flow, flow.tasks.get(remote="A").task_exec_seq, output={"a": 1})
    answer = api.get(f"/workflows/{flow.pk}/archive")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{flow.pk}.json"'
    body = answer.json()
    assert {"F", "T", "S", "A"} <= set(body)
    engine.cancel(flow.pk)
    engine.delete([flow.pk])
    assert restore(api, body).json()["workflow"] == flow.pk
    restored = Flow.objects.get(pk=flow.pk)
    assert restored.held
    assert restored.tasks.get(remote="A").output == {"a": 1}
    other = restore(api, body, "?workflow=other").json()["workflow"]
    assert other == "other"
    assert Flow.objects.get(pk="other").tasks.count() == restored.tasks.count()
    vectors = {name: value for name, value in body.items() if name != "flowerapp"}
    third = restore(api, vectors).json()["workflow"]
    assert api.get(f"/workflows/{third}/state").json()["state"] == "TERMINATED"
    assert api.get(f"/workflows/{third}").json()["F"] == body["F"]
    assert Flow.objects.get(pk=third).tasks.get(remote="A").output == {}


def test_everything_has_ended(api: APIClient, runner: InlineRunner) -> None:
    flow = start("A → B")
    for name in "AB":
        end(flow, flow.tasks.get(remote=name).task_exec_seq)
    body = api.get(f"/workflows/{flow.pk}/archive").json()
    del body["flowerapp"]
    other = restore(api, body).json()["workflow"]
    is_refused(api.post(f"/workflows/{other}/restart"), 400, "nothing")


def test_archives_are_stored_and_restored_at_a_uri(api: APIClient, runner: InlineRunner, tmp_path: Path) -> None:
    flow = start("A")
    folder = tmp_path / "old"
    folder.mkdir()
    with override_settings(FLOWER={"RETENTION_ARCHIVE": str(folder)}):
        stored = api.post(f"/workflows/{flow.pk}/archive", {"uri": "a/flow.json"}, format="json")
        assert stored.json()["uri"] == stored.headers["Location"] == f"{folder}/a/flow.json"
        assert api.post(f"/workflows/{flow.pk}/archive", {"uri": "a/flow.json"}, format="json").status_code == 200
        other = start("A")
        is_refused(api.post(f"/workflows/{other.pk}/archive", {"uri": "a/flow.json"}, format="json"), 400, "another")
        by_bucket = api.post(f"/workflows/{flow.pk}/archive", {"bucket": "old"}, format="json").json()["uri"]
        assert by_bucket == f"{folder}/arrow/{flow.pk}.json"
        for wrong in (
            {},
            {"uri": "../x"},
            {"uri": "/etc/x"},
            {"bucket": "none"},
            {"uri": "x", "bucket": "old"},
            {"a": 1},
        ):
            is_refused(api.post(f"/workflows/{flow.pk}/archive", wrong, format="json"), 400)
        engine.cancel(flow.pk)
        engine.delete([flow.pk])
        assert restore(api, {"uri": "a/flow.json"}).json()["workflow"] == flow.pk
        assert restore(api, {}, "?uri=a/flow.json&workflow=again").json()["workflow"] == "again"


def test_get_restores_only_with_a_token(api: APIClient, runner: InlineRunner, tmp_path: Path) -> None:
    with override_settings(FLOWER={"RETENTION_ARCHIVE": str(tmp_path)}):
        flow = start("A")
        engine.archive_to(flow.pk, f"{tmp_path}/x.json")
        is_refused(api.get("/workflows/restore?uri=x.json&workflow=y"), 403, "Authorization")
        token = Token.objects.create(user=User.objects.get(username="root"))
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Token {token.key}")
        assert client.get("/workflows/restore?uri=x.json&workflow=y").json()["workflow"] == "y"
        is_refused(client.get("/workflows/restore"), 400, "uri")


def test_without_an_archive_there_is_no_place(api: APIClient, runner: InlineRunner) -> None:
    flow = start("A")
    is_refused(api.post(f"/workflows/{flow.pk}/archive", {"uri": "x.json"}, format="json"), 400, "RETENTION_ARCHIVE")
    is_refused(restore(api, {"uri": "s3://b/x.json"}), 400, "RETENTION_ARCHIVE")
