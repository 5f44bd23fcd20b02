"""Remote workers over HTTP: claim, heartbeat, end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.api import long_poll, remote_views
from flowerapp.core.masking import MASKED
from flowerapp.core.plan import Node, Plan
from flowerapp.models import Flow
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.remote_leases import expire_leases
from tests.services import until

pytestmark = pytest.mark.django_db(transaction=True)

CLAIM, HEARTBEAT, END = (f"/api/remote/{name}/" for name in ("claim", "heartbeat", "end"))
THREADED: dict[str, Any] = {"wsgi.multithread": True}
"""What a web server says whose processes have threads."""


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.reset()


@pytest.fixture
def worker(runner: InlineRunner, client_with: Callable[..., APIClient]) -> APIClient:
    """A client with nothing but the permission ``remote_worker``."""
    return client_with("remote_worker", username="printer")


def remote(**options: Any) -> Flow:
    """``docs:print → docs:bind``, both remote; ``options`` are those of the first."""
    first = Node(seq=1, program="", remote="docs:print", alias="print", **options)
    nodes = first, Node(seq=2, program="", remote="docs:bind", depends_on=(1,))
    return engine.register_plan(Plan("book", nodes), input={"day": 1})


def post(client: APIClient, url: str, body: Any, status: int = 200) -> Any:
    """The answer's body; the status must be as expected."""
    answer = client.post(url, body, format="json", **THREADED)
    assert answer.status_code == status, answer.content
    return answer.json()


def attempt_of(task: dict[str, Any]) -> dict[str, Any]:
    """What heartbeats and ends name."""
    return {name: task[name] for name in ("task_flow_id", "seq", "attempt")}


def claim(client: APIClient, **body: Any) -> Any:
    """The tasks that were claimed."""
    return post(client, CLAIM, {"worker": "printer-1", **body})["tasks"]


def test_a_flow_is_done_by_a_worker(worker: APIClient) -> None:
    flow = remote(parameters={"size": "A4"}, time_limit=60)
    (task,) = claim(worker, names=["docs:*"], limit=10)
    assert task == {
        **{"task_flow_id": flow.pk, "seq": 1, "task_id": "book", "name": "print", "base": "docs:print"},
        **{"task_seq": 1, "attempt": 1, "parameters": {"size": "A4"}, "input": {"day": 1}, "queue": ""},
        **{"idempotency_key": f"{flow.pk}:1:1", "priority": 0, "lease_seconds": 60.0},
    }
    assert claim(worker) == []
    beaten = post(worker, HEARTBEAT, {**attempt_of(task), "progress": {"done": 1, "total": 2}})
    assert beaten == {**attempt_of(task), "status": "Running"}
    assert engine.get_task(flow.pk, 1).progress == {"done": 1, "total": 2}
    ended = post(worker, END, {**attempt_of(task), "output": {"pages": 2}})
    assert ended == {**attempt_of(task), "status": "Finish"}
    (task,) = claim(worker, names=["docs:bind"])
    assert task["input"] == {"pages": 2}
    post(worker, END, {**attempt_of(task), "task_flow_id": f"workflow:{flow.pk}", "output": None})
    assert engine.get_flow(flow.pk).status is Status.FINISH
    history = flow.history.values_list("verb", "task_exec_seq", "attempt", "worker", "actor")
    assert list(history) == [("end", seq, 1, "remote:printer-1", "printer") for seq in (1, 2)]


def test_a_failure_is_retried_and_then_final(worker: APIClient, api: APIClient) -> None:
    flow = remote(max_retries=1, retry_delay=0)
    (task,) = claim(worker)
    assert post(worker, END, {**attempt_of(task), "error": "no paper"})["status"] == "Wait"
    (task,) = claim(worker)
    assert task["attempt"] == 2
    assert post(worker, END, {**attempt_of(task), "error": "no ink"})["status"] == "Suspend"
    assert api.get(f"/api/flows/{flow.pk}/").json()["failed"]["error"] == "no ink"
    post(api, f"/api/flows/{flow.pk}/rerun/", {})
    (task,) = claim(worker)
    assert post(worker, END, {**attempt_of(task), "error": "no such document", "retry": False})["status"] == "Suspend"


def test_an_operator_fails_a_claimed_task_for_good(worker: APIClient, api: APIClient) -> None:
    flow = remote(max_retries=3)
    (task,) = claim(worker)
    shown = api.get(f"/api/flows/{flow.pk}/tasks/1/").json()
    assert (shown["status"], shown["worker"], shown["note"]) == ("Running", "remote:printer-1", "by another system")
    failed = post(api, f"/api/flows/{flow.pk}/tasks/1/fail/", {"reason": "enough"})
    assert (failed["status"], failed["failed"]["error"]) == ("Suspend", "enough")
    post(worker, END, {**attempt_of(task), "output": 1}, 409)


def test_a_late_outcome_is_refused(worker: APIClient) -> None:
    flow = remote()
    (late,) = claim(worker)
    clock.advance(301)
    expire_leases()
    (task,) = claim(worker, worker="printer-2")
    for url, more in ((END, {"output": 1}), (END, {"error": "no"}), (HEARTBEAT, {})):
        refused = post(worker, url, {**attempt_of(late), **more}, 409)
        assert "attempt 1 of task 1" in refused["detail"]
    post(worker, END, {**attempt_of(task), "output": 2})
    again = post(worker, END, {**attempt_of(task), "output": 3}, 409)
    assert again["details"] == {"status": "Finish", "attempt": 2}
    assert engine.get_task(flow.pk, 1).output == 2


def test_a_cancelled_task_is_reported_to_its_worker(worker: APIClient) -> None:
    flow = remote()
    (task,) = claim(worker)
    engine.cancel(flow.pk)
    assert "is Cancelled already" in post(worker, HEARTBEAT, attempt_of(task), 409)["detail"]


