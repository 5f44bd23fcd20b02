"""``flow end`` and ``flow fail``, and what the command line shows of remote tasks, gates and conditions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.gates import GATE
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node, Plan
from flowerapp.executors.streams.address import address
from flowerapp.executors.streams.loop import Stream
from flowerapp.models import Flow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import arrow
from tests.cli.support import flow
from tests.engine.support import check
from tests.services import fresh_redis

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def remote(runner: InlineRunner) -> Flow:
    """A gate, and two remote tasks after it, the second with a condition."""
    nodes = (
        Node(seq=0, program=GATE),
        Node(seq=1, program="", remote="docs:print", depends_on=(0,)),
        Node(seq=2, program="", remote="docs:bind", depends_on=(1,), when="input.pages > 1"),
    )
    return engine.register_plan(Plan("text", nodes), source="docs:print → docs:bind")


def test_end_and_fail(remote: Flow) -> None:
    assert "no worker has answered for docs:print" in flow("show", remote.pk).out
    answer = flow("end", remote.pk, 2, "--output", '{"pages": 2}', "--why", "by hand", "--json")
    assert (answer.code, json.loads(answer.out)["status"]) == (0, "Running")
    assert flow("end", remote.pk, 2).code == 2
    assert flow("fail", remote.pk, 3, "--reason", "no glue").code == 0
    remote.refresh_from_db()
    assert (remote.status, remote.failed_seq) == (Status.SUSPEND, 3)
    shown = flow("show", remote.pk)
    assert "Task 3 docs:bind failed" in shown.out
    assert "no glue" in shown.out
    assert flow("rerun", remote.pk).code == 0
    assert flow("end", remote.pk, 3).code == 0
    remote.refresh_from_db()
    assert remote.status is Status.FINISH


def test_a_claimed_task(remote: Flow) -> None:
    engine.claim_remote("printer-1")
    engine.beat_remote(TaskRef(remote.pk, 2), 1, progress={"done": 3, "total": 10})
    shown = flow("task", remote.pk, 2).out
    assert "Running" in shown
    assert "remote:printer-1" in shown
    assert "3 of 10" in flow("show", remote.pk).out
    assert json.loads(flow("task", remote.pk, 2, "--json").out)["worker"] == "remote:printer-1"
    assert flow("skip", remote.pk, 2).code == 2
    assert flow("end", remote.pk, 2, "--output", '{"pages": 2}').code == 0
    assert "remote:printer-1" in flow("show", remote.pk).out


def test_a_task_says_why_it_was_skipped(remote: Flow) -> None:
    assert flow("end", remote.pk, 2, "--output", '{"pages": 1}').code == 0
    assert "its condition input.pages > 1 is false" in flow("task", remote.pk, 3).out
    assert "its condition input.pages > 1 is false" in flow("show", remote.pk).out


def test_wrong_usage(remote: Flow) -> None:
    answer = flow("end", remote.pk, 2, "--output", "{")
    assert (answer.code, "--output is not JSON" in answer.err) == (2, True)
    assert flow("fail", remote.pk, 2, "--reason", "").code == 2
    assert flow("end", remote.pk, 1).code == 2
    assert "is no remote task" in flow("end", remote.pk, 1).err


def test_a_flow_of_a_text_is_drawn_and_listed(remote: Flow) -> None:
    assert "docs:print" in flow("graph", remote.pk).out
    assert remote.pk[:8] in flow("list").out
    assert flow("task", remote.pk, 1).code == 0


@pytest.fixture
def text(runner: InlineRunner) -> Flow:
    """Two steps of one name, and one of an alias."""
    source = "@task last = docs:print\nA → A → last"
    return engine.register_plan(arrow.plan_of_text(source), source=source)


def test_end_by_name_and_index(text: Flow) -> None:
    answer = flow("end", f"workflow:{text.pk}", "A", 1)
    assert answer.code == 0, answer.err
    answer = flow("end", text.pk, "A")
    assert (answer.code, "several steps 'A'; give the SEQ of one of them: 1, 2" in answer.err) == (2, True)
    assert flow("end", text.pk, 2).code == 0
    assert "no step 'B'" in flow("end", text.pk, "B").err
    assert "is not 'last'" in flow("end", text.pk, "last", 2).err
    assert "no step with the index 9" in flow("end", text.pk, "last", 9).err
    assert flow("end", text.pk).code == 2
    assert flow("end", text.pk, "last", "--output", "7").code == 0
    text.refresh_from_db()
    assert (text.status, text.output) == (Status.FINISH, 7)


def test_end_of_several_flows(runner: InlineRunner) -> None:
    flows = [engine.register_plan(arrow.plan_of_text("A"), source="A") for _ in range(4)]
    keys = [begun.pk for begun in flows]
    assert flow("end", *keys[:2], 1).code == 0
    answer = flow("end", *keys[2:], "A", "--failure", "no", "--json")
    assert [document["word"] for document in answer.json] == ["Failed", "Failed"]
    assert flow("end", *keys, 1).code == 1


def test_end_of_an_attempt(text: Flow) -> None:
    work = engine.take_remote(TaskRef(text.pk, 1), "printer")
    assert work is not None
    assert "no longer runs" in flow("end", text.pk, 1, "--attempt", 2).err
    both = flow("end", text.pk, 1, "--attempt", 1, "--failure", "no", "--output", "1")
    assert (both.code, "exclude each other" in both.err) == (2, True)
    assert flow("end", text.pk, 1, "--attempt", 1, "--failure", "no paper").code == 0
    assert engine.get_task(text.pk, 1).error == "no paper"


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remote tasks are simulated from the database."""
    monkeypatch.setattr("flowerapp.executors.streams.simulation.address", lambda: None)
    monkeypatch.setattr("flowerapp.management.cli.remote.address", lambda: None)


