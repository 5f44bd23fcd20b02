"""Conditions: a task whose condition is false is skipped, and its input takes the place of its output."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node, Plan
from flowerapp.engine import attempts
from flowerapp.engine.context import input_of
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets import Success
from flowerapp.selectors import tasks
from flowerapp.states import IgnoredBy, Status
from flowerapp.testing import InlineRunner
from tests.engine.support import DIAMOND, Dependencies, check, define, status, statuses, task
from tests.engine.test_children import splitting
from tests.engine.test_hooks import Listener, listener
from tests.probe.models import Start

__all__ = ["listener"]

pytestmark = pytest.mark.django_db(transaction=True)


def steps(dependencies: Dependencies, program: str = "Echo", **when: str) -> str:
    """A workflow whose steps have these conditions; keys are ``t`` and the seq."""
    name = define(dependencies, program)
    for step, condition in when.items():
        TaskDefinition.objects.filter(task_id=name, task_seq=int(step[1:])).update(when=condition)
    return name


def ended(runner: InlineRunner, name: str, **options: Any) -> Flow:
    """The flow after all its messages, checked after each."""
    flow = engine.register(name, **options)
    check(flow)
    while runner.step():
        check(flow)
    return engine.get_flow(flow.pk)


def why(flow: Flow, seq: int) -> str:
    return tasks.note(tasks.whole_task(flow.pk, seq))


def test_a_true_condition_changes_nothing(runner: InlineRunner) -> None:
    flow = ended(runner, steps({1: [], 2: [1]}, "Record", t1="input.n > 1", t2="true"), input={"n": 2})
    assert statuses(flow) == {1: Status.FINISH, 2: Status.FINISH}
    assert Start.objects.filter(flow_id=flow.pk).count() == 2


def test_a_task_whose_condition_is_false_does_not_start_and_passes_its_input_on(runner: InlineRunner) -> None:
    flow = ended(runner, steps({1: [], 2: [1], 3: [2]}, "Record", t2='input.kind == "b"'), input={"kind": "a"})
    assert statuses(flow) == {1: Status.FINISH, 2: Status.IGNORE, 3: Status.FINISH}
    row = Task.objects.at(TaskRef(flow.pk, 2)).defer("output").get()
    assert (row.ignored_by, row.attempt, row.finished_ts is None) == (IgnoredBy.CONDITION, 1, False)
    assert not Task.objects.filter(pk=row.pk, output__isnull=False).exists(), "no copy is stored"
    assert not Start.objects.filter(flow_id=flow.pk, seq=2).exists()
    assert flow.status is Status.FINISH
    assert why(flow, 2) == 'its condition input.kind == "b" is false'


def test_a_long_condition_is_quoted_in_part(runner: InlineRunner) -> None:
    condition = "input.a ==\n  1 && " + " && ".join(["true"] * 30)
    flow = ended(runner, steps({1: []}, t1=condition), input={"a": 2})
    note = why(flow, 1)
    assert note.startswith("its condition input.a == 1 && true")
    assert note.endswith("… is false")
    assert len(note) < 90


@pytest.mark.parametrize("value", [None, 0, "", [], {}, [1, [2]], {"a": {}}])
def test_any_input_is_passed_on_as_it_is(runner: InlineRunner, value: Any) -> None:
    name = define({1: [], 2: [1], 3: [2]}, "Echo")
    TaskDefinition.objects.filter(task_id=name, task_seq=2).update(when="false")
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(program="Return", parameters={"value": value})
    flow = ended(runner, name)
    expected = {} if value is None else value
    assert (task(flow, 2).output, flow.output) == (expected, expected)


def returning(name: str, outputs: dict[int, Any]) -> str:
    for seq, value in outputs.items():
        TaskDefinition.objects.filter(task_id=name, task_seq=seq).update(program="Return", parameters={"value": value})
    return name


def test_several_outputs_are_gathered_once(runner: InlineRunner) -> None:
    """What was gathered is stored: a list in it stays a list, and further joins do not take it apart."""
    join: Dependencies = {1: [], 2: [], 3: [1, 2], 4: [], 5: [3, 4], 6: [5]}
    name = returning(steps(join, t3="false", t5="false"), {1: [1, 2], 2: {"b": 1}, 4: [3]})
    flow = ended(runner, name)
    assert task(flow, 3).output == [[1, 2], {"b": 1}]
    assert task(flow, 5).output == [[[1, 2], {"b": 1}], [3]]
    assert flow.output == [[[1, 2], {"b": 1}], [3]]


def test_a_merged_input_is_passed_on_merged(runner: InlineRunner) -> None:
    name = returning(steps({1: [], 2: [], 3: [1, 2], 4: [3]}, t3="input.a > 9"), {1: {"a": 1}, 2: {"b": 2}})
    TaskDefinition.objects.filter(task_id=name, task_seq=3).update(merge=True)
    flow = ended(runner, name)
    assert flow.output == {"a": 1, "b": 2}


def test_the_condition_sees_the_merged_or_gathered_input(runner: InlineRunner) -> None:
    name = returning(steps({1: [], 2: [], 3: [1, 2]}, t3="input[1].b == 2"), {1: {"a": 1}, 2: {"b": 2}})
    assert status(ended(runner, name), 3) is Status.FINISH


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("input.n", "line 1, column 6"),
        ("input.n + 1 > 'a'", "line 1, column"),
        ("1", "a condition"),
        ("input.missing.deeper > 1", "line 1, column"),
    ],
)
def test_what_is_not_a_boolean_fails_for_good(runner: InlineRunner, condition: str, said: str) -> None:
    name = steps({1: [], 2: [1]}, "Record", t1=condition)
    TaskDefinition.objects.filter(task_id=name).update(max_retries=5, retry_delay=0)
    flow = ended(runner, name, input={"n": 123454321})
    assert (status(flow, 1), status(flow)) == (Status.SUSPEND, Status.SUSPEND)
    error = task(flow, 1).error
    assert error.startswith("its condition cannot be decided: line 1, column")
    assert said in error
    assert "123454321" not in error
    assert task(flow, 1).retries == 0
    assert not Start.objects.filter(flow_id=flow.pk).exists()


def test_a_rerun_evaluates_it_again(runner: InlineRunner) -> None:
    name = returning(steps({1: [], 2: [1], 3: [2]}, t2="input.n > 1"), {1: {"n": 1}})
    flow = ended(runner, name)
    assert status(flow, 2) is Status.IGNORE
    engine.rerun(flow.pk, from_seq=1, parameters={1: {"value": {"n": 2}}})
    runner.run()
    check(flow)
    assert statuses(flow) == {1: Status.FINISH, 2: Status.FINISH, 3: Status.FINISH}
    assert task(flow, 2).ignored_by == ""
    TaskDefinition.objects.filter(task_id=name, task_seq=2).update(when="input.n > 2")
    engine.rerun(flow.pk, from_seq=2, refresh=True)
    runner.run()
    assert status(flow, 2) is Status.IGNORE


def test_a_retry_evaluates_it_again(runner: InlineRunner) -> None:
    name = steps({1: []}, "FailUntil", t1="input.n > 1")
    TaskDefinition.objects.filter(task_id=name).update(parameters={"start": 3}, retry_delay=0)
    flow = engine.register(name, input={"n": 2})
    for _ in range(3):
        runner.run()
        Task.objects.filter(task_flow=flow, due_ts__isnull=False).update(due_ts=None)
        runner.send(Task.objects.filter(task_flow=flow).startable().messages())
    runner.run()
    assert (status(flow, 1), task(flow, 1).retries) == (Status.FINISH, 2)


def test_a_step_that_is_skipped_adds_no_children(runner: InlineRunner) -> None:
    name = splitting([[1], [2]])
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(when="input.n > 1")
    flow = ended(runner, name, input={"n": 1})
    assert flow.tasks.count() == 2
    assert flow.output == {"n": 1}
    other = ended(runner, name, input={"n": 2})
    assert other.output == [1, 2]


def test_events_are_those_of_a_task_that_succeeds(runner: InlineRunner, listener: Listener) -> None:
    ended(runner, steps({1: []}, "Noop", t1="false"))
    names = [name for name, _ in listener.received]
    assert names == ["start_flow", "task_start", "task_over", "task_all_over", "all_over"]


def test_a_fork_is_released_by_a_task_that_is_skipped(runner: InlineRunner) -> None:
    flow = ended(runner, steps(DIAMOND, t1="false", t3="false"), input={"in": 1})
    assert flow.status is Status.FINISH
    assert flow.output == [{"in": 1}, {"in": 1}]


def test_a_late_answer_is_refused(runner: InlineRunner) -> None:
    flow = engine.register(steps({1: []}, t1="false"))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    engine.cancel(flow.pk)
    assert not attempts.perform(claim).finished
    assert task(flow, 1).ignored_by == IgnoredBy.CANCEL


class Continues:
    """Continues with one task."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def candidates(self, claim: Any) -> list[str]:
        return ["Record"]

    def keeps(self, claim: Any, candidates: Any) -> list[int]:
        return [0]

    def accept(self, before: Any, claim: Any) -> None:
        self.taken.append(claim)


