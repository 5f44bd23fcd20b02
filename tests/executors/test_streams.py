"""Remote tasks over a stream in Redis, for listeners written for littleflow."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.plan import Node
from flowerapp.executors.streams import groups
from flowerapp.executors.streams.address import address
from flowerapp.executors.streams.loop import Stream, StreamLoop
from flowerapp.executors.streams.receipt_log import Processed, ReceiptLog
from flowerapp.listener import Listener, TaskFailed, Work
from flowerapp.models import Flow, Task
from flowerapp.querysets import clock
from flowerapp.querysets.streams import UNPUBLISHABLE
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.remote_leases import expire_leases
from flowerapp.workflows import arrow
from tests.engine.support import check, planned, status, verbs
from tests.processes import forget, spawn
from tests.services import ROOT, fresh_redis, until
from tests.streams import KEY, PlainListener

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def url(redis_url: str, settings: Any) -> Iterator[str]:
    """URL of a Redis database of the test's own, which has the stream."""
    with fresh_redis(redis_url) as made:
        settings.FLOWER = {**settings.FLOWER, "STREAM_URL": made}
        yield made


@pytest.fixture
def stream(url: str, runner: InlineRunner) -> Stream:
    """What a worker that leads does."""
    return _stream()


@pytest.fixture
def listener(url: str) -> PlainListener:
    """A member of a group."""
    return PlainListener(url, idle=0).join()


def _stream(name: str = "w1") -> Stream:
    where = address()
    assert where is not None
    return Stream(where, name)


def serve(stream: Stream) -> None:
    """A look of the loop."""
    stream.join()
    stream.publisher.publish()
    stream.read_receipts()
    stream.read_answers()
    stream.read_receipts()
    stream.publisher.publish()


def start(text: str, **options: Any) -> Flow:
    """A flow of a text."""
    return engine.register_plan(arrow.plan_of_text(text), source=text, **options)


def node(flow: Flow, index: int) -> Task:
    """The step with that number."""
    return Task.objects.get(task_flow=flow, task_seq=index, parent_seq=None)


def only(starts: list[dict[str, Any]]) -> dict[str, Any]:
    (one_start,) = starts
    return one_start


# What a listener of littleflow sees and does


def test_a_plain_listener_completes_a_flow(stream: Stream, listener: PlainListener) -> None:
    flow = start("docs:print(- pages: 3 -) → docs:bind", input={"title": "a"})
    serve(stream)
    first = only(listener.take())
    listener.receive(first)
    serve(stream)
    assert (status(flow), node(flow, 1).status) == (Status.RUNNING, Status.RUNNING)
    listener.end(first, {"printed": 3})
    serve(stream)
    second = only(listener.take())
    assert (second["name"], second["input"], "parameters" in second) == ("docs:bind", {"printed": 3}, False)
    listener.receive(second)
    listener.end(second)
    serve(stream)
    check(flow)
    flow.refresh_from_db()
    assert (flow.status, flow.output, listener.entries()) == (Status.FINISH, {}, [])


def test_the_fields_of_a_start(stream: Stream, listener: PlainListener) -> None:
    flow = start("@task print = docs:print (- copies: 1 -)\nA → print(- pages: 3 -)", input={"title": "a"})
    serve(stream)
    first = only(listener.take())
    assert {name: first[name] for name in first if name not in ("id", "at")} == {
        "kind": "start-task",
        "apiVersion": "v1",
        "workflow": f"workflow:{flow.pk}",
        "name": "A",
        "base": "A",
        "index": 1,
        "input": {"title": "a"},
        "attempt": 1,
    }
    assert first["at"].endswith("+00:00")
    listener.end(first, [1])
    serve(stream)
    second = only(listener.take())
    shown = {name: second[name] for name in ("name", "base", "index", "parameters", "input")}
    assert shown == {
        "name": "print",
        "base": "docs:print",
        "index": 2,
        "parameters": {"copies": 1, "pages": 3},
        "input": [1],
    }
    keys = {key: json.loads(listener.client.get(key)) for key in listener.client.keys(f"workflow:{flow.pk}*")}
    assert keys == {f"workflow:{flow.pk}:output:-1": {"title": "a"}, f"workflow:{flow.pk}:output:1": [1]}
    assert all(0 < listener.client.ttl(key) <= 7 * 86_400 for key in keys)