@pytest.mark.parametrize(
    ("url", "body", "field"),
    [
        (CLAIM, {}, "worker"),
        (CLAIM, {"worker": ""}, "detail"),
        (CLAIM, {"worker": "x" * 58}, "detail"),
        (CLAIM, {"worker": "w", "limit": 0}, "limit"),
        (CLAIM, {"worker": "w", "limit": 101}, "limit"),
        (CLAIM, {"worker": "w", "limit": "1"}, "limit"),
        (CLAIM, {"worker": "w", "wait": 31}, "wait"),
        (CLAIM, {"worker": "w", "wait": -1}, "wait"),
        (CLAIM, {"worker": "w", "wait": True}, "wait"),
        (CLAIM, {"worker": "w", "wait": 10**400}, "wait"),
        (CLAIM, {"worker": "w", "seconds": 0}, "detail"),
        (CLAIM, {"worker": "w", "seconds": 10**400}, "detail"),
        (CLAIM, {"worker": "w", "names": "docs:*"}, "names"),
        (CLAIM, {"worker": "w", "names": ["a"] * 101}, "names"),
        (CLAIM, {"worker": "w", "names": [""]}, "detail"),
        (CLAIM, {"worker": "w", "more": 1}, "more"),
        (HEARTBEAT, {"progress": 3}, "progress"),
        (HEARTBEAT, {"attempt": "1"}, "attempt"),
        (END, {}, "non_field_errors"),
        (END, {"output": 1, "error": "no"}, "non_field_errors"),
        (END, {"error": " "}, "detail"),
        (END, {"output": MASKED}, "detail"),
        (END, {"output": 1, "retry": "yes"}, "retry"),
    ],
)
def test_bad_bodies(worker: APIClient, url: str, body: dict[str, Any], field: str) -> None:
    flow = remote()
    attempt = {} if url == CLAIM else {**attempt_of(claim(worker)[0])}
    refused = post(worker, url, {**attempt, **body}, 400)
    assert field in refused
    assert engine.get_task(flow.pk, 1).status is (Status.WAIT if url == CLAIM else Status.RUNNING)


def test_what_there_is_none_of(worker: APIClient) -> None:
    flow = remote()
    for body in ({"task_flow_id": "none", "seq": 1}, {"task_flow_id": flow.pk, "seq": 9}):
        post(worker, END, {**body, "attempt": 1, "output": 1}, 404)
        post(worker, HEARTBEAT, {**body, "attempt": 1}, 404)
    for attempt in (1, 2**31, 10**30, -1):
        post(worker, END, {"task_flow_id": flow.pk, "seq": 1, "attempt": attempt, "output": 1}, 409)


def test_only_remote_workers_may(client_with: Callable[..., APIClient], runner: InlineRunner) -> None:
    flow = remote()
    operator = client_with("view_flow", "operate_flow", "register_flow", username="operator")
    for url, body in ((CLAIM, {"worker": "w"}), (HEARTBEAT, {}), (END, {})):
        post(operator, url, body, 403)
        assert APIClient().post(url, body, format="json").status_code == 401
    worker = client_with("remote_worker", username="worker")
    assert worker.get(f"/api/flows/{flow.pk}/").status_code == 403
    assert claim(worker)


def test_large_inputs_make_an_answer_end_early(worker: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_views, "MOST_BYTES", 100)
    nodes = tuple(Node(seq=seq, program="", remote="docs:print", parameters={"a": "x" * 60}) for seq in range(1, 26))
    engine.register_plan(Plan("many", nodes))
    assert [len(claim(worker, limit=100)) for _ in range(4)] == [10, 10, 5, 0]
    monkeypatch.undo()
    engine.register_plan(Plan("more", nodes))
    assert len(claim(worker, limit=23)) == 23


# Waits


def test_a_claim_waits_for_work(worker: APIClient) -> None:
    began = time.monotonic()
    assert claim(worker, wait=0.7) == []
    assert 0.7 <= time.monotonic() - began < 5

    def ask() -> Any:
        try:
            return claim(worker, wait=30)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        until(lambda: long_poll._waiting == 1, 10)
        flow = remote()
        (task,) = answer.result(20)
    assert task["task_flow_id"] == flow.pk
    assert long_poll._waiting == 0


def test_a_request_that_waits_holds_no_connection_and_looks_twice_a_second(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, open_while_asleep = [], []

    def look() -> list[int]:
        connection.ensure_connection()
        looks.append(time.monotonic())
        return [1] if len(looks) == 4 else []

    def sleep(seconds: float) -> None:
        open_while_asleep.append(connection.connection is not None and connection.vendor == "postgresql")
        slept.append(seconds)

    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", sleep)
    assert long_poll.first(look, 30, 1) == [1]
    assert (slept, open_while_asleep) == ([0.5] * 3, [False] * 3)


def test_a_process_with_one_thread_lets_no_request_wait(worker: APIClient) -> None:
    began = time.monotonic()
    answer = worker.post(CLAIM, {"worker": "w", "wait": 30}, format="json")
    assert (answer.json(), time.monotonic() - began < 10) == ({"tasks": []}, True)


def test_only_a_few_requests_wait_at_once(worker: APIClient, settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "REMOTE_WAITS": 2}
    stop = threading.Event()

    def hold() -> list[int]:
        return long_poll.first(lambda: [1] if stop.is_set() else [], 30, 2)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(hold) for _ in range(2)]
        until(lambda: long_poll._waiting == 2, 10)
        began = time.monotonic()
        assert claim(worker, wait=30) == []
        assert time.monotonic() - began < 5
        stop.set()
        assert [future.result(10) for future in waiting] == [[1], [1]]
    assert long_poll._waiting == 0
