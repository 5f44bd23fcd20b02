"""Rows of another system that has begun, ended or suspended some of them: what is adopted, and what is left."""

from __future__ import annotations

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import adoption
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets.adopt import SUSPENDED_ELSEWHERE
from flowerapp.selectors import tasks
from flowerapp.standalone.worker import recover_tasks
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties import rota
from tests.engine.support import CHAIN, check, define, status, statuses, task, verbs
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status
Row = tuple[int, int, Status]
"""Seq, the seq that it depends on, status."""


def execute(statement: str, *values: int | str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(values))


def insert(name: str, *rows: Row, flow: str = "outside") -> None:
    """Rows with the original's columns alone, without any times."""
    for seq, depends, exec_status in rows:
        execute(
            "INSERT INTO kr_task_stat(task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq,"
            " exec_status, task_priority, parameters) VALUES (%s, %s, %s, %s, %s, %s, 0, '{}')",
            *(flow, seq, depends, name, seq, int(exec_status)),
        )


def update(seq: int, exec_status: Status, flow: str = "outside") -> None:
    """What the other system does when its task moves: one column, as the original's statement has it."""
    execute(
        "UPDATE kr_task_stat SET exec_status = %s WHERE task_flow_id = %s AND task_exec_seq = %s",
        *(int(exec_status), flow, seq),
    )


def outside(flow: str = "outside") -> Flow:
    return engine.get_flow(flow)


def look(runner: InlineRunner) -> None:
    """All that the watcher does, twice, and all that it leads to."""
    for _ in range(2):
        for _, _, duty in rota():
            duty()
        runner.run()


def starts() -> list[int]:
    return sorted(Start.objects.values_list("seq", flat=True))


@pytest.mark.parametrize("ended", [FINISH, IGNORE])
def test_row_that_ended_elsewhere_without_a_time_releases_its_follower(runner: InlineRunner, ended: Status) -> None:
    insert(define({1: None, 2: None}, "Record"), (1, -1, ended), (2, 1, WAIT))
    assert adoption.adopt() == 2
    flow = outside()
    check(flow)
    assert task(flow, 1).finished_ts is not None
    assert task(flow, 1).program == "Record"
    runner.run()
    assert statuses(flow) == {1: ended, 2: FINISH}
    assert status(flow) is FINISH
    assert starts() == [2]


def test_time_that_the_other_system_gave_is_kept(runner: InlineRunner) -> None:
    insert(define({1: None}), (1, -1, FINISH))
    Task.objects.update(finished_ts="2020-01-05T14:59:32Z")
    adoption.adopt()
    assert str(task(outside(), 1).finished_ts) == "2020-01-05 14:59:32+00:00"
    assert status(outside()) is FINISH


def test_row_that_ended_elsewhere_needs_no_definition(runner: InlineRunner) -> None:
    name = define({2: []}, "Record")
    insert(name, (1, -1, FINISH), (2, 1, WAIT))
    adoption.adopt()
    flow = outside()
    assert task(flow, 1).finished_ts is not None
    assert task(flow, 1).error == ""
    runner.run()
    assert status(flow) is FINISH
    assert starts() == [2]


@pytest.mark.parametrize("late", [False, True])
def test_running_row_blocks_its_followers_until_the_other_system_ends_it(runner: InlineRunner, late: bool) -> None:
    name = define(CHAIN, "Record")
    insert(name, (1, -1, FINISH), (2, 1, RUNNING), (3, 2, WAIT))
    if late:
        Task.objects.filter(exec_status=RUNNING).update(started_ts="2020-01-05T14:59:32Z", worker="gone", pid=1)
    look(runner)
    flow = outside()
    check(flow)
    assert statuses(flow) == {1: FINISH, 2: RUNNING, 3: WAIT}
    assert status(flow) is RUNNING
    assert starts() == []
    assert runner.sent == []
    assert Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1)) is None
    assert recover_tasks() == 0
    assert (task(flow, 2).attempt, task(flow, 2).rescues, task(flow, 2).error) == (0, 0, "")
    assert tasks.note(task(flow, 2)) == "by another system"
    update(2, FINISH)
    look(runner)
    check(flow)
    assert statuses(flow) == {1: FINISH, 2: FINISH, 3: FINISH}
    assert status(flow) is FINISH
    assert task(flow, 2).finished_ts is not None
    assert starts() == [3]
    assert verbs(flow) == ["adopt", "adopt"]


def test_running_row_is_looked_at_once_however_many_there_are(runner: InlineRunner) -> None:
    name = define({1: None}, "Record")
    for number in range(adoption.PAGE + 20):
        insert(name, (1, -1, RUNNING), flow=f"a{number}")
    for _ in range(3):
        adoption.adopt()
    assert not Task.objects.unobserved().exists()
    insert(name, (1, -1, WAIT), flow="waits")
    assert adoption.adopt() == 1
    runner.run()
    assert status(outside("waits")) is FINISH
    assert starts() == [1]


def test_running_row_that_goes_back_to_wait_is_run_here(runner: InlineRunner) -> None:
    insert(define({1: None}, "Record"), (1, -1, RUNNING))
    look(runner)
    update(1, WAIT)
    look(runner)
    assert status(outside()) is FINISH
    assert starts() == [1]


