"""Archives through the API: download, and restore from a body or from the archive of the setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core import archives
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., str]
SECRET = "hunter2-hunter2"
RESTORE = "/api/flows/restore/"


@pytest.fixture
def ended(workflow: Make, runner: InlineRunner) -> Flow:
    """A flow that has ended, and holds a secret."""
    made = engine.register(workflow("etl", {"program": "Return", "parameters": {"value": {"password": SECRET}}}))
    runner.run()
    return made


def content(answer: Any) -> bytes:
    """The body of an answer that is sent in pieces."""
    return b"".join(answer.streaming_content)


def download(client: APIClient, flow: Flow, query: str = "") -> Any:
    answer = client.get(f"/api/flows/{flow.pk}/archive/{query}")
    assert answer.status_code == 200
    return json.loads(content(answer))


def test_download(api: APIClient, ended: Flow) -> None:
    answer = api.get(f"/api/flows/{ended.pk}/archive/")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{ended.pk}.json"'
    assert answer.headers["Content-Type"] == "application/json"
    body = content(answer)
    assert SECRET not in body.decode()
    assert archives.read(json.loads(body)).flow.task_flow_id == ended.pk
    assert api.get("/api/flows/nothing/archive/").status_code == 404


def test_secrets_need_the_right_to_change_workflows(
    api: APIClient, client_with: Callable[..., APIClient], ended: Flow
) -> None:
    assert SECRET in json.dumps(download(api, ended, "?secrets=whole"))
    viewer = client_with("view_flow", "operate_flow")
    assert SECRET not in json.dumps(download(viewer, ended))
    answer = viewer.get(f"/api/flows/{ended.pk}/archive/?secrets=whole")
    assert answer.status_code == 403
    assert "change_taskdefinition" in answer.json()["detail"]
    editor = client_with("view_flow", "change_taskdefinition", username="ed")
    assert SECRET in json.dumps(download(editor, ended, "?secrets=whole"))


def test_the_open_api_gives_no_secrets(ended: Flow) -> None:
    with override_settings(FLOWER={"OPEN_API": True}):
        client = APIClient(REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")
        assert SECRET not in json.dumps(download(client, ended))
        assert client.get(f"/api/flows/{ended.pk}/archive/?secrets=whole").status_code == 403
        assert client.post(RESTORE, {}, format="json").status_code in (401, 403)


def test_restore(api: APIClient, ended: Flow) -> None:
    before = api.get(f"/api/flows/{ended.pk}/").json()
    document = download(api, ended)
    engine.delete([ended.pk])
    answer = api.post(RESTORE, document, format="json")
    assert answer.status_code == 200, answer.content
    assert answer.json() == before
    assert api.get(f"/api/flows/{ended.pk}/").json() == before
    again = api.post(RESTORE, {"archive": document}, format="json")
    assert again.status_code == 200


def test_another_flow_of_the_id_is_409(api: APIClient, ended: Flow, runner: InlineRunner) -> None:
    document = download(api, ended)
    engine.rerun(ended.pk, all_tasks=True)
    runner.run()
    answer = api.post(RESTORE, document, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    answer = api.post(RESTORE, {"archive": document, "replace": True}, format="json")
    assert answer.status_code == 200
    assert engine.get_task(ended.pk, 1).attempt == 1


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], None, 1, "x", {"format": "flowerapp.flow"}, {"format": 1}, {"archive": []}, {"archive": {}}),
        *({"uri": 1}, {"uri": "x.json"}, {"uri": "http://127.0.0.1/x"}, {"uri": "x", "archive": {}}, {"extra": 1}),
        *({"archive": {"tasks": [{"program": {"a": 1}}, 7, {"program": []}]}}, {"replace": True}),
        {"format": "flowerapp.flow", "version": 1, "tasks": 5, "flow": 5, "checksum": 5},
    ],
)
def test_bad_bodies_are_400(api: APIClient, body: Any) -> None:
    answer = api.post(RESTORE, json.dumps(body), content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert not Flow.objects.exists()


def test_a_damaged_archive_is_400(api: APIClient, ended: Flow) -> None:
    document = download(api, ended)
    engine.delete([ended.pk])
    damaged = deepcopy(document)
    damaged["tasks"][0]["exec_status"] = 4
    answer = api.post(RESTORE, damaged, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_archive")
    damaged["checksum"] = archives.checksum_of(damaged)
    answer = api.post(RESTORE, damaged, format="json")
    assert answer.status_code == 400
    assert "tasks[0].exec_status" in answer.json()["detail"]
    assert not Flow.objects.exists()


def test_a_large_body_is_413(api: APIClient) -> None:
    with override_settings(FLOWER={"MAX_ARCHIVE_BYTES": 100}):
        answer = api.post(RESTORE, {"archive": {"a": "b" * 100}}, format="json")
        assert answer.status_code == 413
        assert "MAX_ARCHIVE_BYTES" in answer.json()["detail"]


def test_a_body_larger_than_other_bodies_may_be(api: APIClient, ended: Flow) -> None:
    document = download(api, ended)
    engine.delete([ended.pk])
    line = {"ts": "2026-01-31T12:00:00Z", "task_exec_seq": 1, "attempt": 1, "message": "x" * 1000}
    document["logs"] = [line] * 2000
    document["checksum"] = archives.checksum_of(document)
    assert api.post(RESTORE, document, format="json").status_code == 200


def test_who_may_restore(ended: Flow, client_with: Callable[..., APIClient], api: APIClient) -> None:
    document = download(api, ended)
    engine.delete([ended.pk])
    for number, granted in enumerate([("operate_flow", "register_flow", "add_taskdefinition"), ("add_flow",)]):
        answer = client_with(*granted, username=f"user{number}").post(RESTORE, document, format="json")
        assert answer.status_code == 403, granted
    assert not Flow.objects.exists()
    may = client_with("add_flow", "add_taskdefinition", username="may")
    assert may.post(RESTORE, document, format="json").status_code == 200


def test_restore_from_the_archive_of_the_setting(api: APIClient, ended: Flow, tmp_path: Path) -> None:
    with override_settings(FLOWER={"RETENTION_ARCHIVE": str(tmp_path)}):
        place = engine.archive_to(ended.pk, f"{tmp_path}/").place
        engine.delete([ended.pk])
        for wrong in ("etl/missing.json", "../x", "/etc/passwd", "etl"):
            assert api.post(RESTORE, {"uri": wrong}, format="json").status_code == 400
        answer = api.post(RESTORE, {"uri": Path(place).relative_to(tmp_path).as_posix()}, format="json")
        assert answer.status_code == 200
        assert answer.json()["task_flow_id"] == ended.pk
