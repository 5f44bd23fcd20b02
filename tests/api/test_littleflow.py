"""The routes of littleflow: each with its shape, refusals, bounds and permissions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.api import littleflow_pages, littleflow_urls, schema_generator
from flowerapp.api.littleflow_base import MOST_ROWS
from flowerapp.core import answers
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.querysets import clock
from flowerapp.selectors import arrow_flows
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import arrow

pytestmark = pytest.mark.django_db
Make = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]
OPERATE = ("operate_flow", "delete_flow")


def start(text: str, flow_input: Any = None) -> Flow:
    return engine.register_plan(arrow.plan_of_text(text), input=flow_input, source=text)


def end(flow: Flow, *seqs: int, output: Any = None) -> None:
    for seq in seqs:
        engine.end_task(flow.pk, seq, output=output)


def send(client: APIClient, path: str, body: bytes, kind: str, **extra: Any) -> Any:
    """POST a body of any type."""
    generic: Any = client.generic
    return generic("POST", path, body, content_type=kind, **extra)


def is_refused(answer: Any, code: int, *words: str) -> dict[str, Any]:
    assert answer.status_code == code, answer.content
    body: dict[str, Any] = answer.json()
    assert set(body) <= {"status", "message", "workflow"}
    assert body["status"] == ("Unavailable" if code == 503 else "Error")
    for word in words:
        assert word in body["message"]
    return body


def is_done(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    assert set(body) <= {"status", "message", "workflow"}
    assert body["status"] == "Success"
    return body


def state(api: APIClient, flow: Flow) -> dict[str, Any]:
    body: dict[str, Any] = api.get(f"/workflows/{flow.pk}/state").json()
    return body


# Start


@pytest.mark.parametrize("path", ["/workflows/start", "/workflows/start/"])
def test_start_by_json(api: APIClient, path: str) -> None:
    body = is_done(api.post(path, {"workflow": "A → B", "input": {"day": 1}}, format="json"))
    flow = Flow.objects.get()
    assert body["workflow"] == f"workflow:{flow.pk}"
    assert (flow.source, flow.input, flow.registered_by) == ("A → B", {"day": 1}, "root")


@pytest.mark.parametrize("kind", ["text/plain", "text/plain; charset=utf-8", "TEXT/PLAIN"])
def test_start_by_text(api: APIClient, kind: str) -> None:
    is_done(send(api, "/workflows/start", "\ufeffA → B".encode(), kind))
    assert Flow.objects.get().source == "A → B"


@pytest.mark.parametrize("path", ["/workflows/start/upload", "/workflows/start/upload/"])
def test_upload_of_a_file(api: APIClient, path: str) -> None:
    parts = {"workflow": SimpleUploadedFile("a.flow", "A → B".encode()), "input": '{"day": 1}'}
    body = is_done(api.post(path, parts, format="multipart"))
    flow = Flow.objects.get()
    assert body["workflow"] == flow.pk
    assert (flow.source, flow.input) == ("A → B", {"day": 1})


def test_upload_of_a_field(api: APIClient) -> None:
    is_done(api.post("/workflows/start/upload", {"workflow": "A -> B"}, format="multipart"))
    assert Flow.objects.get().source == "A -> B"


BAD_TEXTS = [
    ("A → → B", "line 1, column 5"),
    ("A →", "line 1, column 4"),
    ("", "line 1, column 1"),
    ("A;\n:x → A → :y", "line 2, column"),
    ("A → ? `$[` B", "line 1, column 10"),
    ("wait:nothing", "wait:nothing"),
    ("@flow a\n wait:acquire(- name: 'my-{input[\"id\"]}'", "line 2, column 14"),
]


@pytest.mark.parametrize(("text", "word"), BAD_TEXTS)
def test_a_bad_text_is_400_with_its_place(api: APIClient, text: str, word: str) -> None:
    is_refused(api.post("/workflows/start", {"workflow": text}, format="json"), 400, word)
    is_refused(api.post("/workflows/start/upload", {"workflow": text}, format="multipart"), 400, word)
    if text:
        is_refused(send(api, "/workflows/start", text.encode(), "text/plain"), 400, word)
    assert not Flow.objects.exists()


BAD_BODIES = [
    ({}, "workflow"),
    ({"workflow": None}, "workflow"),
    ({"workflow": 3}, "workflow: must be text"),
    ({"workflow": "A", "inputs": {}}, "inputs: unknown field"),
    ([], "object"),
]


@pytest.mark.parametrize(("body", "word"), BAD_BODIES)
def test_a_bad_body(api: APIClient, body: Any, word: str) -> None:
    is_refused(api.post("/workflows/start", body, format="json"), 400, word)


@pytest.mark.parametrize(
    ("raw", "kind", "code", "word"),
    [
        (b"{", "application/json", 400, "line 1"),
        (b'{"workflow": "A", "input": NaN}', "application/json", 400, "NaN"),
        (b"\xff", "text/plain", 400, "not UTF-8"),
        (b"A # \x00", "text/plain", 400, "cannot be stored"),
        (b"A", "application/xml", 415, "application/json or text/plain"),
        (b"A" * 2_000_000, "text/plain", 413, "1,048,576"),
    ],
)
def test_a_body_that_cannot_be_read(api: APIClient, raw: bytes, kind: str, code: int, word: str) -> None:
    is_refused(send(api, "/workflows/start", raw, kind), code, word)
    assert not Flow.objects.exists()


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"input": "{}"}, "no part named workflow"),
        ({"workflow": "A", "input": "{"}, "input"),
        ({"workflow": "A", "other": "1"}, "other"),
        ({"workflow": SimpleUploadedFile("a.flow", b"\xff")}, "not UTF-8"),
    ],
)
def test_a_bad_form(api: APIClient, parts: dict[str, Any], word: str) -> None:
    is_refused(api.post("/workflows/start/upload", parts, format="multipart"), 400, word)


def test_a_form_that_is_none(api: APIClient) -> None:
    path = "/workflows/start/upload"
    is_refused(send(api, path, b"A", "multipart/form-data"), 400)
    is_refused(send(api, path, b"--x\r\nA", "multipart/form-data; boundary=x"), 400, "workflow")
    is_refused(api.post(path, {"workflow": "A"}, format="json"), 415, "multipart/form-data")


# Lists


@pytest.mark.parametrize("path", ["/workflows", "/workflows/"])
def test_list(api: APIClient, path: str) -> None:
    flows = [start("A") for _ in range(3)]
    answer = api.get(path)
    assert answer.json() == [{"id": flow.pk, "state": "RUNNING"} for flow in reversed(flows)]
    assert not answer.has_header("Link")
    first = api.get(f"{path}?size=2")
    assert [row["id"] for row in first.json()] == [flows[2].pk, flows[1].pk]
    link = first["Link"]
    assert link.startswith(f"<http://testserver{path}?")
    assert link.endswith('>; rel="next"')
    second = api.get(link[1 : link.index(">")].removeprefix("http://testserver"))
    assert [row["id"] for row in second.json()] == [flows[0].pk]


@pytest.mark.parametrize("path", ["/workflows", "/inprogress"])
@pytest.mark.parametrize("query", ["size=0", f"size={MOST_ROWS + 1}", "size=x", "next=-1", f"next={2**40}", "zzz=1"])
def test_bounds_of_lists(api: APIClient, path: str, query: str) -> None:
    is_refused(api.get(f"{path}?{query}"), 400, query.partition("=")[0])


def test_a_list_needs_as_many_statements_for_many_flows(api: APIClient) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            api.get("/workflows")
        return len(queries)

    engine.cancel(start("A").pk)
    few = statements()
    for _ in range(5):
        engine.cancel(start("A").pk)
    assert statements() == few


@pytest.mark.parametrize("path", ["/inprogress", "/inprogress/"])
def test_in_progress(api: APIClient, path: str) -> None:
    running, held, failed, cancelled = (start("A") for _ in range(4))
    engine.suspend(held.pk)
    engine.fail_task(failed.pk, 1, reason="no")
    engine.cancel(cancelled.pk)
    assert api.get(path).json() == [held.pk, running.pk]


# States


def test_states(api: APIClient) -> None:
    flows = {
        name: start("A") for name in ("RUNNING", "held", "FINISHED", "FAILED", "TERMINATED", "TERMINATING", "stopped")
    }
    engine.suspend(flows["held"].pk)
    end(flows["FINISHED"], 1)
    engine.fail_task(flows["FAILED"].pk, 1, reason="no")
    for name in ("TERMINATING", "stopped"):
        tasks = Task.objects.filter(task_flow=flows[name], task_exec_seq=1)
        tasks.update(exec_status=Status.RUNNING, started_ts=clock.about_now(), worker="w", pid=7)
    for name in ("TERMINATED", "TERMINATING", "stopped"):
        engine.cancel(flows[name].pk)
    Task.objects.filter(task_flow=flows["stopped"]).update(finished_ts=clock.ago(60))
    wanted = {flow.pk: {"held": "RUNNING", "stopped": "TERMINATED"}.get(name, name) for name, flow in flows.items()}
    assert {row["id"]: row["state"] for row in api.get("/workflows").json()} == wanted
    assert {flow.pk: state(api, flow)["state"] for flow in flows.values()} == wanted


@pytest.mark.parametrize("form", ["{}", "workflow:{}"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_state_of_a_text(api: APIClient, form: str, slash: str) -> None:
    flow = start("A → B")
    path = f"/workflows/{form.format(flow.pk)}/state{slash}"
    empty = [None] * 4
    assert api.get(path).json() == {"state": "RUNNING", "S": [0, 1, 0, 0], "A": [0] * 4, "output": empty}
    end(flow, 1, output={"rows": 7})
    assert api.get(path).json() == {
        "state": "RUNNING",
        "S": [0, 0, 1, 0],
        "A": [0] * 4,
        "output": [None, {"rows": 7}, None, None],
    }
    engine.fail_task(flow.pk, 2, reason="no")
    failed = api.get(path).json()
    assert (failed["state"], failed["S"], failed["failures"]) == ("FAILED", [0, 0, 1, 0], [0, 0, 1, 0])
    engine.rerun(flow.pk)
    end(flow, 2, output=[1])
    done = {"state": "FINISHED", "S": [0] * 4, "A": [0] * 4, "output": [None, {"rows": 7}, [1], [1]]}
    assert api.get(path).json() == done


def test_a_join_accumulates(api: APIClient) -> None:
    flow = start("A → :x; B → :x; :x → C")
    indexes = {task.label: task.task_exec_seq for task in flow.tasks.all()}
    end(flow, indexes["A"])
    vectors = state(api, flow)
    assert vectors["A"][indexes["C"]] == 1
    assert vectors["S"][indexes["B"]] == 1
    end(flow, indexes["B"])
    vectors = state(api, flow)
    assert vectors["A"] == [0] * len(vectors["A"])
    assert vectors["S"][indexes["C"]] == 1


def test_a_skipped_step_has_the_output_of_its_input(api: APIClient) -> None:
    flow = start("A → ? `$.b` B → C")
    end(flow, 1, output={"a": 1})
    vectors = state(api, flow)
    assert vectors["output"][:3] == [None, {"a": 1}, {"a": 1}]
    assert vectors["S"] == [0, 0, 0, 1, 0]


def test_a_flow_without_a_text(api: APIClient, workflow: Make, runner: InlineRunner) -> None:
    workflow("etl", {"program": "Return", "parameters": {"value": 1}}, {"program": "Return", "name": "load"})
    flow = engine.register("etl")
    form = api.get(f"/workflows/{flow.pk}").json()
    assert form["F"] == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert [name for name, _ in form["T"]] == ["StartFlow", "InvokeTask", "InvokeTask", "Sink"]
    first, second = form["T"][1][1], form["T"][2][1]
    assert (first["name"], first["parameters"]) == ("Return", {"value": 1})
    assert (second["name"], second["base"]) == ("load", "Return")
    assert "load.2" in api.get(f"/workflows/{flow.pk}/graph").content.decode()
    assert state(api, flow)["A"] == [0, 1, 0, 0]
    runner.run()
    vectors = state(api, flow)
    assert (vectors["state"], vectors["S"], vectors["A"]) == ("FINISHED", [0] * 4, [0] * 4)
    assert vectors["output"][1] == 1


# Form, graph and trace


@pytest.mark.parametrize("slash", ["", "/"])
def test_compiled_form(api: APIClient, slash: str) -> None:
    text = "@task B = copy ({\"a\": 1}) '''A doc'''\nA → ? `$.b` B"
    flow = start(text)
    form = api.get(f"/workflows/{flow.pk}{slash}").json()
    assert form == json.loads(json.dumps(arrow.compiled_form(arrow.compile_text(text))))
    assert api.get(f"/workflows/workflow:{flow.pk}{slash}").json() == form


@pytest.mark.parametrize("slash", ["", "/"])
def test_graph(api: APIClient, slash: str) -> None:
    flow = start("A → B")
    path = f"/workflows/{flow.pk}/graph{slash}"
    answer = api.get(path)
    assert answer["Content-Type"].startswith("text/plain")
    graph = arrow.compile_text("A → B")
    assert answer.content.decode() == api.get(f"{path}?orientation=horizontal").content.decode()
    assert answer.content.decode() == arrow.diagram(graph)
    assert api.get(f"{path}?orientation=vertical").content.decode() == arrow.diagram(graph, vertical=True)
    is_refused(api.get(f"{path}?orientation=up"), 400, "horizontal, vertical")


TEXTS = [
    "A → :x; B → :x; :x → C → D",
    "A → :x; B → :x C",
    "A → { B → C; D } → E",
    "A → ? `$.b` { B → C } → D",
    "<[1]> → A",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("vector", ["S", "A"])
def test_a_trace_adds_up_to_the_state(api: APIClient, runner: InlineRunner, text: str, vector: str) -> None:
    flow = start(text)
    runner.run()
    size = len(arrow.compile_text(text).steps) + 1
    while ready := [task for task in flow.tasks.order_by("task_exec_seq") if task.awaits_answer]:
        rows = api.get(f"/workflows/{flow.pk}/trace/{vector}/").json()
        times = [ts for ts, _ in rows]
        assert times == sorted(times, reverse=True)
        assert all(ts.endswith("Z") for ts in times)
        sums = [sum(column) for column in zip(*(deltas for _, deltas in rows), strict=True)] or [0] * size
        assert sums == state(api, flow)[vector]
        assert len(sums) == size
        if vector == "S":  # a claim changes nothing: it was active since it was ready
            engine.take_remote(ready[0].ref, "printer-1")
            assert state(api, flow)[vector] == sums
        end(flow, ready[0].task_exec_seq)
    now = state(api, flow)
    assert (now["state"], now[vector]) == ("FINISHED", [0] * size)


@pytest.mark.parametrize("vector", ["B", "s", "x" * 300])
def test_another_trace(api: APIClient, vector: str) -> None:
    flow = start("A")
    body = is_refused(api.get(f"/workflows/{flow.pk}/trace/{vector}"), 400, "S or A")
    assert body["workflow"] == flow.pk


def test_secrets_are_masked(api: APIClient) -> None:
    flow = start('A({"PASSWORD": "swordfish", "say": "it is swordfish"}) → B', {"token": "tunafish-9"})
    end(flow, 1, output={"heard": "swordfish and tunafish-9"})
    for path in ("", "/state", "/graph", "/trace/S"):
        text = api.get(f"/workflows/{flow.pk}{path}").content.decode()
        assert "swordfish" not in text
        assert "tunafish" not in text


# Bounds


def test_large_outputs_are_left_out(api: APIClient) -> None:
    flow = start("A B C D")
    for seq in (1, 2, 3):
        end(flow, seq, output={"text": "x" * 900_000})
    end(flow, 4, output={"small": 1})
    answer = api.get(f"/workflows/{flow.pk}/state")
    assert len(answer.content) <= answers.MOST_BYTES
    outputs = answer.json()["output"]
    assert outputs[4] == {"small": 1}
    assert None in outputs[1:4]
    assert any(output for output in outputs[1:4])


def test_an_output_of_some_kilobytes_is_whole(api: APIClient) -> None:
    flow = start("A B")
    end(flow, 1, output={"text": "x" * 100_000})
    assert state(api, flow)["output"][1] == {"text": "x" * 100_000}


def test_a_trace_fits_into_an_answer(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = start("A → B → C")
    for seq in (1, 2, 3):
        end(flow, seq)
    path = f"/workflows/{flow.pk}/trace/S"
    rows = api.get(path).json()
    monkeypatch.setattr(answers, "MOST_BYTES", 100)
    fewer = api.get(path).json()
    assert 0 < len(fewer) < len(rows)
    assert fewer == rows[: len(fewer)]


def test_what_does_not_fit_is_refused(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = start("A → B → C")
    monkeypatch.setattr(answers, "MOST_BYTES", 100)
    is_refused(api.get(f"/workflows/{flow.pk}"), 400, "bytes")
    is_refused(api.get(f"/workflows/{flow.pk}/graph"), 400, "bytes")
    monkeypatch.setattr(arrow_flows, "MOST_NODES", 4)
    for path in ("", "/state", "/graph", "/trace/A"):
        is_refused(api.get(f"/workflows/{flow.pk}{path}"), 400, "steps")


# Verbs


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("prefix", ["", "workflow:"])
def test_terminate(api: APIClient, slash: str, prefix: str) -> None:
    flow, named = start("A"), start("A")
    path = f"/workflows/{prefix}{flow.pk}/terminate{slash}"
    done = {"status": "Success", "message": f"Workflow {flow.pk} is terminated", "workflow": flow.pk}
    assert is_done(api.post(path)) == done
    assert is_done(api.post(path)) == done
    flow.refresh_from_db()
    assert flow.status is Status.IGNORE
    assert HistoryEntry.objects.filter(task_flow_id=flow.pk, verb="cancel").get().actor == "root"
    body = {"workflow": f"{prefix}{named.pk}"}
    assert "is terminated" in is_done(api.post(f"/workflows/terminate{slash}", body, format="json"))["message"]


def test_terminate_says_that_a_task_may_still_run(api: APIClient) -> None:
    flow = start("A")
    Task.objects.filter(task_flow=flow, task_exec_seq=1).update(
        exec_status=Status.RUNNING, started_ts=clock.about_now(), worker="w", pid=7
    )
    assert is_done(api.post(f"/workflows/{flow.pk}/terminate"))["message"].endswith("is terminating")
    is_refused(api.delete(f"/workflows/{flow.pk}"), 400, "TERMINATING")
    is_refused(api.post(f"/workflows/{flow.pk}/restart"), 400, "TERMINATING")


def test_a_finished_flow_is_not_terminated(api: APIClient) -> None:
    flow = start("A")
    end(flow, 1)
    is_refused(api.post(f"/workflows/{flow.pk}/terminate"), 400, "has ended")


@pytest.mark.parametrize("body", [{}, {"workflow": 1}, {"workflow": "x", "id": "x"}, []])
def test_terminate_without_an_id(api: APIClient, body: Any) -> None:
    is_refused(api.post("/workflows/terminate", body, format="json"), 400)


@pytest.mark.parametrize("slash", ["", "/"])
def test_delete(api: APIClient, slash: str) -> None:
    flow = start("A")
    path = f"/workflows/{flow.pk}{slash}"
    is_refused(api.delete(path), 400, "RUNNING")
    end(flow, 1)
    assert is_done(api.delete(path))["workflow"] == flow.pk
    is_refused(api.delete(path), 404, flow.pk)
    assert not Task.objects.exists()


@pytest.mark.parametrize("slash", ["", "/"])
def test_restart_of_a_failed_flow(api: APIClient, slash: str) -> None:
    flow = start("A → B")
    path = f"/workflows/{flow.pk}/restart{slash}"
    is_refused(api.post(path), 400, "RUNNING")
    engine.fail_task(flow.pk, 1, reason="no")
    assert is_done(api.post(path))["workflow"] == flow.pk
    assert state(api, flow)["state"] == "RUNNING"
    end(flow, 1, 2)
    is_refused(api.post(path), 400, "FINISHED")


def test_restart_of_a_terminated_flow_keeps_what_is_done(api: APIClient) -> None:
    flow = start("A → B; C → { D → E }")
    seqs = {task.label: task.task_exec_seq for task in flow.tasks.all()}
    end(flow, seqs["A"], output={"rows": 7})
    engine.cancel(flow.pk)
    assert state(api, flow)["state"] == "TERMINATED"
    is_done(api.post(f"/workflows/{flow.pk}/restart"))
    now = state(api, flow)
    assert (now["state"], now["output"][seqs["A"]]) == ("RUNNING", {"rows": 7})
    assert [index for index, active in enumerate(now["S"]) if active] == [seqs["B"], seqs["C"]]
    end(flow, seqs["B"], seqs["C"], seqs["D"], seqs["E"])
    assert state(api, flow)["state"] == "FINISHED"


def test_restart_by_get_takes_a_token(api: APIClient) -> None:
    flow = start("A")
    engine.cancel(flow.pk)
    path = f"/workflows/{flow.pk}/restart"
    is_refused(api.get(path), 403, "POST")
    user = User.objects.create_user("ann")
    user.user_permissions.set(Permission.objects.filter(codename__in=OPERATE))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    is_refused(client.get(path, headers={"Sec-Fetch-Site": "cross-site"}), 403, "another site")
    assert client.head(path).status_code == 405
    is_done(client.get(f"{path}/"))
    assert state(api, flow)["state"] == "RUNNING"


UNKNOWN = ["nothing", "workflow:nothing", "workflow:", "%00", "x" * 3000, "a%0Ab"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_flow(api: APIClient, name: str) -> None:
    for path in ("", "/state", "/trace/S", "/graph"):
        body = is_refused(api.get(f"/workflows/{name}{path}"), 404)
        assert body["message"]
    is_refused(api.delete(f"/workflows/{name}"), 404)
    for verb in ("terminate", "restart"):
        is_refused(api.post(f"/workflows/{name}/{verb}"), 404)


# Permissions and the open API


READS = ["", "/{}", "/{}/state", "/{}/trace/S", "/{}/graph"]
VERBS = [("delete", "/{}"), ("post", "/{}/terminate"), ("post", "/{}/restart"), ("get", "/{}/restart")]


def test_permissions(client_with: Callable[..., APIClient]) -> None:
    flow = start("A")
    reader = client_with("view_flow", username="reader")
    starter = client_with("register_flow", username="starter")
    operator = client_with("operate_flow", username="operator")
    both = client_with(*OPERATE, username="both")
    for form in READS:
        assert reader.get("/workflows" + form.format(flow.pk)).status_code == 200
        is_refused(starter.get("/workflows" + form.format(flow.pk)), 403, "view_flow")
    assert reader.get("/inprogress").status_code == 200
    for method, form in VERBS:
        is_refused(getattr(reader, method)("/workflows" + form.format(flow.pk)), 403, "operate_flow")
    is_refused(reader.post("/workflows/terminate", {"workflow": flow.pk}, format="json"), 403, "operate_flow")
    is_refused(reader.post("/workflows/start", {"workflow": "A"}, format="json"), 403, "register_flow")
    is_done(starter.post("/workflows/start", {"workflow": "A"}, format="json"))
    is_done(starter.post("/workflows/start/upload", {"workflow": "A"}, format="multipart"))
    is_done(operator.post(f"/workflows/{flow.pk}/terminate"))
    is_done(operator.post(f"/workflows/{flow.pk}/restart"))
    is_done(operator.post("/workflows/terminate", {"workflow": flow.pk}, format="json"))
    is_refused(operator.delete(f"/workflows/{flow.pk}"), 403, "delete_flow")
    is_done(both.delete(f"/workflows/{flow.pk}"))


@pytest.mark.parametrize("text", ["Echo", "A → Echo", "<[1]> → * Echo", "{ { Echo } }", "@task mine = Echo mine"])
def test_a_text_that_names_programs_needs_the_permission_to_define(
    client_with: Callable[..., APIClient], anonymous: APIClient, settings: Any, text: str
) -> None:
    body = {"workflow": text}
    starter = client_with("register_flow", username="starter")
    is_refused(starter.post("/workflows/start", body, format="json"), 403, "the program Echo")
    is_done(client_with("register_flow", "add_taskdefinition").post("/workflows/start", body, format="json"))
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    answer = anonymous.post("/workflows/start", body, format="json")
    assert answer.status_code in (401, 403)
    assert Flow.objects.count() == 1


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient(enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")


def calls(flow: Flow) -> Iterator[tuple[str, str]]:
    for form in READS:
        yield "get", "/workflows" + form.format(flow.pk)
    for method, form in VERBS:
        yield method, "/workflows" + form.format(flow.pk)
    for path in ("/inprogress", "/apidocs/", "/apispec.json"):
        yield "get", path
    for path in ("/workflows/start", "/workflows/start/upload", "/workflows/terminate"):
        yield "post", path


def test_nothing_anonymous(anonymous: APIClient) -> None:
    for method, path in calls(start("A")):
        assert getattr(anonymous, method)(path).status_code == 401, path
    assert anonymous.get("/", headers={"Accept": "application/json"}).status_code == 401


def test_the_open_api(anonymous: APIClient, settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    flow = start("A")
    for form in READS:
        assert anonymous.get("/workflows" + form.format(flow.pk)).status_code == 200
    for path in ("/inprogress", "/apidocs/", "/apispec.json"):
        assert anonymous.get(path).status_code == 200
    is_done(anonymous.post("/workflows/start", {"workflow": "A → B"}, format="json"))
    is_done(send(anonymous, "/workflows/start", "A → B".encode(), "text/plain"))
    is_done(anonymous.post("/workflows/start/upload", {"workflow": "A"}, format="multipart"))
    for method, form in VERBS:
        is_refused(getattr(anonymous, method)("/workflows" + form.format(flow.pk)), 401)
    is_refused(anonymous.post("/workflows/terminate", {"workflow": flow.pk}, format="json"), 401)


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ({"headers": {"Origin": "http://evil.example"}}, "another origin"),
        ({"headers": {"Sec-Fetch-Site": "cross-site"}}, "another site"),
        ({"headers": {"X-Forwarded-For": "127.0.0.1"}}, "proxy"),
        ({"REMOTE_ADDR": "192.0.2.1"}, "this machine"),
        ({"SERVER_NAME": "testserver"}, "localhost"),
    ],
)
def test_the_open_api_is_for_this_machine(
    anonymous: APIClient, settings: Any, extra: dict[str, Any], word: str
) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    is_refused(anonymous.get("/workflows", **extra), 403, word)
    for kind in ("text/plain", "application/json"):
        is_refused(send(anonymous, "/workflows/start", b"A", kind, **extra), 403, word)
    is_refused(anonymous.post("/workflows/start/upload", {"workflow": "A"}, format="multipart", **extra), 403, word)
    assert not Flow.objects.exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [("post", "/workflows"), ("get", "/workflows/start"), ("put", "/workflows/x"), ("get", "/workflows/x/terminate")],
)
def test_other_methods(api: APIClient, method: str, path: str) -> None:
    is_refused(getattr(api, method)(path), 405)


# Pages and documents


def test_versions_only_where_json_is_preferred(api: APIClient) -> None:
    answer = api.get("/", headers={"Accept": "application/json"})
    assert set(answer.json()) == {"flowerapp", "littleflow", "littleflow_redis"}
    assert (answer.json()["littleflow"], answer["Vary"]) == ("v0.13.0", "Accept, Cookie")
    for accept in ("*/*", "text/html", "text/html,application/xhtml+xml,application/json;q=0.9"):
        answer = api.get("/", headers={"Accept": accept})
        assert (answer.status_code, answer["Location"]) == (302, "/admin/")


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_page_needs_no_internet(api: APIClient, slash: str) -> None:
    page = api.get(f"/apidocs{slash}").content.decode()
    assert "swagger-ui" in page
    assert "/apispec.json" in page
    assert "https://" not in page


def test_the_document(api: APIClient) -> None:
    answer = api.get("/apispec.json")
    assert answer.status_code == 200
    document = json.loads(answer.content)
    check: Any = validate_schema
    check(document)
    routes = {str(route.name) for route in littleflow_urls.urlpatterns} - {"page", "specification"}
    assert len(document["paths"]) == len(routes) + 1, "and /"
    assert document["info"]["title"] == littleflow_pages.TITLE
    assert set(document["paths"]["/workflows/start"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "text/plain",
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            error = operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]
            assert error.endswith("/StatusResponse")
            assert "409" not in operation["responses"]


def test_the_documents_are_apart(settings: Any) -> None:
    own = schema_generator.document(settings.ROOT_URLCONF, None)
    other = littleflow_pages.document(settings.ROOT_URLCONF, None)
    assert not set(own["paths"]) & set(other["paths"])
    assert not any(path.startswith("/workflows") for path in own["paths"])


def test_the_document_is_made_without_a_warning(settings: Any) -> None:
    GENERATOR_STATS.reset()
    schema_generator.document.__wrapped__(settings.ROOT_URLCONF, None, littleflow_pages.Generator)
    assert not GENERATOR_STATS


def test_docs_name_every_route() -> None:
    page = (ROOT / "docs" / "littleflow-api.md").read_text(encoding="utf-8")
    for path, methods in littleflow_pages.document("project.urls", None)["paths"].items():
        written = path.replace("{flow_id}", "{id}").replace("{vector}", "{S\\|A}")
        for method in methods:
            assert f"`{method.upper()} {written}`" in page
    for name in arrow_flows.State:
        assert f"`{name.value}`" in page
