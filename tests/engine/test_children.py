"""Children: tasks that a task adds while it runs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.test import override_settings

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import added_children, attempts, dispatching, propagation, recovery
from flowerapp.engine.added_children import Added
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, StateConflictError
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition
from flowerapp.querysets import Success
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.attempts import succeed
from tests.engine.support import check, define, status, task, verbs
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status


def splitting(items: Any, *, child: str = "Sum", by_id: bool = False, then: str = "", **columns: Any) -> str:
    """A workflow whose first step adds children, and whose second returns what it gets."""
    name = define({1: [], 2: [1]}, "Echo")
    first = TaskDefinition.objects.filter(task_id=name, task_seq=1)
    parameters = {"items": items, "by_id": by_id, "then": then}
    first.update(program="Split", child_program=child, parameters=parameters, **{"max_concurrency": 2, **columns})
    return name


def run_checked(flow: Flow, runner: InlineRunner) -> Flow:
    """Run to the end, with every rule checked after each message."""
    check(flow)
    while runner.step():
        check(flow)
    return engine.get_flow(flow.pk)


def children(flow: Flow) -> list[Task]:
    """The children of a flow in order."""
    return list(Task.objects.filter(task_flow=flow, parent_seq__isnull=False).order_by("child_index"))


def starts(flow: Flow) -> list[int]:
    """Seqs in the order in which they were started."""
    return list(Start.objects.filter(flow_id=flow.pk).order_by("pk").values_list("seq", flat=True))


def test_a_task_finishes_with_its_children_and_takes_their_outputs_in_order(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1, 2, 3], [4, 5, 6], [7, 8, 9]])), runner)
    assert flow.status is FINISH
    assert task(flow, 1).output == [6, 15, 24]
    assert task(flow, 1).attempt == 1
    assert flow.output == [6, 15, 24]
    assert [(child.task_exec_seq, child.child_index, child.child_id) for child in children(flow)] == [
        (3, 0, 0),
        (4, 1, 1),
        (5, 2, 2),
    ]
    assert starts(flow) == [1, 3, 4, 5]
    assert verbs(flow) == ["add_children"]


def test_items_under_one_id_reach_one_call_as_a_list(runner: InlineRunner) -> None:
    items = [["b", 1], ["a", 2], ["b", 3], [7, None]]
    flow = run_checked(engine.register(splitting(items, by_id=True, child="Item")), runner)
    assert flow.output == [["b", [1, 3]], ["a", [2]], [7, [None]]]


def added(*calls: Any) -> list[tuple[Any, Any]]:
    """Ids and items after these calls of ``ctx.add_children``."""
    added = Added()
    for items in calls:
        added.add(items)
    return [(child.id, child.item) for child in added.children]


def test_items_and_ids() -> None:
    assert added(["x", ["y", 1], None]) == [(0, "x"), (1, ["y", 1]), (2, None)]
    assert added(["x"], ["y"]) == [(0, "x"), (1, "y")]
    assert added([("a", 1), ("b", 2)], {"a": 3, "c": 4}) == [("a", [1, 3]), ("b", [2]), ("c", [4])]
    assert added([(1, "int"), ("1", "text")]) == [(1, ["int"]), ("1", ["text"])]
    assert added([], {}, iter([])) == []


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ([(1.5, "x")], "is no id of a child"),
        ([(True, "x")], "is no id of a child"),
        ([{1, 2}], "not JSON"),
        ("letters", "not as a text"),
        ([("a", float("nan"))], "not JSON"),
        (itertools.repeat(1), "over 5"),
    ],
)
def test_what_cannot_be_added_leaves_what_was(items: Any, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added_children, "MOST_ITEMS", 1000)
    added = Added()
    added.add([("a", 1)])
    with override_settings(FLOWER={"MAX_CHILDREN": 5}), pytest.raises(InvalidValueError, match=error):
        added.add(items)
    assert [(child.id, child.item) for child in added.children] == [("a", [1])]


def test_only_so_many_run_at_once_and_an_end_starts_the_next(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[n] for n in range(7)], max_concurrency=3))
    assert runner.step()
    assert [message.head.seq for message in runner.waiting] == [3, 4, 5]
    for seq in (4, 3):
        claim = Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))
        assert claim
        released = succeed(claim, "0").released
        assert [message.head.seq for message in released] == [{4: 6, 3: 7}[seq]]
        runner.send(released)
        check(flow)
    assert run_checked(flow, runner).status is FINISH


def test_no_children_at_all(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([])), runner)
    assert (flow.status, flow.output) == (FINISH, {"ignored": True})


def test_children_of_a_retried_attempt_are_not_doubled(runner: InlineRunner) -> None:
    name = splitting([[1], [2]], then="not yet", max_retries=1, retry_delay=0)
    flow = engine.register(name)
    runner.run()
    assert not children(flow)
    dispatching.send_unsent()
    assert run_checked(flow, runner).output == [1, 2]
    assert starts(flow) == [1, 1, 3, 4]


def test_late_children_are_refused(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1]]))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    Task.objects.rescue(TaskRef(flow.pk, 1), 1)
    assert attempts.perform(claim) == propagation.REFUSED
    assert not children(flow)
    assert run_checked(flow, runner).status is FINISH
    assert len(children(flow)) == 1


def test_a_failed_child_fails_the_task_and_stops_its_siblings(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1], ["bad"], [2], [3], [4]])), runner)
    assert flow.status is SUSPEND
    assert [child.status for child in children(flow)] == [FINISH, SUSPEND, IGNORE, IGNORE, IGNORE]
    assert starts(flow) == [1, 3, 4]
    assert flow.failed_seq == 4
    assert task(flow, 4).error == "ListedError: child 1 is bad"
    assert task(flow, 1).error == "child 1 (task 4) failed: ListedError: child 1 is bad"
    assert task(flow, 1).status is SUSPEND
    assert task(flow, 2).status is WAIT
    assert task(flow, 5).error.startswith("stopped, because child 1")


def test_running_siblings_are_stopped_and_their_outcome_is_refused(runner: InlineRunner) -> None:
    flow = engine.register(splitting([["bad"], [1]]))
    runner.step()
    running = Task.objects.claim(TaskRef(flow.pk, 4), Process("w", 1))
    assert running
    runner.run()
    assert task(flow, 4).status is IGNORE
    assert succeed(running, "1") == propagation.REFUSED
    check(flow)


def test_a_failed_child_is_tolerated_where_the_step_says_so(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1], ["bad"], [2]], exit_on_failed=False)), runner)
    assert (flow.status, flow.output) == (FINISH, [1, None, 2])
    assert (task(flow, 4).status, task(flow, 4).error) == (IGNORE, "ListedError: child 1 is bad")
    assert verbs(flow) == ["add_children", "fail"]


def test_children_retry_by_themselves(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], ["bad"], [2]], max_retries=2, retry_delay=0))
    for _ in range(3):
        run_checked(flow, runner)
        dispatching.send_unsent()
    assert starts(flow) == [1, 3, 4, 5, 4, 4]
    assert status(flow) is SUSPEND
    assert [child.retries for child in children(flow)] == [0, 2, 0]


def test_rerun_of_the_failed_starts_the_failed_child_and_the_stopped_ones_alone(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1], ["bad"], [2], [3]])), runner)
    Start.objects.all().delete()
    Task.objects.filter(task_flow=flow, task_exec_seq=4).update(item=[10])
    engine.rerun(flow.pk)
    flow = run_checked(flow, runner)
    assert (flow.status, flow.output) == (FINISH, [1, 10, 2, 3])
    assert starts(flow) == [4, 5, 6]


def test_rerun_from_a_child_keeps_its_siblings(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1], [2], [3]])), runner)
    Start.objects.all().delete()
    Task.objects.filter(task_flow=flow, task_exec_seq=4).update(item=[20])
    engine.rerun(flow.pk, from_seq=4)
    flow = run_checked(flow, runner)
    assert (flow.output, starts(flow)) == ([1, 20, 3], [4])


@pytest.mark.parametrize("how", [{"from_seq": 1}, {"all_tasks": True}])
@pytest.mark.parametrize("bad", [False, True])
def test_rerun_of_the_parent_makes_its_children_anew(runner: InlineRunner, how: Any, bad: bool) -> None:
    flow = run_checked(engine.register(splitting([[1], ["bad"] if bad else [2]])), runner)
    parameters = {"items": [[5], [6], [7]]}
    engine.rerun(flow.pk, parameters={1: parameters}, **how)
    assert not children(flow)
    flow = run_checked(flow, runner)
    assert flow.output == [5, 6, 7]
    assert [child.task_exec_seq for child in children(flow)] == [5, 6, 7], "no seq is given twice"


def test_rerun_from_the_parent_is_refused_while_children_run(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], [2]]))
    runner.step()
    assert Task.objects.claim(TaskRef(flow.pk, 3), Process("w", 1))
    with pytest.raises(StateConflictError, match="tasks 3 Sum of"):
        engine.rerun(flow.pk, from_seq=1)


def test_the_other_children_run_once_a_failed_one_is_skipped(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1], ["bad"], [2]])), runner)
    engine.skip(flow.pk, 4)
    flow = run_checked(flow, runner)
    assert (flow.status, flow.output) == (FINISH, [1, ["bad"], 2])


def test_skip_of_the_parent_ends_its_children(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], [2], [3]]), input={"given": 1})
    runner.step()
    engine.skip(flow.pk, 1)
    flow = run_checked(flow, runner)
    assert (flow.status, flow.output) == (FINISH, {"given": 1})
    assert {child.status for child in children(flow)} == {IGNORE}


def test_skip_of_the_parent_passes_its_failed_child_over(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1], ["bad"], [2]])), runner)
    engine.skip(flow.pk, 1)
    assert run_checked(flow, runner).status is FINISH


def test_a_parent_is_not_woken_before_its_children_have_ended(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], [2]]))
    runner.step()
    for output in (None, {"x": 1}):
        with pytest.raises(StateConflictError, match="not parked"):
            engine.wake(flow.pk, 1, output=output)
    assert run_checked(flow, runner).output == [1, 2]


def test_the_last_child_skipped_ends_the_task(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1]]))
    runner.step()
    engine.skip(flow.pk, 3)
    assert run_checked(flow, runner).output == [[1]]


def test_cancel_and_hold_reach_the_children(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], [2], [3]]))
    runner.step()
    engine.suspend(flow.pk)
    runner.run()
    assert starts(flow) == [1]
    engine.resume(flow.pk)
    check(flow)
    runner.step()
    engine.cancel(flow.pk)
    assert run_checked(flow, runner).status is IGNORE


def test_a_gathering_that_was_lost_is_made_up_for(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = engine.register(splitting([[1]]))
    runner.step()
    claim = Task.objects.claim(TaskRef(flow.pk, 3), Process("w", 1))
    assert claim
    assert Task.objects.finish(Success(ref=TaskRef(flow.pk, 3), attempt=claim.attempt, output="5", child=True))
    assert status(flow, 1) is WAIT
    assert propagation.complete_all_parked() == 1
    assert run_checked(flow, runner).output == [5]


@override_settings(FLOWER={"MAX_CHILDREN": 3})
def test_too_many_children_fail_the_task_and_write_none(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[1]] * 4)), runner)
    assert task(flow, 1).error.startswith("over 3 children (FLOWER['MAX_CHILDREN'])")
    assert (status(flow), children(flow)) == (SUSPEND, [])


@override_settings(FLOWER={"MAX_JSON_BYTES": 260})
def test_outputs_that_are_too_large_together_fail_the_task(runner: InlineRunner) -> None:
    flow = run_checked(engine.register(splitting([[n] for n in range(40)], child="Item")), runner)
    assert status(flow) is SUSPEND
    assert task(flow, 1).error.startswith("the outputs of the children of task 1 Split are together over 260")
    assert flow.failed_seq == 1


def test_who_may_add_children(runner: InlineRunner) -> None:
    name = splitting([[1]])
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(child_program="")
    flow = run_checked(engine.register(name), runner)
    assert "has no child_program" in task(flow, 1).error
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(child_program="Split")
    with pytest.raises(InvalidPlanError, match=r"a child gets its item as ctx\.input"):
        engine.register(name)
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(child_program="Missing")
    with pytest.raises(InvalidPlanError, match="'Missing' is not registered"):
        engine.register(name)


def test_a_lost_child_is_rescued_and_a_lost_cause_fails_its_parent(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], [2], [3]]))
    runner.step()
    runner.waiting.clear()
    for _ in range(4):
        assert Task.objects.claim(TaskRef(flow.pk, 3), Process("gone", 1))
        runner.send(recovery.record_lost(TaskRef(flow.pk, 3), "its worker is dead", Process("gone", None)).released)
        check(flow)
    assert status(flow, 3) is SUSPEND
    assert status(flow, 1) is SUSPEND
    assert HistoryEntry.objects.filter(task_flow=flow, verb="rescue").count() == 3


@pytest.mark.parametrize("how", [{"from_seq": 1}, {"all_tasks": True}])
def test_rerun_of_a_parent_whose_children_wait(runner: InlineRunner, how: Any) -> None:
    flow = engine.register(splitting([[1], [2], [3]]))
    runner.step()
    runner.waiting.clear()
    engine.rerun(flow.pk, **how)
    assert not children(flow)
    assert (task(flow, 1).status, task(flow, 1).parked, task(flow, 1).run) == (WAIT, False, 2)
    flow = run_checked(flow, runner)
    assert (flow.status, flow.output) == (FINISH, [1, 2, 3])


def test_a_turn_that_got_lost_is_given(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], [2], [3]], max_concurrency=1))
    runner.step()
    runner.waiting.clear()
    Task.objects.filter(task_flow=flow, task_exec_seq=3).update(pending=1, sent_ts=None)
    place = (TaskRef(flow.pk, 1), flow.task_id)
    assert propagation.start_next_children(*place) == 1
    assert propagation.start_next_children(*place) == 0
    assert run_checked(flow, runner).output == [1, 2, 3]


def test_resume_gives_lost_turns(runner: InlineRunner) -> None:
    flow = engine.register(splitting([[1], [2]], max_concurrency=1))
    runner.step()
    engine.suspend(flow.pk)
    Task.objects.filter(task_flow=flow, task_exec_seq=3).update(pending=1, sent_ts=None)
    engine.resume(flow.pk)
    assert run_checked(flow, runner).status is FINISH


def test_refresh_reaches_the_children(runner: InlineRunner) -> None:
    name = splitting([[1], ["bad"]], max_retries=0)
    flow = run_checked(engine.register(name), runner)
    engine.set_pool("narrow", 1)
    first = TaskDefinition.objects.filter(task_id=name, task_seq=1)
    first.update(pool="narrow", child_program="Item", max_retries=2)
    engine.rerun(flow.pk, refresh=True)
    child = task(flow, 4)
    assert (child.program, child.pool, child.max_retries, child.admitted) == ("Item", "narrow", 2, True)
    assert run_checked(flow, runner).output == [1, [1, ["bad"]]]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_rerun_of_what_was_cancelled_makes_children_anew(runner: InlineRunner, steps: int) -> None:
    flow = engine.register(splitting([[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    for _ in range(steps):
        runner.step()
    engine.cancel(flow.pk)
    engine.rerun(flow.pk, cancelled=True)
    check(flow)
    flow = run_checked(flow, runner)
    assert (flow.status, task(flow, 1).output) == (FINISH, [6, 15, 24])
    assert len(children(flow)) == 3