@pytest.mark.parametrize("error", ["", "disk full"])
def test_running_row_that_fails_elsewhere_is_shown_and_not_started(runner: InlineRunner, error: str) -> None:
    insert(define(CHAIN, "Record"), (1, -1, RUNNING), (2, 1, WAIT))
    look(runner)
    update(1, SUSPEND)
    Task.objects.filter(task_exec_seq=1).update(error=error)
    look(runner)
    flow = outside()
    check(flow)
    assert statuses(flow) == {1: SUSPEND, 2: WAIT}
    assert (status(flow), flow.failed_seq) == (SUSPEND, 1)
    assert task(flow, 1).error == (error or SUSPENDED_ELSEWHERE)
    assert task(flow, 1).suspended_ts is not None
    assert starts() == []
    update(1, RUNNING)
    look(runner)
    assert (status(flow), outside().failed_seq, task(flow, 1).error) == (RUNNING, None, "")
    update(1, FINISH)
    look(runner)
    assert status(flow) is FINISH
    assert starts() == [2]


@pytest.mark.parametrize("verb", ["rerun", "skip", "cancel"])
def test_row_that_was_suspended_elsewhere_takes_the_operators_verbs(runner: InlineRunner, verb: str) -> None:
    insert(define({1: None, 2: None}, "Record"), (1, -1, SUSPEND), (2, 1, WAIT))
    look(runner)
    flow = outside()
    assert (status(flow), flow.failed_seq, task(flow, 1).error) == (SUSPEND, 1, SUSPENDED_ELSEWHERE)
    if verb == "skip":
        engine.skip(flow.pk, 1)
    else:
        getattr(engine, verb)(flow.pk)
    look(runner)
    assert status(flow) is (IGNORE if verb == "cancel" else FINISH)
    assert starts() == {"rerun": [1, 2], "skip": [2], "cancel": []}[verb]


def test_refused_row_is_rerun_once_its_definition_is_there(runner: InlineRunner) -> None:
    insert("nowhere", (1, -1, WAIT))
    look(runner)
    engine.rerun(outside().pk)
    look(runner)
    assert "ms_task_definition has no usable row" in task(outside(), 1).error
    define({1: None}, "Record", name="nowhere")
    engine.rerun(outside().pk, refresh=True)
    look(runner)
    assert status(outside()) is FINISH
    assert starts() == [1]


@pytest.mark.parametrize("end", [FINISH, IGNORE])
def test_cancelled_flow_stays_cancelled_whatever_the_other_system_does(runner: InlineRunner, end: Status) -> None:
    insert(define({1: None, 2: None}, "Record"), (1, -1, RUNNING), (2, 1, WAIT))
    look(runner)
    engine.cancel(outside().pk)
    look(runner)
    update(1, end)
    look(runner)
    assert status(outside()) is IGNORE
    assert statuses(outside()) == {1: end, 2: IGNORE}
    assert starts() == []


def test_running_row_between_ours_travels_on_no_message(runner: InlineRunner) -> None:
    insert(define(CHAIN, "Record"), (1, -1, WAIT), (2, 1, RUNNING), (3, 2, WAIT))
    look(runner)
    assert [message.head.seq for message in runner.sent] == [1]
    assert runner.sent[0].then == ()
    flow = outside()
    check(flow)
    assert statuses(flow) == {1: FINISH, 2: RUNNING, 3: WAIT}
    assert task(flow, 2).sent_ts is None
    update(2, WAIT)
    look(runner)
    assert starts() == [1, 2, 3]
    assert status(flow) is FINISH


@pytest.mark.parametrize("first", [RUNNING, SUSPEND, FINISH])
@pytest.mark.parametrize("dependencies", [(1, 1), (2, 1), (7, 1)])
def test_rows_of_others_that_wait_for_each_other_block_nothing(
    runner: InlineRunner, dependencies: tuple[int, int], first: Status
) -> None:
    name = define({1: None, 2: None, 3: None}, "Record")
    insert(name, (1, dependencies[0], first), (2, dependencies[1], RUNNING), (3, -1, WAIT))
    look(runner)
    flow = outside()
    assert statuses(flow) == {1: first, 2: RUNNING, 3: FINISH}
    update(1, FINISH)
    update(2, FINISH)
    look(runner)
    assert status(flow) is FINISH
    assert starts() == [3]


def test_row_with_wrong_times_waits_and_runs(runner: InlineRunner) -> None:
    insert(define({1: None}, "Record"), (1, -1, WAIT))
    Task.objects.update(finished_ts="2020-01-05T14:59:32Z", suspended_ts="2020-01-05T14:59:32Z")
    look(runner)
    assert status(outside()) is FINISH


@pytest.mark.parametrize("order", [(3, 2, 1), (2, 3, 1), (1, 3, 2)])
def test_rows_that_come_one_by_one_in_any_order_run_in_theirs(runner: InlineRunner, order: tuple[int, ...]) -> None:
    name = define(CHAIN, "Record")
    first = {1: FINISH}
    for seq in order:
        insert(name, (seq, seq - 1 or -1, first.get(seq, WAIT)))
        look(runner)
    flow = outside()
    check(flow)
    assert status(flow) is FINISH
    assert starts() == [2, 3]


def test_rows_of_several_flows_are_adopted_each_as_it_is(runner: InlineRunner) -> None:
    name = define({1: None, 2: None}, "Record")
    for flow, first in (("a", WAIT), ("b", FINISH), ("c", RUNNING), ("d", SUSPEND), ("e", IGNORE)):
        insert(name, (1, -1, first), (2, 1, WAIT), flow=flow)
    look(runner)
    ends = {flow.pk: flow.status for flow in Flow.objects.all()}
    assert ends == {"a": FINISH, "b": FINISH, "c": RUNNING, "d": SUSPEND, "e": FINISH}
    assert TaskDefinition.objects.count() == 2