@pytest.fixture
def continues() -> Continues:
    if connection.vendor != "postgresql":
        pytest.skip("processes continue on PostgreSQL only")
    return Continues()


def test_a_process_continues_from_and_with_conditions(runner: InlineRunner, continues: Continues) -> None:
    flow = engine.register(steps({1: [], 2: [1], 3: [2]}, "Record", t1="false", t2="input.n > 1", t3="true"))
    attempts.run(TaskRef(flow.pk, 1), "w", continuation=continues)
    assert [(claim.seq, claim.when) for claim in continues.taken] == [(2, "input.n > 1")]
    assert status(flow, 2) is Status.RUNNING


def test_an_answer_that_was_lost_is_found_again(runner: InlineRunner, continues: Continues) -> None:
    flow = engine.register(steps({1: [], 2: [1]}, "Record", t1="false"))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    success = Success(ref=claim.ref, attempt=1, output=None, ignored_by=IgnoredBy.CONDITION)
    assert Task.objects.finish(success)
    outcome = attempts.perform(claim)
    assert outcome.finished
    assert [message.head.seq for message in outcome.released] == [2]


def test_statements_of_a_condition(runner: InlineRunner) -> None:
    """A false condition costs what reading the input costs; the finish is the same statement."""
    if connection.vendor != "postgresql":
        pytest.skip("one statement is claim, one is finish, on PostgreSQL only")
    counts = {}
    for condition in ("", "true", "false"):
        flow = engine.register(steps({1: [], 2: [1]}, "Noop", t2=condition))
        runner.step()
        with CaptureQueriesContext(connection) as queries:
            attempts.run(TaskRef(flow.pk, 2), "w")
        counts[condition] = len(queries)
        runner.waiting.clear()
    assert counts == {"": 2, "true": 4, "false": 4}


@pytest.mark.parametrize(
    ("condition", "said"),
    [("input.", "line 1, column 7"), ("other > 1", "there are: input"), ("a" * 10_001, "the limit")],
)
def test_a_condition_that_cannot_be_read_is_refused_at_define(condition: str, said: str) -> None:
    node = Node(seq=3, program="Noop", when=condition)
    with pytest.raises(InvalidPlanError) as caught:
        Plan("w", (node,)).check()
    (problem,) = caught.value.problems
    assert (problem.seq, problem.field) == (3, "when")
    assert said in problem.message
    assert "\n" not in problem.message
    with pytest.raises(InvalidPlanError):
        engine.register(steps({1: []}, t1=condition))


def test_an_input_too_large_to_be_stored_again_fails_the_task(runner: InlineRunner) -> None:
    name = returning(steps({1: [], 2: [], 3: [1, 2]}, t3="false"), {1: "x" * 600_000, 2: "y" * 600_000})
    flow = ended(runner, name)
    assert status(flow, 3) is Status.SUSPEND
    assert "the input that is passed on is 1,200," in task(flow, 3).error
    assert len(input_of(TaskRef(flow.pk, 3))) == 2