SEED = "A → { B → C  D } → E"


def simulated(runner: InlineRunner, *options: object) -> tuple[Flow, list[int]]:
    """A flow of ``SEED`` that is simulated, and rerun where tasks failed, until it has finished; the exit codes."""
    begun, codes = engine.register_plan(arrow.plan_of_text(SEED), source=SEED), list[int]()
    for _ in range(100):
        codes.append(flow("simulate", "--only", begun.pk, "--wait-period", "0.05", *options).code)
        begun.refresh_from_db()
        if begun.status is Status.FINISH:
            return begun, codes
        assert flow("rerun", begun.pk, "--failed").code == 0
    raise AssertionError(f"still {begun.status}")


def test_simulate_and_rerun_bring_a_flow_to_its_end(runner: InlineRunner, no_redis: None) -> None:
    begun, codes = simulated(runner, "--failures", 40)
    assert codes == [1] * (len(codes) - 1) + [0]
    check(begun)
    assert {task.worker for task in begun.tasks.exclude(remote="")} == {"remote:simulate"}


def test_simulate_of_all_flows(runner: InlineRunner, no_redis: None) -> None:
    flows = [engine.register_plan(arrow.plan_of_text("A | B"), source="A | B") for _ in range(3)]
    answer = flow("simulate", "--wait-period", 0, "--failures", 0, "--wait", 1, "--json")
    assert (answer.code, answer.json) == (0, {"tasks": 6, "failed": 0})
    assert {engine.get_flow(begun.pk).status for begun in flows} == {Status.FINISH}


def test_simulate_over_the_stream(runner: InlineRunner, redis_url: str, settings: Any) -> None:
    with fresh_redis(redis_url) as url, serving(url, settings):
        begun, codes = simulated(runner, "--failures", 20)
        assert codes[-1] == 0
        check(begun)
        receipts = flow("receipts", "--wait", "0.5", "--json")
        assert receipts.code == 0, receipts.err


@contextmanager
def serving(url: str, settings: Any) -> Iterator[None]:
    """Within the block a loop serves the stream in the thread that simulates, between two of its looks."""
    settings.FLOWER = {**settings.FLOWER, "STREAM_URL": url}
    where = address()
    assert where is not None
    stream = Stream(where, "w1")

    def rests(begun: Flow) -> bool:
        stream.join()
        stream.publisher.publish()
        stream.read_receipts()
        stream.read_answers()
        begun = engine.get_flow(begun.pk)
        return bool(begun.ended) or begun.status is Status.SUSPEND

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowerapp.management.cli.remote._rests", rests)
        yield


def test_receipts_needs_a_redis(runner: InlineRunner, no_redis: None) -> None:
    answer = flow("receipts")
    assert (answer.code, "set FLOWER['STREAM_URL'], or REDIS_HOST" in answer.err) == (2, True)


@pytest.mark.parametrize(
    "wrong", [["--failures", "101"], ["--failures", "nan"], ["--wait-period", "-1"], ["--wait", "x"], ["--only", "no"]]
)
def test_wrong_options_of_simulate(runner: InlineRunner, no_redis: None, wrong: list[str]) -> None:
    assert flow("simulate", *wrong).code in (1, 2)
