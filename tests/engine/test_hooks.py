"""The events that listeners receive: once they are committed, in order, and again if the delivering process died."""

from __future__ import annotations

import subprocess
from asyncio import CancelledError
from collections.abc import Iterator
from typing import Any

import pytest

from flowerapp import engine, signals
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import HookEvent, attempts, dispatching, hooks, propagation, recovery
from flowerapp.exceptions import TimeLimitError
from flowerapp.models import Flow, HistoryEntry, Hook, Task, TaskDefinition, Worker
from flowerapp.signals import HOOKS
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.attempts import fail, succeed
from tests.engine.support import check, define, status, verbs
from tests.engine.test_children import splitting

pytestmark = pytest.mark.django_db(transaction=True)

Events = list[tuple[str, int | None]]


class Listener:
    """Remembers what it receives."""

    def __init__(self) -> None:
        self.events: list[HookEvent] = []

    def __call__(self, event: HookEvent, **_: Any) -> None:
        self.events.append(event)

    @property
    def received(self) -> Events:
        """Names and seqs, in order."""
        return [(event.name, event.seq) for event in self.events]


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Listens to everything."""
    listener = Listener()
    for signal in HOOKS.values():
        signal.connect(listener, weak=False)
    yield listener
    for signal in HOOKS.values():
        signal.disconnect(listener)


def test_a_flow_of_two_tasks(runner: InlineRunner, listener: Listener) -> None:
    flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    runner.run()
    assert listener.received == [
        ("start_flow", None),
        ("task_start", 1),
        ("task_over", 1),
        ("task_all_over", 1),
        ("task_start", 2),
        ("task_over", 2),
        ("task_all_over", 2),
        ("all_over", None),
    ]
    assert not Hook.objects.exists()
    ids = [event.id for event in listener.events]
    assert ids == sorted(set(ids))
    first = listener.events[1]
    assert (first.flow_id, first.task_id, first.attempt, first.error) == (flow.pk, flow.task_id, 1, "")
    assert first.task == Task.objects.get(task_flow=flow, task_exec_seq=1)


def test_a_task_with_children(runner: InlineRunner, listener: Listener) -> None:
    engine.register(splitting([[1], [2], [3]], max_concurrency=1))
    runner.run()
    assert listener.received[1:9] == [
        ("task_start", 1),
        ("task_over", 1),
        ("task_start", 3),
        ("task_over", 3),
        ("task_start", 4),
        ("task_over", 4),
        ("task_start", 5),
        ("task_over", 5),
    ]
    assert listener.received[9:11] == [("task_all_over", 1), ("task_start", 2)]
    assert listener.received[-1] == ("all_over", None)


def test_errors_retries_and_a_failure(runner: InlineRunner, listener: Listener) -> None:
    flow = engine.register(define({1: []}, "FailUnlisted", max_retries=1, retry_delay=0))
    Task.objects.update(program="FailWhile", parameters={"path": __file__})
    runner.run()
    dispatching.send_unsent()
    runner.run()
    attempt = [("task_start", 1), ("task_exit", 1)]
    assert listener.received == [("start_flow", None), *attempt, *attempt, ("task_failed", 1)]
    assert [event.attempt for event in listener.events[1:]] == [1, 1, 2, 2, 2]
    assert "is in the way" in listener.events[-1].error
    assert status(flow) is Status.SUSPEND


def test_a_lost_worker_and_a_time_out(runner: InlineRunner, listener: Listener) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("gone", 7))
    recovery.record_lost(TaskRef(flow.pk, 1), "its worker is dead", Process("gone", None))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("gone", 7))
    recovery.record_timeout(TaskRef(flow.pk, 1), 5, Process("gone", 7))
    assert listener.received == [("task_exit", 1), ("task_timeout", 1), ("task_failed", 1)]
    assert [event.error for event in listener.events] == ["its worker is dead", *["timed out after 5 s"] * 2]


def test_a_tolerated_child_has_failed(runner: InlineRunner, listener: Listener) -> None:
    engine.register(splitting([["bad"], [2]], exit_on_failed=False))
    runner.run()
    assert ("task_failed", 3) in listener.received
    assert listener.received[-1] == ("all_over", None)


def test_all_over_is_delivered_whatever_ends_the_flow(runner: InlineRunner, listener: Listener) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    engine.skip(flow.pk, 1)
    assert listener.received == [("all_over", None)]


def test_listeners_may_change_the_state(runner: InlineRunner, listener: Listener) -> None:
    def count(event: HookEvent, **_: Any) -> None:
        def change(state: dict[str, Any]) -> None:
            state["starts"] = state.get("starts", 0) + 1

        event.change_state(change)
        assert event.state["starts"]

    signals.task_start.connect(count, weak=False)
    try:
        flow = engine.register(define({1: [], 2: []}, "Noop"))
        runner.run()
    finally:
        signals.task_start.disconnect(count)
    assert engine.get_state(flow.pk) == {"starts": 2}


def test_an_error_of_a_listener_is_recorded_and_breaks_nothing(runner: InlineRunner, listener: Listener) -> None:
    def break_down(event: HookEvent, **_: Any) -> None:
        raise RuntimeError(f"cannot stand {event.name} \0 \ud800")

    signals.task_over.connect(break_down, weak=False)
    try:
        flow = engine.register(define({1: [], 2: [1]}, "Noop"))
        runner.run()
    finally:
        signals.task_over.disconnect(break_down)
    check(flow)
    assert status(flow) is Status.FINISH
    assert verbs(flow) == ["hook", "hook"]
    event = HistoryEntry.objects.filter(verb="hook").first()
    assert event is not None
    assert event.reason.startswith("task_over: RuntimeError: cannot stand task_over")
    assert (event.task_exec_seq, event.details["event"]) == (1, listener.events[2].id)
    assert listener.received[-1] == ("all_over", None)


@pytest.mark.parametrize("error", [SystemExit(1), CancelledError()])
def test_a_listener_that_wants_to_end_the_process(
    runner: InlineRunner, listener: Listener, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(event: HookEvent, **_: Any) -> None:
        raise error

    monkeypatch.setattr(signals, "_methods", {})
    name = define({1: []}, "Noop")
    signals.listen("task_start", name, leave)
    signals.task_over.connect(leave, weak=False)
    try:
        flow = engine.register(name)
        runner.run()
    finally:
        signals.task_over.disconnect(leave)
    assert status(flow) is Status.FINISH
    assert verbs(flow) == ["hook", "hook"]


def test_nothing_is_written_without_listeners(runner: InlineRunner) -> None:
    engine.register(define({1: []}, "Noop"))
    runner.run()
    assert not Hook.objects.exists()


def test_methods_receive_events_of_their_workflow_only(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_methods", {})
    heard = Listener()
    mine, other = define({1: []}, "Noop"), define({1: []}, "Noop")
    signals.listen("task_over", mine, heard)
    assert signals.has_listeners(mine, "task_over")
    assert not signals.has_listeners(other, "task_over")
    assert not signals.has_listeners(None, "task_start")
    engine.register(other)
    engine.register(mine)
    runner.run()
    assert [(event.name, event.task_id) for event in heard.events] == [("task_over", mine)]


def died_before_delivering(flow: Flow, worker: str) -> None:
    """A worker that recorded and took everything, and died."""
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process(worker, 1))
    assert claim
    from flowerapp.engine import hooks

    hooks.record(flow.task_id, TaskRef(flow.pk, 1), ["task_start"], attempt=1)
    assert len(Hook.objects.take(flow.pk, Process(worker, 1))) == 1


def test_events_of_a_dead_worker_are_delivered_by_another(runner: InlineRunner, listener: Listener) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    died_before_delivering(flow, "dead")
    hooks.deliver(flow.pk)
    assert not listener.received, "another process has taken it"
    assert hooks.redeliver() == 1
    assert listener.received == [("task_start", 1)]
    assert hooks.redeliver() == 0


def test_events_that_a_living_worker_took_are_left_to_it(runner: InlineRunner, listener: Listener) -> None:
    Worker.objects.create(id="alive", name="w@h", pid=1, pool="prefork", concurrency=1)
    flow = engine.register(define({1: []}, "Noop"))
    died_before_delivering(flow, "alive")
    assert hooks.redeliver() == 0
    assert not listener.received


def test_events_that_a_killed_process_took_are_delivered(runner: InlineRunner, listener: Listener) -> None:
    Worker.objects.create(id="alive", name="w@h", pid=1, pool="prefork", concurrency=1)
    flow = engine.register(define({1: []}, "Noop"))
    died_before_delivering(flow, "alive")
    recovery.record_lost(TaskRef(flow.pk, 1), "its process was killed", Process("alive", 1))
    assert listener.received == [("task_start", 1), ("task_exit", 1)]


def test_events_that_a_dead_process_of_this_worker_took_are_delivered(runner: InlineRunner, listener: Listener) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    Worker.objects.create(id="alive", name="w@h", pid=1, pool="prefork", concurrency=1)
    flow = engine.register(define({1: []}, "Noop"))
    died_before_delivering(flow, "alive")
    assert hooks.release_of_dead_processes("alive") == 0
    Hook.objects.update(pid=dead.pid)
    assert hooks.release_of_dead_processes("alive") == 1
    assert hooks.redeliver() == 1
    assert listener.received == [("task_start", 1)]


def test_hooks_go_with_their_flow(runner: InlineRunner, listener: Listener) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    died_before_delivering(flow, "dead")
    engine.cancel(flow.pk)
    assert engine.delete([flow.pk]) == 1
    assert not Hook.objects.exists()


def test_a_transition_that_is_refused_is_not_told(runner: InlineRunner, listener: Listener) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    Task.objects.rescue(TaskRef(flow.pk, 1), 1)
    assert succeed(claim, "{}") == propagation.REFUSED
    assert fail(claim, TimeLimitError()) == propagation.REFUSED
    assert attempts.run(TaskRef(flow.pk, 2), "w") == propagation.REFUSED
    assert not listener.received
    TaskDefinition.objects.all().delete()
