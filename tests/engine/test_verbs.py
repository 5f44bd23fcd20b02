"""The operators' verbs on flows of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts, propagation
from flowerapp.engine.context import input_of
from flowerapp.exceptions import InvalidPlanError, StateConflictError, UnknownFlowError, UnknownTaskError
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.attempts import fail, succeed
from tests.engine.support import CHAIN, DIAMOND, check, define, status, statuses, task, verbs
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status


def failing(steps: Any, at: int, runner: InlineRunner) -> Flow:
    """A flow that ran as far as it can while step ``at`` fails."""
    name = define(steps, "Record")
    TaskDefinition.objects.filter(task_id=name, task_seq=at).update(program="FailUnlisted")
    flow = engine.register(name, input={"of": "flow"})
    runner.run()
    check(flow)
    return flow


def repair(flow: Flow, seq: int) -> None:
    """Let the task run a program that does not fail."""
    Task.objects.filter(task_flow=flow, task_exec_seq=seq).update(program="Record")


def test_a_failure_leaves_other_branches_going_and_shows_itself(runner: InlineRunner) -> None:
    flow = failing({1: [], 2: [1], 3: [1], 4: [3], 5: [2, 4]}, 2, runner)
    assert statuses(flow) == {1: FINISH, 2: SUSPEND, 3: FINISH, 4: FINISH, 5: WAIT}
    flow.refresh_from_db()
    assert (flow.status, flow.failed_seq) == (SUSPEND, 2)
    failed = flow.failed_task
    assert failed is not None
    assert failed.error == "KeyError: 'not listed'"
    assert "raise KeyError" in failed.traceback
    assert verbs(flow) == ["fail"]


def test_rerun_of_the_failed_runs_nothing_else_again(runner: InlineRunner) -> None:
    flow = failing(DIAMOND, 2, runner)
    repair(flow, 2)
    engine.rerun(flow.pk, actor="ann", why="repaired")
    check(flow)
    runner.run()
    assert status(flow) is FINISH
    assert sorted(Start.objects.values_list("seq", flat=True)) == [1, 2, 2, 3, 4]
    event = HistoryEntry.objects.get(verb="rerun")
    assert (event.actor, event.reason) == ("ann", "repaired")
    assert list(Start.objects.filter(seq=2).values_list("key", flat=True)) == [f"{flow.pk}:2:1", f"{flow.pk}:2:2"]


def test_two_failed_branches_rerun_one_after_the_other_release_the_join_once(runner: InlineRunner) -> None:
    name = define({1: [], 2: [1], 3: [1], 4: [2, 3]}, "Record")
    TaskDefinition.objects.filter(task_id=name, task_seq__in=[2, 3]).update(program="FailUnlisted")
    flow = engine.register(name)
    runner.run()
    assert engine.get_flow(flow.pk).failed_seq in (2, 3)
    repair(flow, 3)
    engine.rerun(flow.pk, from_seq=3)
    runner.run()
    assert statuses(flow) == {1: FINISH, 2: SUSPEND, 3: FINISH, 4: WAIT}
    check(flow)
    repair(flow, 2)
    engine.rerun(flow.pk)
    runner.run()
    assert status(flow) is FINISH
    assert Start.objects.filter(seq=4).count() == 1


@pytest.mark.parametrize(
    ("how", "expected"), [({"from_seq": 2}, [1, 2, 2, 3, 3]), ({"all_tasks": True}, [1, 1, 2, 2, 3, 3])]
)
def test_rerun_brings_a_finished_flow_back(runner: InlineRunner, how: Any, expected: list[int]) -> None:
    flow = engine.register(define(CHAIN, "Record"))
    runner.run()
    engine.rerun(flow.pk, **how)
    check(flow)
    assert task(flow, 3).output is None
    runner.run()
    check(flow)
    assert status(flow) is FINISH
    assert sorted(Start.objects.values_list("seq", flat=True)) == expected
    assert (task(flow, 3).attempt, task(flow, 3).run, task(flow, 3).retries) == (2, 2, 0)


def test_rerun_brings_a_cancelled_flow_back_and_what_was_never_run_gives_nothing(runner: InlineRunner) -> None:
    flow = engine.register(define(CHAIN, "Echo"), input={"a": 1})
    engine.cancel(flow.pk)
    assert statuses(flow) == {1: IGNORE, 2: IGNORE, 3: IGNORE}
    check(flow)
    engine.rerun(flow.pk, from_seq=3)
    assert input_of(TaskRef(flow.pk, 3)) == {}
    runner.run()
    assert status(flow) is FINISH


def test_rerun_of_what_was_cancelled_keeps_what_has_finished(runner: InlineRunner) -> None:
    flow = failing({1: [], 2: [1], 3: [1], 4: [3], 5: [2, 4]}, 2, runner)
    engine.cancel(flow.pk)
    assert statuses(flow) == {1: FINISH, 2: IGNORE, 3: FINISH, 4: FINISH, 5: IGNORE}
    repair(flow, 2)
    engine.rerun(flow.pk, cancelled=True)
    assert statuses(flow) == {1: FINISH, 2: WAIT, 3: FINISH, 4: FINISH, 5: WAIT}
    check(flow)
    assert HistoryEntry.objects.get(verb="rerun").details["cancelled"] is True
    runner.run()
    assert set(statuses(flow).values()) == {FINISH}
    with pytest.raises(StateConflictError, match="was cancelled"):
        engine.rerun(flow.pk, cancelled=True)


def test_rerun_is_refused_while_an_affected_task_runs(runner: InlineRunner) -> None:
    flow = engine.register(define(CHAIN))
    runner.step()
    claim = Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1))
    assert claim
    for how in ({"from_seq": 1}, {"from_seq": 2}, {"all_tasks": True}):
        with pytest.raises(StateConflictError) as caught:
            engine.rerun(flow.pk, **how)
        assert caught.value.details == {"running": [2]}
    engine.rerun(flow.pk, from_seq=3)
    with pytest.raises(StateConflictError, match="has failed"):
        engine.rerun(flow.pk)
    with pytest.raises(UnknownTaskError):
        engine.rerun(flow.pk, from_seq=9)
    assert statuses(flow) == {1: FINISH, 2: RUNNING, 3: WAIT}


def test_rerun_with_parameters_and_refresh(runner: InlineRunner) -> None:
    flow = failing({1: []}, 1, runner)
    name = flow.task_id
    with pytest.raises(InvalidPlanError) as caught:
        engine.rerun(flow.pk, parameters={1: {"size": "red"}})
    assert [(problem.seq, problem.field) for problem in caught.value.problems] == [(1, "parameters.size")]
    assert status(flow, 1) is SUSPEND
    row = TaskDefinition.objects.get(task_id=name)
    row.program, row.task_priority = "Return", 5
    row.set_parameters({"value": "old"})
    row.save()
    engine.rerun(flow.pk, refresh=True, parameters={1: {"value": "new"}})
    runner.run()
    assert (task(flow, 1).output, task(flow, 1).task_priority) == ("new", 5)


def test_a_definition_that_changes_leaves_a_running_flow_alone(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}, "Return"), parameters={1: {"value": 1}})
    TaskDefinition.objects.all().delete()
    runner.run()
    assert task(flow, 1).output == 1


def test_suspend_holds_and_resume_sends(runner: InlineRunner) -> None:
    flow = engine.register(define(CHAIN, "Record"))
    runner.step()
    engine.suspend(flow.pk, actor="ann", why="tea")
    runner.run()
    assert statuses(flow) == {1: FINISH, 2: WAIT, 3: WAIT}
    check(flow)
    with pytest.raises(StateConflictError, match="already held"):
        engine.suspend(flow.pk)
    engine.resume(flow.pk)
    check(flow)
    runner.run()
    assert status(flow) is FINISH
    assert Start.objects.count() == 3
    for verb in (engine.suspend, engine.resume, engine.cancel):
        with pytest.raises(StateConflictError):
            verb(flow.pk)


def test_a_running_task_of_a_held_flow_may_finish_it(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    engine.suspend(flow.pk)
    assert succeed(claim, "{}").finished
    check(flow)
    assert status(flow) is FINISH


def test_resume_leaves_a_failed_flow_suspended(runner: InlineRunner) -> None:
    flow = failing(CHAIN, 2, runner)
    with pytest.raises(StateConflictError, match=r"task 2 .*failed: rerun or skip"):
        engine.resume(flow.pk)
    engine.suspend(flow.pk)
    engine.resume(flow.pk)
    assert status(flow) is SUSPEND
    check(flow)


def test_skip_hands_the_input_on(runner: InlineRunner) -> None:
    flow = failing({1: [], 2: [1], 3: [2]}, 2, runner)
    Task.objects.at(TaskRef(flow.pk, 1)).update(output={"from": 1})
    engine.skip(flow.pk, 2)
    assert task(flow, 2).output == {"from": 1}
    check(flow)
    runner.run()
    assert status(flow) is FINISH
    assert input_of(TaskRef(flow.pk, 3)) == {"from": 1}


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_skip_of_root_waiting_middle_and_sink(runner: InlineRunner, seq: int) -> None:
    flow = engine.register(define(DIAMOND, "Record"), input="in")
    engine.skip(flow.pk, seq)
    check(flow)
    while runner.step():
        check(flow)
    assert status(flow) is FINISH
    assert seq not in Start.objects.values_list("seq", flat=True)
    assert Start.objects.count() == 3
    if seq == 1:
        assert task(flow, 1).output == "in"


def test_skipping_everything_finishes_the_flow(runner: InlineRunner) -> None:
    flow = engine.register(define(DIAMOND))
    for seq in (4, 2, 1, 3):
        engine.skip(flow.pk, seq)
        check(flow)
    assert status(flow) is FINISH
    with pytest.raises(StateConflictError, match="has ended"):
        engine.skip(flow.pk, 1)


def test_a_task_that_waits_again_and_is_released_by_a_skip_is_sent(runner: InlineRunner) -> None:
    """Its first message was consumed while it waited for the step that runs again."""
    flow = engine.register(define({1: [], 2: [1]}, "Record"))
    runner.step()
    engine.rerun(flow.pk, from_seq=1)
    stale = list(runner.waiting)
    runner.waiting.clear()
    assert attempts.run(TaskRef(flow.pk, 2), "w").released == ()
    engine.skip(flow.pk, 1)
    assert [message.head.seq for message in runner.waiting] == [2], stale


def test_cancel_refuses_late_outcomes(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: []}))
    first, second = (
        Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1)),
        Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1)),
    )
    assert first
    assert second
    engine.cancel(flow.pk, actor="ann", why="wrong day")
    check(flow)
    assert succeed(first, '{"late": 1}') == propagation.REFUSED
    assert fail(second, ValueError("late")) == propagation.REFUSED
    assert statuses(flow) == {1: IGNORE, 2: IGNORE}
    assert (task(flow, 1).output, task(flow, 2).error) == (None, "")
    assert verbs(flow) == ["cancel"]


def test_an_outcome_of_an_earlier_attempt_is_refused(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    old = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert old
    engine.cancel(flow.pk)
    engine.rerun(flow.pk, all_tasks=True)
    new = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert new
    assert new.attempt == old.attempt + 1
    assert succeed(old, '"old"') == propagation.REFUSED
    assert succeed(new, '"new"').finished
    assert task(flow, 1).output == "new"


def test_change_is_checked_and_sent_to_the_new_queue(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [1]}, "Return"))
    runner.waiting.clear()
    engine.change(flow.pk, 1, queue="fast", priority=-20, parameters={"value": 1}, actor="ann")
    engine.change(flow.pk, 2, queue="slow")
    check(flow)
    (message,) = runner.waiting
    assert (message.head.queue, message.head.priority) == ("fast", -20)
    runner.run()
    assert runner.sent[-1].head.queue == "slow"
    assert task(flow, 1).output == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"priority": 20}, "task_priority"),
        ({"priority": -21}, "task_priority"),
        ({"queue": "a/b"}, "queue"),
        ({"queue": "x" * 257}, "queue"),
        ({"parameters": {"size": 1}}, "parameters.size"),
        ({"parameters": {"value": float("nan")}}, "parameters"),
        ({"parameters": {"value": "\0"}}, "parameters"),
    ],
)
def test_a_bad_change_names_the_place_and_changes_nothing(runner: InlineRunner, values: Any, field: str) -> None:
    flow = engine.register(define({1: []}, "Return"))
    with pytest.raises(InvalidPlanError) as caught:
        engine.change(flow.pk, 1, **values)
    assert [(problem.seq, problem.field) for problem in caught.value.problems] == [(1, field)]
    assert (task(flow, 1).parameters, task(flow, 1).task_priority, task(flow, 1).queue) == ({}, 0, "")
    assert verbs(flow) == []


def test_change_and_skip_of_a_running_task_are_refused(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    for verb in (engine.change, engine.skip):
        with pytest.raises(StateConflictError, match="is Running"):
            verb(flow.pk, 1)


@pytest.mark.parametrize("flow_id", ["none", "", "\0", "\ud800", "x" * 5000])
def test_unknown_flows_and_tasks(runner: InlineRunner, flow_id: str) -> None:
    for verb in (engine.suspend, engine.resume, engine.cancel, engine.rerun, engine.get_flow):
        with pytest.raises(UnknownFlowError):
            verb(flow_id)
    flow = engine.register(define({1: []}))
    for seq in (0, 2, -1, 2**31, 10**30):
        with pytest.raises(UnknownTaskError):
            engine.skip(flow.pk, seq)
        with pytest.raises(UnknownTaskError):
            engine.rerun(flow.pk, from_seq=seq)


def test_odd_text_of_people_and_programs_is_stored(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    fail(claim, ValueError("a\0b \udcff c"))
    assert status(flow, 1) is SUSPEND
    assert task(flow, 1).error.startswith("ValueError: a")
    engine.suspend(flow.pk, actor="x" * 300, why="\0 \ud800")
    assert verbs(flow) == ["fail", "suspend"]