def test_after_a_receipt_the_task_runs_at_its_listener(stream: Stream, listener: PlainListener) -> None:
    flow = start("A")
    serve(stream)
    listener.receive(only(listener.take()))
    assert listener.kinds() == ["start-task", "receipt"]
    serve(stream)
    stream.publisher.publish()
    row = node(flow, 1)
    assert (row.status, row.attempt, row.worker) == (Status.RUNNING, 1, f"remote:docs:{listener.name}")
    assert (listener.kinds(), row.stream_entry) == ([], "")


def test_a_name_without_namespace_and_several_groups(stream: Stream, url: str) -> None:
    flow = start("A → { B → C  D } → E")
    members = [PlainListener(url, group, idle=0).join() for group in ("one", "two")]
    serve(stream)
    for name in ("one", "two"):
        assert only(next(member for member in members if member.group == name).take())["name"] == "A"
    engine.end_task(*node(flow, 1).ref)
    serve(stream)
    assert {entry["name"] for entry in members[0].take()} == {"B", "D"}


def test_a_failure_has_its_reason(stream: Stream, listener: PlainListener) -> None:
    flow = start("A")
    serve(stream)
    listener.end(only(listener.take()), status="FAILURE", reason="no paper")
    serve(stream)
    assert (status(flow), node(flow, 1).error) == (Status.SUSPEND, "no paper")
    engine.rerun(flow.pk)
    serve(stream)
    again = only(listener.take())
    listener.end(again, status="FAILURE")
    serve(stream)
    assert node(flow, 1).error == "its worker gave no reason"


def test_an_output_that_is_no_json_fails_its_task(stream: Stream, listener: PlainListener) -> None:
    flow = start("A")
    serve(stream)
    first = only(listener.take())
    listener.client.set(f"{first['workflow']}:output:1", "{")
    listener.end(first)
    serve(stream)
    assert "its output cannot be used: output is not JSON" in node(flow, 1).error


def test_an_output_under_a_key_of_another_type_fails_its_task(stream: Stream, listener: PlainListener) -> None:
    flow = start("A")
    serve(stream)
    first = only(listener.take())
    listener.client.rpush(f"{first['workflow']}:output:1", "{}")
    listener.end(first)
    serve(stream)
    assert "is no text" in node(flow, 1).error


def test_the_output_of_an_earlier_attempt_is_forgotten(stream: Stream, listener: PlainListener) -> None:
    flow = start("A")
    serve(stream)
    listener.end(only(listener.take()), {"old": True})
    serve(stream)
    engine.rerun(flow.pk, all_tasks=True)
    serve(stream)
    listener.end(only(listener.take()))
    serve(stream)
    assert node(flow, 1).output == {}


def test_steps_of_a_flow_without_a_text_have_numbers_too(stream: Stream, listener: PlainListener) -> None:
    first_step = Node(seq=10, program="", remote="docs:print")
    flow = planned(first_step, Node(seq=20, program="", remote="docs:print", depends_on=(10,), alias="last"))
    serve(stream)
    first = only(listener.take())
    assert (first["index"], first["name"]) == (1, "docs:print")
    listener.end(first)
    serve(stream)
    last = only(listener.take())
    assert (last["index"], last["name"], last["base"]) == (2, "last", "docs:print")
    listener.end(last)
    serve(stream)
    assert status(flow) is Status.FINISH


# What is refused


def test_another_member_takes_over_and_the_late_end_is_refused(stream: Stream, url: str) -> None:
    flow = start("A")
    dead, other = PlainListener(url, idle=0).join(), PlainListener(url, idle=0)
    serve(stream)
    first = only(dead.take())
    assert only(other.take())["id"] == first["id"]  # it died before its receipt
    other.receive(first)
    serve(stream)
    clock.advance(301)
    try:
        assert expire_leases() == 1  # and the other one after it
    finally:
        clock.reset()
    serve(stream)
    second = only(other.take())
    assert (first["attempt"], second["attempt"]) == (1, 2)
    other.receive(second)
    serve(stream)
    other.end(first, {"late": True}, with_attempt=True)
    serve(stream)
    assert (node(flow, 1).status, node(flow, 1).attempt) == (Status.RUNNING, 2)
    other.end(second, {"late": False}, with_attempt=True)
    serve(stream)
    assert (status(flow), node(flow, 1).output, other.entries()) == (Status.FINISH, {"late": False}, [])
    assert verbs(flow) == ["rescue", "end"]


