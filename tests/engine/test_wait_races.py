"""Waits, events and latches, while two processes look at them at once, on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, COUNTDOWN, DELAY, RELEASE
from flowerapp.core.messages import TaskRef
from flowerapp.engine import due_waits, events, propagation, readiness
from flowerapp.models import Event, Flow, Latch, LatchHold, Wait
from flowerapp.querysets import Completion, clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import check, planned, status, statuses
from tests.engine.test_races import together
from tests.engine.test_waits import awaits, echo, step, waiting

ROUNDS = 8
WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status.WAIT, Status.RUNNING, Status.SUSPEND, Status.FINISH, Status.IGNORE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _postgresql(transactional_db: None) -> Iterator[None]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    yield
    clock.reset()


@contextmanager
def locked(flow: Flow) -> Iterator[threading.Event]:
    """Within the block, another process has locked all rows of a flow, as a verb does; it commits when it is let."""
    has_locked, may_commit = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                readiness.lock(flow.pk)
                has_locked.set()
                may_commit.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert has_locked.wait(10)
    try:
        yield may_commit
    finally:
        may_commit.set()
        thread.join(20)


def ended(runner: InlineRunner, *flows: Flow) -> list[Status]:
    """States of flows after all that can continue."""
    runner.run()
    for flow in flows:
        check(flow)
    return [status(flow) for flow in flows]


def test_an_event_that_comes_while_a_wait_begins_ends_it(runner: InlineRunner) -> None:
    for number in range(ROUNDS):
        flow = planned(echo(1), awaits(2, 1, match="input"), echo(3, 2), input={"n": number})
        together(runner.run, partial(engine.emit, "paid", {"n": number}))
        assert ended(runner, flow) == [FINISH]
    assert not Wait.objects.exists()


def test_of_two_events_at_once_a_receipt_consumes_the_one_that_ended_the_wait(runner: InlineRunner) -> None:
    for number in range(ROUNDS):
        Event.objects.all().delete()
        flow = waiting(runner, awaits(1, match="input"), input={"n": number})
        together(*(partial(engine.emit, "paid", {"n": number}) for _ in range(2)))
        assert status(flow) is FINISH
        assert Event.objects.filter(consumed_ts=None).count() == 1, "the other is still there"
        later = waiting(runner, awaits(1, match="input", since="any"), input={"n": number})
        assert status(later) is FINISH


def test_an_event_with_a_receipt_ends_one_of_two_waits_that_look_back_at_once(runner: InlineRunner) -> None:
    for _ in range(ROUNDS):
        flows = [waiting(runner, awaits(1), echo(2, 1)) for _ in range(2)]
        event = Event.objects.create(kind="paid", offered=True)
        numbers = together(*(partial(propagation.look_back, wait.pk) for wait in Wait.objects.all()))
        assert sorted(numbers) == [0, 1]
        assert sorted(ended(runner, *flows)) == [RUNNING, FINISH]
        event.refresh_from_db()
        assert event.consumed_ts is not None
        engine.emit("paid")
        assert ended(runner, *flows) == [FINISH, FINISH]


def test_an_event_ends_a_wait_whose_rows_a_verb_has_locked(runner: InlineRunner) -> None:
    flow, other = waiting(runner, awaits(1), echo(2, 1)), waiting(runner, awaits(1), echo(2, 1))
    with locked(flow) as may_commit:
        emitting = threading.Thread(target=_emit)
        emitting.start()
        threading.Timer(0.2, may_commit.set).start()
        emitting.join(20)
    assert ended(runner, flow, other) == [FINISH, FINISH]
    event = Event.objects.get()
    assert (event.offered, event.consumed_ts is not None) == (True, True)


def _emit() -> None:
    try:
        engine.emit("paid")
    finally:
        connection.close()


def test_a_countdown_whose_rows_a_verb_has_locked_ends_too(runner: InlineRunner) -> None:
    waiting(runner, step(1, ACQUIRE, name="port"))
    flow, other = (waiting(runner, step(1, COUNTDOWN, name="port"), echo(2, 1)) for _ in range(2))
    with locked(flow) as may_commit:
        thread = threading.Thread(target=_release)
        thread.start()
        threading.Timer(0.2, may_commit.set).start()
        thread.join(20)
    assert ended(runner, flow, other) == [FINISH, FINISH]


def _release() -> None:
    try:
        engine.release_latch("port")
    finally:
        connection.close()


def test_a_release_and_a_countdown_at_once_leave_no_flow_waiting(runner: InlineRunner) -> None:
    for _ in range(ROUNDS):
        waiting(runner, step(1, ACQUIRE, name="port"))
        flows = [planned(echo(1), step(2, program, 1, name="port"), echo(3, 2)) for program in (RELEASE, COUNTDOWN)]
        together(*(partial(engine.skip, flow.pk, 1) for flow in flows))
        assert ended(runner, *flows) == [FINISH, FINISH]
        assert not Latch.objects.exists()


def test_many_flows_acquire_and_release_one_latch_at_once(runner: InlineRunner) -> None:
    nodes = (step(1, ACQUIRE, name="port"), step(2, RELEASE, 1, name="port"), step(3, COUNTDOWN, 2, name="port"))
    for _ in range(3):
        flows = together(*(partial(planned, *nodes) for _ in range(4)))
        assert ended(runner, *flows) == [FINISH] * 4
        assert not LatchHold.objects.exists()
        assert not Wait.objects.exists()


def test_a_cancel_and_a_release_at_once_free_the_latch(runner: InlineRunner) -> None:
    for _ in range(ROUNDS):
        holder = waiting(runner, step(1, ACQUIRE, name="port"), step(2, DELAY, 1, duration=60))
        waiter = waiting(runner, step(1, COUNTDOWN, name="port"), echo(2, 1))
        together(partial(engine.cancel, holder.pk), partial(engine.release_latch, "port"))
        assert ended(runner, waiter) == [FINISH]
        assert not Latch.objects.exists()


def test_a_rerun_and_an_event_at_once_leave_one_wait_or_none(runner: InlineRunner) -> None:
    for number in range(ROUNDS):
        flow = waiting(runner, echo(1), awaits(2, 1, match="input"), echo(3, 2), input={"n": number})
        together(partial(engine.rerun, flow.pk, from_seq=2), partial(engine.emit, "paid", {"n": number}))
        runner.run()
        check(flow)
        rows = Wait.objects.filter(task_flow=flow).count()
        assert rows == (1 if statuses(flow)[2] is WAIT else 0)
        if status(flow) is not FINISH:  # the event ended the wait, and then it was started again
            engine.emit("paid", {"n": number})
        assert ended(runner, flow) == [FINISH]


@pytest.mark.parametrize("verb", ["cancel", "skip", "suspend"])
def test_a_verb_and_an_event_at_once(runner: InlineRunner, verb: str) -> None:
    for number in range(ROUNDS):
        flow = waiting(runner, awaits(1, match="input"), echo(2, 1), input={"n": number})
        call: Any = getattr(engine, verb)
        arguments = (flow.pk, 1) if verb == "skip" else (flow.pk,)
        together(partial(call, *arguments), partial(engine.emit, "paid", {"n": number}))
        runner.run()
        check(flow)
        if verb == "suspend" and status(flow) is SUSPEND:
            engine.resume(flow.pk)
        expected = {"cancel": {IGNORE, FINISH}, "skip": {FINISH}, "suspend": {FINISH}}[verb]
        assert ended(runner, flow)[0] in expected
        assert not Wait.objects.exists()


def test_two_leaders_end_each_due_wait_once(runner: InlineRunner) -> None:
    flow = waiting(runner, *(step(seq, DELAY, duration=5) for seq in range(1, 41)), echo(100, *range(1, 41)))
    clock.advance(6)
    counts = together(due_waits.end_due, due_waits.end_due)
    assert sum(counts) == 40
    assert ended(runner, flow) == [FINISH]


def test_a_time_out_and_an_event_at_once_end_it_once(runner: InlineRunner) -> None:
    for number in range(ROUNDS):
        flow = waiting(runner, awaits(1, timeout=5, match="input"), echo(2, 1), input={"n": number})
        clock.advance(6)
        together(due_waits.end_due, partial(engine.emit, "paid", {"n": number}))
        runner.run()
        check(flow)
        event = Event.objects.order_by("-id")[0]
        assert (status(flow), event.consumed_ts is not None) in {(FINISH, True), (SUSPEND, False)}
        clock.reset()


def test_an_event_is_offered_by_two_processes_at_once(runner: InlineRunner) -> None:
    for number in range(ROUNDS):
        flow = waiting(runner, awaits(1, match="input"), echo(2, 1), input={"n": number})
        event = Event.objects.create(kind="paid", data={"n": number})
        outcomes = together(*(partial(events.offer, event.pk) for _ in range(2)))
        assert sum(outcome.ended for outcome in outcomes) == 1
        assert ended(runner, flow) == [FINISH]


def test_waits_of_one_join_end_at_once(runner: InlineRunner) -> None:
    for number in range(ROUNDS):
        nodes = (awaits(1, match="input"), step(2, DELAY, duration=5), awaits(3), echo(4, 1, 2, 3))
        flow = waiting(runner, *nodes, input={"n": number})
        clock.advance(6)
        together(due_waits.end_due, partial(engine.emit, "paid", {"n": number}), partial(engine.wake, flow.pk, 3))
        clock.reset()
        assert ended(runner, flow) == [FINISH]


def test_begun_completions_follow_one_task_only_once(runner: InlineRunner) -> None:
    flow = planned(step(1, ACQUIRE, name="port"), step(2, RELEASE, 1, name="port"), echo(3, 2))
    ref = TaskRef(flow.pk, 1)
    together(*(partial(propagation.propagate, ref.flow_id, flow.task_id, Completion(parked=(1,))) for _ in range(3)))
    assert ended(runner, flow) == [FINISH]
    assert not Latch.objects.exists()
