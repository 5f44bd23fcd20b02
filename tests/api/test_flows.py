"""``/api/flows/``: readers and verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core.executor import QueueSize
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, Log, Task
from flowerapp.states import Status
from flowerapp.testing import InlineRunner

Make = Callable[..., str]
Statements = Callable[..., Any]
pytestmark = pytest.mark.django_db


@pytest.fixture
def broken(workflow: Make, runner: InlineRunner, tmp_path: Path) -> Flow:
    """A flow whose second of three tasks has failed, and fails as long as a file exists."""
    path = tmp_path / "in the way"
    path.touch()
    workflow(
        "etl",
        {"program": "Return", "parameters": {"value": 1}},
        {"program": "FailWhile", "parameters": {"path": str(path)}},
        {"program": "Return"},
    )
    flow = engine.register("etl", input={"day": 1})
    runner.run()
    return flow


def test_a_failed_flow_names_the_task_and_its_error(api: APIClient, broken: Flow) -> None:
    body = api.get(f"/api/flows/{broken.pk}/").json()
    assert (body["status"], body["exec_status"], body["held"]) == ("Suspend", 2, False)
    assert body["failed"]["task_exec_seq"] == 2
    assert body["failed"]["program"] == "FailWhile"
    assert "is in the way" in body["failed"]["error"]
    assert (body["input"], body["tasks"]) == ({"day": 1}, {"Wait": 1, "Suspend": 1, "Finish": 1})
    assert body["registered_ts"].endswith("Z")
    task = api.get(f"/api/flows/{broken.pk}/tasks/2").json()
    assert "Traceback" in task["traceback"]
    assert (task["attempt"], task["depends_on"], task["depends_task_exec_seq"]) == (1, [1], 1)
    assert api.get("/api/flows/").json()["results"][0]["failed"] == body["failed"]


def test_change_and_rerun(api: APIClient, broken: Flow, runner: InlineRunner, tmp_path: Path) -> None:
    answer = api.patch(
        f"/api/flows/{broken.pk}/tasks/2/",
        {"parameters": {"path": str(tmp_path / "free")}, "priority": 5, "why": "wrong path"},
        format="json",
    )
    assert (answer.status_code, answer.json()["task_priority"]) == (200, 5)
    answer = api.post(f"/api/flows/{broken.pk}/rerun/", {"failed": True, "why": "path restored"}, format="json")
    assert (answer.status_code, answer.json()["failed"]) == (200, None)
    runner.run()
    assert api.get(f"/api/flows/{broken.pk}/").json()["status"] == "Finish"
    history = api.get(f"/api/flows/{broken.pk}/history/").json()["results"]
    changes = [(row["verb"], row["actor"], row["reason"]) for row in history if row["actor"] == "root"]
    assert changes == [("change", "root", "wrong path"), ("rerun", "root", "path restored")]
    assert api.get(f"/api/flows/{broken.pk}/tasks/1/").json()["attempt"] == 1


def test_rerun_with_parameters_from_and_all(api: APIClient, broken: Flow, runner: InlineRunner, tmp_path: Path) -> None:
    body = {"from": 2, "parameters": {"2": {"path": str(tmp_path / "free")}}}
    assert api.post(f"/api/flows/{broken.pk}/rerun", body, format="json").status_code == 200
    runner.run()
    assert api.post(f"/api/flows/{broken.pk}/rerun", {"all": True, "refresh": True}, format="json").status_code == 200
    runner.run()
    assert api.get(f"/api/flows/{broken.pk}/").json()["failed"]["task_exec_seq"] == 2


def test_verbs(api: APIClient, broken: Flow, runner: InlineRunner) -> None:
    url = f"/api/flows/{broken.pk}"
    assert api.post(f"{url}/suspend/", {"why": "wait"}, format="json").json()["held"] is True
    assert api.post(f"{url}/suspend/").status_code == 409
    assert api.post(f"{url}/resume/").json()["held"] is False
    assert api.post(f"{url}/tasks/2/skip/").json()["status"] in ("Wait", "Running")
    runner.run()
    assert api.get(f"{url}/").json()["status"] == "Finish"
    for verb in ("suspend", "resume", "cancel", "tasks/3/skip", "rerun"):
        answer = api.post(f"{url}/{verb}/")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    other = engine.register("etl")
    assert api.post(f"/api/flows/{other.pk}/cancel/").json()["status"] == "Ignore"


def test_a_conflict_lists_the_running_tasks(api: APIClient, broken: Flow) -> None:
    flow = engine.register("etl")
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    answer = api.post(f"/api/flows/{flow.pk}/rerun/", {"from": 1}, format="json")
    assert answer.status_code == 409
    assert answer.json()["details"] == {"running": [1]}
    assert "Running" in answer.json()["detail"]


BODIES: list[tuple[Any, str]] = [
    ({"all": True, "from": 1}, "one of"),
    ({"from": "1"}, "from"),
    ({"from": True}, "from"),
    ({"failed": "yes"}, "failed"),
    ({"refresh": 1}, "refresh"),
    ({"parameters": {"x": {}}}, "parameters"),
    ({"seq": 1}, "seq"),
    ({"why": 3}, "why"),
    ({"why": "x" * 3000}, "why"),
    ([], "object"),
]


@pytest.mark.parametrize(("body", "word"), BODIES)
def test_bad_rerun(api: APIClient, broken: Flow, body: Any, word: str) -> None:
    answer = api.post(f"/api/flows/{broken.pk}/rerun/", body, format="json")
    assert answer.status_code == 400
    assert word in answer.json()["detail"]


CHANGES: list[tuple[Any, str]] = [
    ({}, "nothing to change"),
    ({"priority": 20}, "priority"),
    ({"priority": True}, "priority"),
    ({"priority": 1, "task_priority": 1}, "priority"),
    ({"parameters": {"nothing": 1}}, "nothing"),
    ({"parameters": 5}, "parameters"),
    ({"queue": "a/b"}, "queue"),
    ({"queue": "x" * 300}, "queue"),
    ({"exec_status": 3}, "exec_status"),
    ({"status": "Finish"}, "status"),
]


@pytest.mark.parametrize(("body", "word"), CHANGES)
def test_bad_change(api: APIClient, broken: Flow, body: Any, word: str) -> None:
    answer = api.patch(f"/api/flows/{broken.pk}/tasks/2/", body, format="json")
    assert answer.status_code == 400, answer.content
    assert word in answer.json()["detail"]
    assert not broken.history.filter(verb="change").exists()


@pytest.mark.parametrize("flow_id", ["nothing", "%00", "a%0Ab", "x" * 3000, "%F0%9F%8C%B7", "%ff", ".."])
def test_unknown_flow(api: APIClient, flow_id: str) -> None:
    for path in ("", "tasks/", "tasks/1/", "history/", "graph/"):
        assert api.get(f"/api/flows/{flow_id}/{path}").status_code == 404
    for path in ("suspend", "resume", "cancel", "rerun", "tasks/1/skip"):
        assert api.post(f"/api/flows/{flow_id}/{path}/").status_code == 404


@pytest.mark.parametrize("seq", ["9", "-1", "x", "1.0", "٣", "2147483648", "9" * 30, "9" * 5000, "%00", "0x1", "+1"])
def test_unknown_task(api: APIClient, broken: Flow, seq: str) -> None:
    url = f"/api/flows/{broken.pk}/tasks/{seq}/"
    assert api.get(url).json()["code"] == "unknown_task"
    assert api.patch(url, {"priority": 1}, format="json").status_code == 404
    assert api.post(f"{url}skip/").status_code == 404


def test_filters(api: APIClient, broken: Flow, workflow: Make) -> None:
    workflow("other", {"program": "Return"})
    second = engine.register("other")

    def ids(**query: str) -> list[str]:
        answer = api.get("/api/flows/", query)
        assert answer.status_code == 200, answer.content
        return [row["task_flow_id"] for row in answer.json()["results"]]

    assert ids() == [second.pk, broken.pk]
    assert ids(task_id="etl") == [broken.pk]
    assert ids(status="suspend") == ids(status="2") == [broken.pk]
    assert ids(status="Wait, 2") == [second.pk, broken.pk]
    second.refresh_from_db()
    between = second.registered_ts.isoformat()
    assert ids(registered_after=between) == [second.pk]
    assert ids(registered_before=between) == [broken.pk]
    assert ids(registered_after="2020-01-01") == [second.pk, broken.pk]
    raw = api.get(f"/api/flows/?registered_after={between}")  # its plus sign is not encoded
    assert len(raw.json()["results"]) == 1


BAD_QUERIES = [
    "status=Broken",
    "status=",
    "status=7",
    "status=%00",
    "registered_after=yesterday",
    "registered_after=0001-01-01T00:00:00%2B14:00",
    "registered_before=9999-12-31T23:59:59-14:00",
    "registered_before=%00",
    "task_id=%00",
    "task_id=",
    "stauts=Wait",
    "cursor=x",
    "cursor=cD14",
    "cursor=cD0lMDA=",
    "cursor=cj0xJnA9MjAyNi05OS05OQ==",
    "cursor=bz0tMQ==",
    "cursor=%00",
]


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_bad_queries(api: APIClient, broken: Flow, query: str) -> None:
    answer = api.get(f"/api/flows/?{query}")
    assert answer.status_code in (200, 400), answer.content
    if answer.status_code == 200:
        assert "9999" in query or "0001" in query or query in ("cursor=bz0tMQ==", "cursor=%00")
    for path in ("tasks", "history"):
        assert api.get(f"/api/flows/{broken.pk}/{path}/?{query}").status_code in (200, 400)
    assert api.get(f"/api/workflows/?{query}").status_code in (200, 400)
    assert api.get(f"/api/workers/?{query}").status_code in (200, 400)


def test_pages_of_flows(api: APIClient, workflow: Make, django_assert_max_num_queries: Statements) -> None:
    workflow("etl", {"program": "Return"})
    flows = [engine.register("etl") for _ in range(120)]
    for flow in flows:
        Flow.objects.filter(pk=flow.pk).update(failed_seq=1)
    seen = []
    url = "/api/flows/"
    while url:
        with django_assert_max_num_queries(5):  # session, user, page, failed tasks, numbers of tasks
            page = api.get(url).json()
        assert len(page["results"]) <= 50
        seen += [row["task_flow_id"] for row in page["results"]]
        url = page["next"]
    assert seen == [flow.pk for flow in reversed(flows)]


def test_pages_of_tasks(api: APIClient, workflow: Make, django_assert_max_num_queries: Statements) -> None:
    workflow("long", *[{"program": "Return"}] * 120)
    flow = engine.register("long")
    seen = []
    url = f"/api/flows/{flow.pk}/tasks/"
    while url:
        with django_assert_max_num_queries(5):  # session, user, flow, page, reasons
            page = api.get(url).json()
        seen += [row["task_exec_seq"] for row in page["results"]]
        url = page["next"]
    assert seen == list(range(1, 121))
    with django_assert_max_num_queries(4):
        assert len(api.get(f"/api/flows/{flow.pk}/graph/").json()["nodes"]) == 120
    with django_assert_max_num_queries(8):  # counts, queues, workers
        api.get(f"/api/flows/{flow.pk}/")
    assert len(api.get(f"/api/flows/{flow.pk}/tasks/?page_size=100000").json()["results"]) == 120


def test_graph(api: APIClient, broken: Flow) -> None:
    url = f"/api/flows/{broken.pk}/graph/"
    body = api.get(url).json()
    assert [(node["seq"], node["status"]) for node in body["nodes"]] == [(1, "Finish"), (2, "Suspend"), (3, "Wait")]
    assert body["edges"] == [{"from": 1, "to": 2}, {"from": 2, "to": 3}]
    for kind, word in [("svg", "<svg"), ("mermaid", "flowchart"), ("ascii", "FailWhile")]:
        answer = api.get(url, {"as": kind})
        assert answer.status_code == 200
        assert word in answer.content.decode()
    assert api.get(url, {"as": "gif"}).status_code == 400


def test_secrets_and_logs(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return", "parameters": {"value": {"password": "s3cret"}}})
    flow = engine.register("etl")
    Log.objects.create(task_flow=flow, task_exec_seq=1, attempt=1, message="first")
    Log.objects.create(task_flow=flow, task_exec_seq=1, attempt=1, message="second")
    answer = api.get(f"/api/flows/{flow.pk}/tasks/1/")
    assert b"s3cret" not in answer.content
    assert [line["message"] for line in answer.json()["log"]] == ["first", "second"]
    assert b"s3cret" not in api.get(f"/api/flows/{flow.pk}/tasks/").content


def test_unserved_queue(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return", "queue": "transcoding"})
    flow = engine.register("etl")
    assert api.get(f"/api/flows/{flow.pk}/").json()["unserved_queues"] == ["transcoding"]
    queue = next(row for row in api.get("/api/queues/").json()["results"] if row["name"] == "transcoding")
    assert (queue["waiting"], queue["unserved"], queue["workers"]) == (1, True, [])


@pytest.mark.parametrize(
    ("answer", "messages", "unknown"),
    [
        (QueueSize.of(0), 0, ""),
        (QueueSize.of(7), 7, ""),
        (QueueSize(unknown="it may not count"), None, "it may not count"),
        (ConnectionError("no"), None, "the broker is unreachable (ConnectionError)"),
    ],
)
def test_the_size_of_a_queue_is_a_number_or_unknown_with_the_reason(
    api: APIClient,
    runner: InlineRunner,
    workflow: Make,
    monkeypatch: pytest.MonkeyPatch,
    answer: QueueSize | Exception,
    messages: int | None,
    unknown: str,
) -> None:
    def queue_sizes(_: InlineRunner, names: Iterable[str]) -> dict[str, QueueSize]:
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(names, answer)

    monkeypatch.setattr(InlineRunner, "queue_sizes", queue_sizes)
    workflow("etl", {"program": "Return"})
    engine.register("etl")
    (queue,) = api.get("/api/queues/").json()["results"]
    assert (queue["waiting"], queue["messages"], queue["unknown"]) == (1, messages, unknown)


def test_status_of_every_kind_reads(api: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    flow = engine.register("etl")
    engine.cancel(flow.pk)
    body = api.get(f"/api/flows/{flow.pk}/").json()
    assert (body["status"], body["exec_status"]) == (Status.IGNORE.label, 9)