def test_without_an_attempt_the_first_outcome_wins(stream: Stream, listener: PlainListener) -> None:
    flow = start("A → B")
    serve(stream)
    first = only(listener.take())
    listener.receive(first)
    listener.end(first, {"first": True})
    listener.end(first, {"first": True})
    listener.end(first, status="FAILURE", reason="no")
    serve(stream)
    assert (node(flow, 1).output, node(flow, 1).error, verbs(flow)) == ({"first": True}, "", ["end"])
    assert [entry["name"] for entry in listener.take()] == ["B"]


def test_an_end_before_its_receipt(stream: Stream, listener: PlainListener) -> None:
    flow = start("A")
    serve(stream)
    first = only(listener.take())
    listener.end(first, {"a": 1}, with_attempt=True)
    stream.read_answers()
    assert status(flow) is Status.FINISH
    listener.receive(first)
    serve(stream)
    assert (listener.entries(), node(flow, 1).attempt) == ([], 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"workflow": "workflow:unknown"},
        {"workflow": 3},
        {"index": 99},
        {"index": -1},
        {"index": 2**70},
        {"index": "1"},
        {"index": True},
        {"name": "B"},
        {"name": ["A"]},
        {"attempt": 2},
        {"attempt": "1"},
        {"attempt": 2**40},
        {"status": "DONE"},
        {"workflow": "workflow:\0"},
    ],
    ids=str,
)
def test_a_wrong_end_is_refused_and_blocks_nothing(stream: Stream, listener: PlainListener, wrong: Any) -> None:
    flow = start("A")
    serve(stream)
    first = only(listener.take())
    listener.send("end-task", **{"name": "A", "index": 1, "workflow": first["workflow"], **wrong})
    serve(stream)
    assert (node(flow, 1).status, listener.kinds()) == (Status.WAIT, ["start-task"])
    listener.end(first)
    serve(stream)
    assert status(flow) is Status.FINISH


