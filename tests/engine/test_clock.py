"""The clock can be moved on: waits, retries, leases and rescues come due, and no statement is added."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import HistoryEntry, Lease, Task, Worker
from flowerapp.querysets import clock
from flowerapp.querysets.db import connection
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.rescue import Rescue
from flowerapp.watcher.duties.send import send_unsent
from tests.engine.support import define, status, task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def unmoved() -> Iterator[None]:
    """The clock is as it was after each test."""
    yield
    clock.reset()


def test_retries_come_due_when_the_clock_is_moved(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}, "FailUntil", param1_key="start", param1_value="4", retry_delay=3600))
    for _ in range(3):
        runner.run()
        assert status(flow, 1) is Status.WAIT
        assert not send_unsent(), "it is not due"
        clock.advance(3601)
        assert send_unsent()
    runner.run()
    assert status(flow) is Status.FINISH
    took = task(flow, 1).finished_ts - flow.registered_ts  # type: ignore[operator]
    assert timedelta(hours=3) < took < timedelta(hours=4)


def test_a_retry_is_claimed_by_the_moved_clock_and_by_no_other(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    ref, process = TaskRef(flow.pk, 1), Process("w", 1)
    assert Task.objects.claim(ref, process)
    assert Task.objects.retry(ref, 1, 60, "error", "")
    assert not Task.objects.claim(ref, process)
    clock.advance(61)
    assert Task.objects.claim(ref, process)
    clock.reset()
    assert task(flow, 1).started_ts > clock.now() + timedelta(seconds=50)  # type: ignore[operator]


def test_leases_and_heartbeats_run_out_by_the_moved_clock(runner: InlineRunner) -> None:
    Worker.objects.create(pk="w", name="w", pid=1, pool="p", concurrency=1)
    flow = engine.register(define({1: [], 2: []}))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert Lease.objects.take("watcher", "w", 15)
    assert not Lease.objects.take("watcher", "other", 15)
    assert Rescue()() == 0
    clock.advance(60)
    assert Lease.objects.take("watcher", "other", 15)
    assert not Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1)), "its heartbeat is overdue"
    assert Rescue()() == 1
    assert status(flow, 1) is Status.WAIT


def test_defaults_of_columns_follow_the_moved_clock() -> None:
    clock.advance(7200)
    Worker.objects.create(pk="w", name="w", pid=1, pool="p", concurrency=1)
    HistoryEntry.objects.record("resume", "f")
    HistoryEntry.objects.record_all("resend", [TaskRef("f", 1)], "")
    seen = [Worker.objects.get().seen_ts, *HistoryEntry.objects.values_list("ts", flat=True)]
    assert all(abs(clock.now() - ts) < timedelta(seconds=60) for ts in seen), seen


def test_a_finish_stamps_all_its_times_by_the_moved_clock(runner: InlineRunner) -> None:
    clock.advance(3600.25)
    flow = engine.register(define({1: [], 2: [1], 3: [2]}))
    runner.run()
    assert status(flow) is Status.FINISH
    in_order = Task.objects.filter(finished_ts__gte=F("started_ts"), started_ts__gte=F("registered_ts"))
    assert in_order.count() == 3
    clock.reset()
    assert in_order.filter(registered_ts__gt=clock.now() + timedelta(seconds=3000)).count() == 3


def test_moving_the_clock_adds_no_statement(runner: InlineRunner) -> None:
    def statements() -> int:
        flow = engine.register(define({1: [], 2: [1]}))
        with CaptureQueriesContext(connection()) as queries:
            runner.run()
        assert status(flow) is Status.FINISH
        return len(queries)

    before = statements()
    clock.advance(100)
    assert statements() == before


def test_an_unmoved_clock_leaves_statements_as_they_are() -> None:
    statement = "SELECT STATEMENT_TIMESTAMP()"
    assert clock.moved(statement) is statement
    clock.advance(1.5)
    assert clock.moved(statement) == "SELECT (STATEMENT_TIMESTAMP() + INTERVAL '1.500000 seconds')"
