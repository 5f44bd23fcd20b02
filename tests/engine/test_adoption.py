"""Rows that others put straight into the table, and the watcher's other duties that need no broker."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import adoption
from flowerapp.models import Flow, Lease, Task, TaskDefinition, Worker
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.rescue import Rescue
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.watcher.duties.settle import Settle
from tests.engine.support import check, define, status, statuses, task, verbs
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)


def insert(name: str, *dependencies: int, flow: str = "outside", first: int = 1, parameters: str = "{}") -> None:
    """Rows as an outside batch writes them: the original's columns and no others."""
    with connection.cursor() as cursor:
        for seq, depends in enumerate(dependencies, start=first):
            cursor.execute(
                "INSERT INTO kr_task_stat (task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq,"
                " exec_status, task_priority, parameters) VALUES (%s, %s, %s, %s, %s, 0, 0, %s)",
                [flow, seq, depends, name, seq, parameters],
            )


def outside(flow: str = "outside") -> Flow:
    return engine.get_flow(flow)


@pytest.mark.parametrize("none", [-1, 0])
def test_inserted_rows_that_branch_are_run(runner: InlineRunner, none: int) -> None:
    insert(define({1: None, 2: None, 3: None}, "Record"), none, 1, 1)
    assert adoption.adopt() == 3
    assert adoption.adopt() == 0
    flow = outside()
    check(flow)
    assert [message.head.seq for message in runner.sent] == [1]
    runner.run()
    assert status(flow) is Status.FINISH
    assert sorted(Start.objects.values_list("seq", flat=True)) == [1, 2, 3]
    assert verbs(flow) == ["adopt"]
    assert task(flow, 1).registered_ts is not None


def test_a_missing_dependency_is_reported_until_it_is_inserted(runner: InlineRunner) -> None:
    name = define({1: None, 2: None, 3: None})
    insert(name, -1)
    insert(name, 2, first=3)
    assert adoption.adopt() == 1
    flow = outside()
    assert statuses(flow) == {1: Status.WAIT, 3: Status.SUSPEND}
    assert "depends_task_exec_seq is 2" in task(flow, 3).error
    check(flow)
    runner.run()
    assert status(flow) is Status.SUSPEND
    insert(name, 1, first=2)
    assert adoption.adopt() == 2
    runner.run()
    assert statuses(flow) == {1: Status.FINISH, 2: Status.FINISH, 3: Status.FINISH}
    check(flow)


def test_an_unknown_definition_is_reported_until_it_is_added(runner: InlineRunner) -> None:
    insert("later", -1, 1)
    assert adoption.adopt() == 0
    flow = outside()
    assert (status(flow), task(flow, 1).error) == (
        Status.SUSPEND,
        "ms_task_definition has no usable row 'later', 1; add or fix it",
    )
    assert adoption.adopt() == 0
    define({1: None, 2: None}, name="later")
    assert adoption.adopt() == 2
    check(flow)
    runner.run()
    assert status(flow) is Status.FINISH


@pytest.mark.parametrize("dependencies", [(1,), (2, 1), (2, 3, 1), (-1, 3, 2)])
def test_a_cycle_of_rows_is_reported_and_blocks_no_other_flow(
    runner: InlineRunner, dependencies: tuple[int, ...]
) -> None:
    name = define({1: None, 2: None, 3: None})
    insert(name, *dependencies)
    insert(name, -1, flow="sound")
    adoption.adopt()
    adoption.adopt()
    runner.run()
    assert status(outside("sound")) is Status.FINISH
    assert status(outside()) is Status.SUSPEND


@pytest.mark.parametrize(
    "columns", [{"depends_on": "x"}, {"parameters": [1]}, {"program": "Nop"}, {"depends_on": [1, 2]}]
)
def test_a_broken_definition_is_reported_and_blocks_no_flow(runner: InlineRunner, columns: dict[str, Any]) -> None:
    insert(define({1: None}), -1)
    TaskDefinition.objects.update(**columns)
    insert(define({1: None}), -1, flow="sound")
    adoption.adopt()
    runner.run()
    assert status(outside("sound")) is Status.FINISH


@pytest.mark.parametrize("parameters", ["[1]", "5", "null", '"x"', '{"size": 1}'])
def test_bad_parameters_are_reported_and_block_no_other_flow(runner: InlineRunner, parameters: str) -> None:
    insert(define({1: None}), -1, parameters=parameters)
    insert(define({1: None}), -1, flow="sound")
    adoption.adopt()
    runner.run()
    assert status(outside("sound")) is Status.FINISH
    assert status(outside()) is (Status.FINISH if parameters == "null" else Status.SUSPEND)


def test_many_flows_that_cannot_be_adopted_hold_nothing_up(runner: InlineRunner) -> None:
    for number in range(120):
        insert("unknown", -1, flow=f"a{number}")
    insert(define({1: None}), -1, flow="sound")
    for _ in range(2):
        adoption.adopt()
    runner.run()
    assert status(outside("sound")) is Status.FINISH


def test_unsent_tasks_are_sent_once(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: []}))
    Task.objects.at(TaskRef(flow.pk, 1)).update(sent_ts=None)
    runner.waiting.clear()
    assert [send_unsent(), send_unsent()] == [1, 0]
    assert [message.head.seq for message in runner.waiting] == [1]


def test_two_last_events_at_once_are_settled(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [1]}))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    Task.objects.fail(TaskRef(flow.pk, 1), claim.attempt, "no", "")
    assert status(flow) is Status.RUNNING
    assert Settle()() == 1
    assert status(flow) is Status.SUSPEND
    assert Settle()() == 0


def test_the_lead_is_taken_by_one_and_given_up(runner: InlineRunner) -> None:
    assert Lease.objects.take("duty", "a", 60)
    assert Lease.objects.take("duty", "a", 60)
    assert not Lease.objects.take("duty", "b", 60)
    Lease.objects.give_up("duty", "a")
    assert Lease.objects.take("duty", "b", 60)
    Lease.objects.update(expires_ts="2000-01-01T00:00:00Z")
    assert Lease.objects.take("duty", "c", 60)


def test_tasks_of_dead_workers_are_rescued_and_those_of_the_living_are_not(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: []}))
    Worker.objects.create(pk="alive", name="alive@here", pid=1, pool="prefork", concurrency=1)
    for seq, worker in ((1, "alive"), (2, "dead")):
        assert Task.objects.claim(TaskRef(flow.pk, seq), Process(worker, 1))
    Task.objects.update(started_ts="2000-01-01T00:00:00Z")
    runner.waiting.clear()
    assert Rescue()() == 1
    assert statuses(flow) == {1: Status.RUNNING, 2: Status.WAIT}
    assert [message.head.seq for message in runner.waiting] == [2]


def test_only_ended_flows_are_deleted(runner: InlineRunner) -> None:
    ended, going = engine.register(define({1: []})), engine.register(define({1: []}))
    runner.step()
    assert engine.delete([ended.pk, going.pk]) == 1
    assert list(Flow.objects.all()) == [going]
    assert Task.objects.count() == 1
