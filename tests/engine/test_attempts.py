"""Outcomes of attempts: retries, failures, bad output, lost workers, time limits."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

import pytest
from django.db.models.functions import Now

from flowerapp import engine, registry
from flowerapp.core import identity, programs
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts, propagation, recovery
from flowerapp.exceptions import RetryTask
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.querysets import Claim
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.send import send_unsent
from tests.attempts import fail, succeed
from tests.engine.support import check, define, status, task, verbs
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)


def single(program: str, **columns: Any) -> Flow:
    """A flow of a single task."""
    return engine.register(define({1: []}, program, **columns))


def claimed(flow: Flow, worker: str = "w", pid: int = 1) -> Claim:
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process(worker, pid))
    assert claim
    return claim


def run_to_the_end(runner: InlineRunner) -> None:
    """Run, letting every retry be due at once."""
    runner.run()
    while Task.objects.filter(exec_status=Status.WAIT, due_ts__isnull=False).update(due_ts=Now()):
        assert send_unsent()
        runner.run()


def delays() -> list[float]:
    return [event.details["delay"] for event in HistoryEntry.objects.filter(verb="retry")]


@pytest.mark.parametrize(
    ("program", "parameters", "options", "starts", "waits", "end"),
    [
        ("FailUntil", {"start": 4}, {}, 4, [1, 2, 4], Status.FINISH),
        ("FailUntil", {"start": 9}, {}, 4, [1, 2, 4], Status.SUSPEND),
        ("FailUntil", {"start": 9}, {"max_retries": 0}, 1, [], Status.SUSPEND),
        ("FailUntil", {"start": 9}, {"max_retries": 1, "retry_delay": 7}, 2, [7], Status.SUSPEND),
        ("FailUnlisted", {}, {}, 1, [], Status.SUSPEND),
        ("FailUnlisted", {}, {"max_retries": 2}, 1, [], Status.SUSPEND),
        ("FailWhile", {"path": "/"}, {"max_retries": 2, "retry_delay": 0}, 3, [0, 0], Status.SUSPEND),
        ("FailWhile", {"path": "/"}, {}, 1, [], Status.SUSPEND),
    ],
)
def test_retry_policy(
    runner: InlineRunner, program: str, parameters: Any, options: Any, starts: int, waits: list[int], end: Status
) -> None:
    flow = single(program, parameters=parameters, **options)
    run_to_the_end(runner)
    assert (Start.objects.count(), delays(), status(flow)) == (starts, waits, end)
    assert (task(flow, 1).attempt, task(flow, 1).retries) == (starts, len(waits))
    check(flow)


def test_a_retry_waits_until_it_is_due(runner: InlineRunner) -> None:
    flow = single("FailUntil", parameters={"start": 2})
    runner.run()
    assert (status(flow, 1), status(flow)) == (Status.WAIT, Status.RUNNING)
    assert task(flow, 1).error.startswith("ListedError")
    assert attempts.run(TaskRef(flow.pk, 1), "w").released == ()
    assert send_unsent() == 0
    assert Start.objects.count() == 1
    check(flow)


def test_a_rerun_starts_counting_retries_anew(runner: InlineRunner) -> None:
    flow = single("FailUntil", parameters={"start": 9})
    run_to_the_end(runner)
    engine.rerun(flow.pk)
    run_to_the_end(runner)
    assert (Start.objects.count(), task(flow, 1).retries, task(flow, 1).attempt) == (8, 3, 8)


@pytest.mark.parametrize("delay", [0, 1.5, -3, float("inf"), float("nan"), 1e300])
def test_a_program_may_ask_for_any_delay(runner: InlineRunner, delay: float) -> None:
    flow = single("Noop")
    fail(claimed(flow), RetryTask("again", delay=delay))
    assert status(flow, 1) is Status.WAIT
    assert verbs(flow) == ["retry"]


class Mapping(dict):  # type: ignore[type-arg]
    """Not plain, but JSON."""


@pytest.mark.parametrize(
    "output",
    [
        float("nan"),
        float("inf"),
        "\0",
        {"a": ["\0"]},
        {"\0": 1},
        "x" * 2_000_000,
        {1},
        object(),
        b"x",
        "\ud800",
        pytest.param(10**5000, id="huge"),
    ],
)
def test_a_bad_output_is_the_programs_failure(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, output: Any
) -> None:
    flow = one_bad(monkeypatch, output)
    runner.run()
    assert status(flow, 1) is Status.SUSPEND
    assert "output of program Bad" in task(flow, 1).error
    assert task(flow, 1).output is None
    check(flow)


def one_bad(monkeypatch: pytest.MonkeyPatch, output: Any) -> Flow:
    """A flow whose program returns ``output``."""
    entry = registry.Program(name="Bad", function=lambda: output)
    monkeypatch.setitem(programs._programs, "Bad", entry)
    return single("Bad")


@pytest.mark.parametrize("output", [Mapping(a=1), (1, 2), 1, True, "", [], None])
def test_a_good_output_is_stored_as_json(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, output: Any) -> None:
    flow = one_bad(monkeypatch, output)
    runner.run()
    expected = {} if output is None else list(output) if isinstance(output, tuple) else output
    assert task(flow, 1).output == expected
    assert status(flow) is Status.FINISH


def test_a_lost_worker_is_made_up_for_until_the_cap(runner: InlineRunner) -> None:
    flow = single("Noop")
    for number in range(4):
        claimed(flow, f"w{number}")
        assert recovery.record_lost(TaskRef(flow.pk, 1), "gone", Process("another", None)) == propagation.REFUSED
        assert recovery.record_lost(TaskRef(flow.pk, 1), "gone", Process(f"w{number}", 2)) == propagation.REFUSED
        released = recovery.record_lost(TaskRef(flow.pk, 1), "gone", Process(f"w{number}", 1)).released
        assert [message.head.seq for message in released] == ([1] if number < 3 else [])
        check(flow)
    assert status(flow) is Status.SUSPEND
    assert "gone; its worker was lost 4 times" in task(flow, 1).error
    assert verbs(flow) == ["rescue", "rescue", "rescue", "fail"]
    engine.rerun(flow.pk)
    assert task(flow, 1).rescues == 0


def test_attempts_that_are_handed_back_are_no_rescues(runner: InlineRunner) -> None:
    flow = single("Noop")
    for number in range(5):
        claimed(flow, f"w{number}")
        assert recovery.hand_back(TaskRef(flow.pk, 1), "stops", Process("another", None)) == propagation.REFUSED
        assert recovery.hand_back(TaskRef(flow.pk, 1), "stops", Process(f"w{number}", 2)) == propagation.REFUSED
        outcome = recovery.hand_back(TaskRef(flow.pk, 1), "stops", Process(f"w{number}", 1))
        assert [message.head.seq for message in outcome.released] == [1]
        assert outcome.ending is None
        check(flow)
    assert (status(flow, 1), task(flow, 1).rescues) == (Status.WAIT, 0)
    assert verbs(flow) == ["hand_back"] * 5
    runner.run()
    assert status(flow) is Status.FINISH


@pytest.mark.parametrize(("worker_stops", "verb"), [(True, "hand_back"), (False, "rescue")])
def test_an_interruption_is_a_rescue_unless_the_worker_was_asked_to_stop(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, worker_stops: bool, verb: str
) -> None:
    """A process may get the signal to end from elsewhere."""
    runner.worker = identity.worker()
    monkeypatch.setattr(runner, "is_stopping", lambda: True)
    monkeypatch.setattr(runner, "hands_back", lambda: worker_stops)
    flow = single("Exits")
    runner.step()
    assert (status(flow, 1), task(flow, 1).rescues) == (Status.WAIT, int(not worker_stops))
    assert verbs(flow) == [verb]
    assert [message.head.seq for message in runner.waiting] == [1]


def test_a_worker_lost_after_it_finished_sends_what_it_released(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [1]}))
    succeed(claimed(flow), "{}")
    assert [
        message.head.seq for message in recovery.record_lost(TaskRef(flow.pk, 1), "gone", Process("w", 1)).released
    ] == [2]


def test_a_lost_worker_of_a_held_flow_sends_nothing(runner: InlineRunner) -> None:
    flow = single("Noop")
    claimed(flow)
    engine.suspend(flow.pk)
    assert recovery.record_lost(TaskRef(flow.pk, 1), "gone", Process("w", None)).released == ()
    assert status(flow, 1) is Status.WAIT
    runner.waiting.clear()
    engine.resume(flow.pk)
    assert len(runner.waiting) == 1


@pytest.mark.parametrize(("options", "end"), [({}, Status.SUSPEND), ({"max_retries": 1}, Status.WAIT)])
def test_a_time_limit_suspends_or_retries(runner: InlineRunner, options: Any, end: Status) -> None:
    flow = single("Noop", **options)
    claimed(flow)
    assert recovery.record_timeout(TaskRef(flow.pk, 1), 5, Process("another", None)) == propagation.REFUSED
    recovery.record_timeout(TaskRef(flow.pk, 1), 5, Process("w", 1))
    assert status(flow, 1) is end
    assert task(flow, 1).error == "timed out after 5 s"


def test_a_redelivered_message_of_a_finished_task_sends_what_went_silent(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [1]}))
    runner.step()
    assert attempts.run(TaskRef(flow.pk, 1), "w").released == ()
    Task.objects.at(TaskRef(flow.pk, 2)).update(sent_ts="2000-01-01T00:00:00Z")
    assert [message.head.seq for message in attempts.run(TaskRef(flow.pk, 1), "w").released] == [2]
    assert attempts.run(TaskRef(flow.pk, 1), "w").released == ()


def test_the_context_describes_the_attempt(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def look(ctx: registry.Context) -> str:
        seen.update(flow=ctx.flow_id, workflow=ctx.task_id, seq=ctx.seq, task_seq=ctx.task_seq, attempt=ctx.attempt)
        seen.update(input=ctx.input, key=ctx.idempotency_key, before=ctx.output_of(10), cancelled=ctx.cancelled)
        with pytest.raises(KeyError):
            ctx.output_of(20)
        ctx.log("a\0b\udcff")
        ctx.progress(1, 2)
        engine.cancel(ctx.flow_id)
        seen["cancelled after"] = ctx.cancelled
        return "late"

    monkeypatch.setitem(programs._programs, "Look", registry.Program(name="Look", function=look))
    name = define({10: []}, "Return", param1_key="value", param1_value="ten")
    define({20: [10]}, "Look", name=name)
    flow = engine.register(name)
    runner.run()
    assert seen == {
        "flow": flow.pk,
        "workflow": name,
        "seq": 2,
        "task_seq": 20,
        "attempt": 1,
        "input": "ten",
        "before": "ten",
        "key": f"{flow.pk}:2:1",
        "cancelled": False,
        "cancelled after": True,
    }
    assert task(flow, 2).progress == {"done": 1, "total": 2}
    assert flow.logs.count() == 1
    assert status(flow, 2) is Status.IGNORE


class UnspeakableError(Exception):
    """Its message cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "message"),
    [(UnspeakableError(), "UnspeakableError: its message cannot be shown"), (CancelledError(), "CancelledError")],
)
def test_no_error_of_a_program_gets_past_the_engine(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setitem(programs._programs, "Odd", registry.Program(name="Odd", function=fail))
    flow = single("Odd")
    runner.run()
    assert (status(flow), task(flow, 1).error) == (Status.SUSPEND, message)
    check(flow)