@pytest.mark.parametrize(
    "fields",
    [
        {b"kind": b"end-task"},
        {b"kind": b'"end-task"', b"index": b"{"},
        {b"kind": b'"end-task"', b"index": b"NaN"},
        {b"kind": b"\xff\xfe", b"\xff": b"\xff"},
        {b"kind": b'["end-task"]'},
        {b"kind": b'"receipt"', b"for": b'"1"'},
        {b"kind": b'"receipt"', b"for": b"{", b"action": b'"processed"'},
        {b"kind": b'"receipt"', b"for": b'"1-1"', b"action": b'"processed"'},
        {b"kind": b'"heartbeat-task"'},
        {b"kind": b'"end-task"', b"index": b"[" * 100_000},
        {b"no": b"kind"},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_what_cannot_be_read_blocks_nothing(stream: Stream, listener: PlainListener, fields: Any) -> None:
    flow = start("A")
    serve(stream)
    listener.client.xadd(KEY, fields)
    first = only(_starts(listener))
    listener.end(first)
    serve(stream)
    assert status(flow) is Status.FINISH
    assert stream.ending.abandoned() == []
    groups_left = stream.client.xinfo_groups(KEY)
    assert [group["pending"] for group in groups_left if group["name"] in (b"ending", b"__receipt__")] == [0, 0]


def _starts(listener: PlainListener) -> list[dict[str, Any]]:
    """The tasks in the stream, whatever else is there."""
    entries = listener.client.xrange(KEY, count=1)
    return [{"id": at, **{name: json.loads(text) for name, text in fields.items()}} for at, fields in entries]


def test_a_database_that_fails_leaves_the_answer_to_a_later_look(
    stream: Stream, listener: PlainListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    flow = start("A")
    serve(stream)
    listener.end(only(listener.take()), {"a": 1})

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("flowerapp.engine.end_task", fail)
        with pytest.raises(OperationalError):
            serve(stream)
    serve(stream)
    assert node(flow, 1).status is Status.WAIT
    monkeypatch.setattr(groups, "IDLE_SECONDS", 0.0)
    _stream("w2").take_over()
    assert (status(flow), verbs(flow)) == (Status.FINISH, ["end"])


# What is in the stream


def test_an_emptied_redis_gets_the_ready_tasks_again(stream: Stream, listener: PlainListener) -> None:
    flow = start("A | B")
    serve(stream)
    running, _ = listener.take()
    listener.receive(running)
    serve(stream)
    listener.client.flushdb()
    serve(stream)
    listener.join()
    assert [entry["name"] for entry in listener.take()] == [{"A": "B", "B": "A"}[running["name"]]]
    listener.end(running, with_attempt=True)
    serve(stream)
    assert node(flow, running["index"]).status is Status.FINISH


def test_an_entry_that_is_gone_is_put_in_again(stream: Stream, listener: PlainListener) -> None:
    start("A")
    serve(stream)
    listener.client.xtrim(KEY, maxlen=0)
    assert stream.publisher.look_for_lost() == 0  # as yet
    clock.advance(11)
    try:
        assert stream.publisher.look_for_lost() == 1
        serve(stream)
        assert stream.publisher.look_for_lost() == 0
    finally:
        clock.reset()
    assert only(listener.take())["attempt"] == 1


def test_nothing_is_published_twice(stream: Stream, listener: PlainListener) -> None:
    start("A | B | C")
    for _ in range(3):
        serve(stream)
    assert listener.kinds() == ["start-task"] * 3


@pytest.mark.parametrize("how", ["claim", "end", "cancel", "hold", "delete"])
def test_a_task_that_is_not_to_be_taken_any_more_leaves_the_stream(
    stream: Stream, listener: PlainListener, how: str
) -> None:
    flow = start("A")
    serve(stream)
    if how == "claim":
        assert engine.take_remote(node(flow, 1).ref, "over-http") is not None
    elif how == "end":
        engine.end_task(*node(flow, 1).ref)
    elif how == "hold":
        engine.suspend(flow.pk)
    else:
        engine.cancel(flow.pk)
        assert how == "cancel" or engine.delete([flow.pk])
    serve(stream)
    if how == "delete":
        listener.receive(only(listener.take()))  # of a flow that is gone
        serve(stream)
    assert listener.entries() == []
    if how == "hold":
        engine.resume(flow.pk)
        serve(stream)
        assert only(listener.take())["attempt"] == 1


def test_a_changed_task_is_put_in_anew(stream: Stream, listener: PlainListener) -> None:
    flow = start("A(- n: 1 -)")
    serve(stream)
    engine.change(*node(flow, 1).ref, parameters={"n": 2})
    serve(stream)
    assert only(listener.take())["parameters"] == {"n": 2}


def test_secrets_are_masked_in_all_that_is_written(stream: Stream, listener: PlainListener) -> None:
    secret = "c0ffee-swordfish"
    text = f'A(- password: "{secret}" -) → B'
    start(text, input={"api_key": secret, "url": f"https://ann:{secret}@example.com/"})
    serve(stream)
    first = only(listener.take())
    assert first["parameters"] == {"password": "••••"}
    listener.end(first, {"echo": f"I saw {secret}"})
    serve(stream)
    only(listener.take())
    everything = [json.dumps(listener.entries())]
    own_output = f"{first['workflow']}:output:1"
    everything += [listener.client.get(key) for key in listener.client.keys("workflow:*") if key != own_output]
    assert not [text for text in everything if secret in text]


def test_a_task_that_is_too_large_is_left_to_http(stream: Stream, listener: PlainListener, settings: Any) -> None:
    flow = start("A", input={"long": "x" * 3000})
    settings.FLOWER = {**settings.FLOWER, "MAX_JSON_BYTES": 2000}
    serve(stream)
    serve(stream)
    assert (listener.entries(), node(flow, 1).stream_entry) == ([], UNPUBLISHABLE)
    assert engine.take_remote(node(flow, 1).ref, "over-http") is not None


def test_an_input_that_cannot_be_made_fails_its_task(stream: Stream, listener: PlainListener) -> None:
    flow = start("A → > B")
    serve(stream)
    listener.end(only(listener.take()), 7)
    serve(stream)
    assert "cannot be merged" in Task.objects.get(task_flow=flow, remote="B").error


def test_no_more_than_half_of_its_length_is_published(stream: Stream, listener: PlainListener, settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "STREAM_LENGTH": 6}
    start(" | ".join("ABCDEFGH"))
    serve(stream)
    serve(stream)
    assert listener.kinds() == ["start-task"] * 3
    for entry in listener.take():
        listener.end(entry)
    serve(stream)
    serve(stream)
    assert len(listener.take()) == 3


def test_two_workers_act_on_each_answer_once(stream: Stream, listener: PlainListener) -> None:
    flow = start(" | ".join(f"T{number}" for number in range(20)))
    serve(stream)
    for entry in listener.take(20):
        listener.receive(entry)
        listener.end(entry, with_attempt=True)
    other = _stream("w2")
    for _ in range(3):
        for worker in (other, stream):
            serve(worker)
    check(flow)
    assert (status(flow), verbs(flow), listener.entries()) == (Status.FINISH, ["end"] * 20, [])


# Which Redis, and when


def test_which_redis_has_the_stream(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"REDIS_{name}", raising=False)
    settings.FLOWER = {**settings.FLOWER, "STREAM_URL": None, "STREAM_KEY": "mine"}
    monkeypatch.setattr("flowerapp.executors.celery.brokers.redis_url", lambda: "")
    assert address() is None
    monkeypatch.setattr("flowerapp.executors.celery.brokers.redis_url", lambda: "redis://broker/0")
    assert address() == ("redis://broker/0", "mine", False)
    monkeypatch.setenv("REDIS_HOST", "cache")
    assert address() == ("redis://cache:6379/0", "mine", False)
    monkeypatch.setenv("REDIS_USERNAME", "ann")
    monkeypatch.setenv("REDIS_PASSWORD", "p@ss")
    monkeypatch.setenv("REDIS_PORT", "7000")
    assert address() == ("redis://ann:p%40ss@cache:7000/0", "mine", False)
    settings.FLOWER = {**settings.FLOWER, "STREAM_URL": "redis://own/3"}
    assert address() == ("redis://own/3", "mine", True)
    settings.FLOWER = {**settings.FLOWER, "STREAM_URL": ""}
    assert address() is None


def test_a_redis_that_no_setting_names_is_touched_once_a_remote_task_is_ready(
    stream: Stream, listener: PlainListener, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = settings.FLOWER["STREAM_URL"]
    settings.FLOWER = {**settings.FLOWER, "STREAM_URL": None}
    monkeypatch.setattr("flowerapp.executors.streams.address._from_environment", lambda: url)
    listener.client.flushdb()
    loop = StreamLoop(lambda: True)
    loop.stopping.wait = lambda timeout=None: False  # type: ignore[method-assign]
    loop.look()
    assert listener.client.keys() == []
    flow = start("A")
    loop.look()
    assert listener.kinds() == ["start-task"]
    engine.take_remote(node(flow, 1).ref, "somewhere")
    loop = StreamLoop(lambda: True)  # another worker leads now
    loop.look()
    listener.send("end-task", name="A", index=1, workflow=f"workflow:{flow.pk}")
    loop.look()
    assert status(flow) is Status.FINISH


def test_a_worker_that_does_not_lead_does_nothing(stream: Stream, listener: PlainListener) -> None:
    start("A")
    loop = StreamLoop(lambda: False)
    loop.stopping.wait = lambda timeout=None: False  # type: ignore[method-assign]
    loop.look()
    assert listener.entries() == []


# Events of users


def test_events_of_users_are_given_to_the_engine(
    stream: Stream, listener: PlainListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted: list[Any] = []
    module = SimpleNamespace(emit=lambda kind, data, **_: emitted.append((kind, data)), __spec__=object())
    monkeypatch.setitem(sys.modules, "flowerapp.engine.events", module)
    serve(stream)
    listener.send("start-experiment", id=7)
    listener.send("end-workflow", workflow="workflow:1")
    serve(stream)
    assert emitted == [("start-experiment", {"id": 7})]
    assert listener.kinds() == ["start-experiment", "end-workflow"]
    listener.receive({"id": listener.entries()[0][0]})
    serve(stream)
    assert listener.kinds() == ["end-workflow"]


def test_an_event_of_a_user_ends_a_wait(stream: Stream, listener: PlainListener, runner: InlineRunner) -> None:
    flow = start("wait:event(- event: paper-came -)")
    runner.run()
    serve(stream)
    listener.send("paper-came", sheets=500)
    listener.send("\0", no="kind")
    serve(stream)
    assert status(flow) is Status.FINISH


# The listener in Python


@pytest.fixture
def nap(url: str) -> Iterator[Listener]:
    """A listener that runs."""
    made = Listener(url, group="naps", heartbeat=0.05, idle=0.2, concurrency=2)

    @made.task("nap:")
    def sleep(work: Work) -> Any:
        if work.name == "nap:never":
            raise TaskFailed("no bed")
        if work.name == "nap:broken":
            raise KeyError("bed")
        return {"slept": work.parameters.get("for"), "input": work.input}

    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join(10)
    assert not thread.is_alive()


def serve_until(stream: Stream, flow: Flow, *wanted: Status) -> None:
    def ended() -> bool:
        serve(stream)
        return status(flow) in wanted

    until(ended, 10)


def test_the_listener_does_tasks(stream: Stream, nap: Listener) -> None:
    flow = start("nap:short(- for: 1 -) → nap:long(- for: 2 -)")
    serve_until(stream, flow, Status.FINISH)
    check(flow)
    row = node(flow, 2)
    assert row.output == {"slept": 2, "input": {"slept": 1, "input": {}}}
    assert (row.worker, row.attempt) == (f"remote:{nap.name}", 1)


@pytest.mark.parametrize(("name", "reason"), [("nap:never", "no bed"), ("nap:broken", "KeyError: 'bed'")])
def test_the_listener_reports_failures(stream: Stream, nap: Listener, name: str, reason: str) -> None:
    flow = start(name)
    serve_until(stream, flow, Status.SUSPEND)
    assert node(flow, 1).error == reason


def test_the_listener_sends_heartbeats(stream: Stream, nap: Listener) -> None:
    begun, released = threading.Event(), threading.Event()

    @nap.task("long")
    def wait(work: Work) -> None:
        begun.set()
        released.wait(10)

    flow = start("long")
    serve(stream)
    assert begun.wait(5)

    def lease() -> Any:
        serve(stream)
        return node(flow, 1).lease_ts

    first = until(lease, 5)
    until(lambda: lease() > first, 5)
    released.set()
    serve_until(stream, flow, Status.FINISH)


def test_the_listener_takes_over_what_another_left(stream: Stream, url: str) -> None:
    flow = start("other")
    dead = PlainListener(url, "naps", idle=0).join()
    serve(stream)
    only(dead.take())
    other = Listener(url, group="naps", idle=0.1)
    other.task("other")(lambda work: {"by": "the other"})
    thread = threading.Thread(target=other.run)
    thread.start()
    try:
        serve_until(stream, flow, Status.FINISH)
    finally:
        other.stop()
        thread.join(10)
    assert node(flow, 1).output == {"by": "the other"}


# The listener in Node.js

EXAMPLE = ROOT / "docs" / "examples" / "listener.mjs"


@pytest.fixture
def in_node(url: str, tmp_path: Path) -> Iterator[Path]:
    """The example runs; its log."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed")
    log = tmp_path / "node.log"
    environment = {**os.environ, "REDIS_URL": url, "HEARTBEAT_MS": "50", "IDLE_MS": "200"}
    with log.open("wb") as file:
        process = spawn([program, str(EXAMPLE)], env=environment, stdout=file, stderr=file)
    yield log
    process.kill()
    process.wait(10)
    forget(process.pid)


def test_the_listener_in_node_does_tasks(stream: Stream, in_node: Path) -> None:
    flow = start("text:upper → text:repeat(- times: 3 -)", input={"text": "straße – ja"})
    serve_until(stream, flow, Status.FINISH)
    check(flow)
    assert engine.get_flow(flow.pk).output == {"text": "STRASSE – JA" * 3}
    assert node(flow, 1).worker.startswith("remote:text:")
    assert in_node.read_text() == ""


def test_the_listener_in_node_sends_heartbeats_and_failures(stream: Stream, in_node: Path) -> None:
    flow = start("text:wait(- seconds: 0.5 -) → text:repeat(- times: -1 -)")
    serve(stream)
    leases = set()

    def ended() -> bool:
        serve(stream)
        leases.add(node(flow, 1).lease_ts)
        return status(flow) is Status.SUSPEND

    until(ended, 10)
    assert len(leases) > 3
    assert "RangeError" in node(flow, 2).error


def test_the_listener_in_node_survives_a_redis_that_is_emptied(stream: Stream, in_node: Path) -> None:
    first = start("text:upper")
    serve_until(stream, first, Status.FINISH)
    stream.client.flushdb()
    second = start("text:upper")
    serve_until(stream, second, Status.FINISH)


# Receipts


def test_receipts_are_logged_with_the_events_that_they_answer(stream: Stream, listener: PlainListener) -> None:
    start("A")
    serve(stream)
    first = only(listener.take())
    listener.receive(first)
    where = address()
    assert where is not None
    logged: list[Processed] = []
    log = ReceiptLog(where, logged.append)
    log.run(limit=1)
    assert stream.logs_elsewhere()
    assert [(entry.event["kind"], entry.event["name"]) for entry in logged] == [("start-task", "A")]
    assert logged[0].at == "2026-01-31T12:00:00+00:00"
    assert Task.objects.get(remote="A").status is Status.RUNNING
    listener.end(first, password="hunter2swordfish")
    stream.read_answers()
    log.run(wait=0)
    log.close()
    assert (logged[1].event["kind"], logged[1].event["password"]) == ("end-task", "••••")
    assert (listener.entries(), stream.logs_elsewhere()) == ([], False)
