"""Gates and values: steps that propagation completes, without a message or a worker."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core.gates import GATE, VALUE
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node, Plan
from flowerapp.engine import adoption, attempts, propagation
from flowerapp.exceptions import InvalidPlanError, StateConflictError
from flowerapp.models import Flow, Task, TaskDefinition, Workflow
from flowerapp.querysets import Success
from flowerapp.selectors import flows, tasks
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import IgnoredBy, Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.parked import complete_parked
from tests.engine.support import check, define, planned, status, statuses, task, verbs
from tests.engine.test_hooks import Listener, listener
from tests.plans import analyze, rows_read

__all__ = ["listener"]

pytestmark = pytest.mark.django_db(transaction=True)

FINISH, IGNORE = Status.FINISH, Status.IGNORE


def gate(seq: int, *before: int, **options: Any) -> Node:
    """A gate after these steps."""
    return Node(seq=seq, program=GATE, depends_on=before, **options)


def value(seq: int, data: Any, *before: int, **options: Any) -> Node:
    """A value after these steps."""
    return Node(seq=seq, program=VALUE, depends_on=before, parameters={"value": data}, **options)


def echo(seq: int, *before: int, **options: Any) -> Node:
    """A task that returns its input."""
    return Node(seq=seq, program="Echo", depends_on=before, **options)


def gives(seq: int, output: Any, *before: int) -> Node:
    """A task that returns ``output``."""
    return Node(seq=seq, program="Return", depends_on=before, parameters={"value": output})


def run(flow: Flow, runner: InlineRunner) -> Flow:
    """Run to the end, with every rule checked after each message."""
    check(flow)
    while runner.step():
        check(flow)
    return engine.get_flow(flow.pk)


def sent(runner: InlineRunner) -> list[int]:
    """Seqs of the messages that were sent."""
    return [message.head.seq for message in runner.sent]


def test_a_gate_passes_its_input_on_without_a_message(runner: InlineRunner) -> None:
    flow = run(planned(gate(0), echo(1, 0), gate(2, 1), echo(3, 2), input={"in": 1}), runner)
    assert (flow.status, flow.output, sent(runner)) == (FINISH, {"in": 1}, [2, 4])
    assert set(statuses(flow).values()) == {FINISH}
    assert (task(flow, 1).attempt, task(flow, 1).parked, task(flow, 1).worker) == (0, False, "")


def test_gates_that_become_ready_together_are_all_completed_at_once(runner: InlineRunner) -> None:
    """Not only the first few of them, as tasks are sent."""
    middle = range(1, 60)
    flow = run(planned(echo(0), *(gate(seq, 0) for seq in middle), echo(60, *middle), input={"in": 1}), runner)
    assert (flow.status, sent(runner)) == (FINISH, [1, 61])


def test_a_flow_of_gates_and_values_alone_ends_when_it_is_registered(runner: InlineRunner) -> None:
    flow = planned(gate(0), value(1, {"a": [1]}, 0), value(2, 0), gate(3, 1, 2), input=5)
    flow.refresh_from_db()
    assert (flow.status, flow.output, runner.sent) == (FINISH, [{"a": [1]}, 0], [])
    check(flow)


def test_many_flows_of_one_call_complete_their_gates(runner: InlineRunner) -> None:
    name = define({1: [], 2: [1]}, GATE)
    flows = engine.register_many([{"task_id": name, "input": number} for number in (1, 2, 3)])
    assert [engine.get_flow(flow.pk).output for flow in flows] == [1, 2, 3]
    assert {engine.get_flow(flow.pk).status for flow in flows} == {FINISH}


A, B = {"a": 1}, {"b": 2}
DATA: dict[str, tuple[list[Any], bool, Any]] = {
    "one": ([A], False, A),
    "several": ([A, B], False, [A, B]),
    "in order of index": ([[2], [1], [3]], False, [[2], [1], [3]]),
    "a list stays a list": ([[1, 2], A], False, [[1, 2], A]),
    "lists in lists": ([[[1], []], [[]]], False, [[[1], []], [[]]]),
    "empty objects are dropped": ([{}, A, {}, B], False, [A, B]),
    "one that is left stands alone": ([{}, A, {}], False, A),
    "a list that is left stands alone": ([{}, [1, 2]], False, [1, 2]),
    "all empty": ([{}, {}, {}], False, {}),
    "one that is empty": ([{}], False, {}),
    "other empty values stay": ([[], "", 0, False, {}], False, [[], "", 0, False]),
    "merged": ([A, B, {"a": 3}], True, {"a": 3, "b": 2}),
    "one merged": ([A], True, A),
    "merged with empty ones": ([{}, A, {}], True, A),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("depth", [1, 3])
def test_what_leaves_a_gate(runner: InlineRunner, name: str, depth: int) -> None:
    """However many gates stand in a row: the data are those of one."""
    outputs, merge, expected = DATA[name]
    roots = [gives(seq, output, 0) for seq, output in enumerate(outputs, start=1)]
    last = len(roots)
    gates = [
        gate(last + 1, *range(1, last + 1), merge=merge),
        *(gate(last + n, last + n - 1) for n in range(2, depth + 1)),
    ]
    flow = run(
        planned(gate(0), *roots, *gates, echo(last + depth + 1, last + depth), gate(99, last + depth + 1)), runner
    )
    assert (flow.status, flow.output) == (FINISH, expected)


def test_a_null_that_a_value_gives_is_passed_on(runner: InlineRunner) -> None:
    flow = run(planned(value(1, None), gate(2, 1), value(3, "null", 2, when="input == null")), runner)
    assert (flow.output, skipped(flow)) == ("null", set())
    flow = run(planned(value(1, None), value(2, None), echo(3, 1, when="false"), gate(4, 1, 2, 3)), runner)
    assert (flow.status, flow.output, flows.output_of(flow)) == (FINISH, [None] * 3, [None] * 3)
    flow = run(planned(value(1, None), gate(2, 1, when="false", end=4), echo(3, 2), gate(4, 3)), runner)
    assert (flow.status, flow.output, flows.output_of(flow)) == (FINISH, None, None)
    assert [row.output for row in tasks.shown_tasks(flow.pk)] == [None] * 4


def test_a_program_that_returns_none_gives_no_output(runner: InlineRunner) -> None:
    flow = run(planned(value(1, None), echo(2, 1), gate(3, 2), echo(4, 3)), runner)
    assert (task(flow, 3).output, flow.output) == ({}, {})


def test_a_null_cannot_be_merged(runner: InlineRunner) -> None:
    flow = run(planned(value(1, None), value(2, {"a": 1}), gate(3, 1, 2, merge=True)), runner)
    assert flow.failed_task
    assert flow.failed_task.error.startswith("the output of task 1 is not an object")


def test_subflows_gather_by_themselves(runner: InlineRunner) -> None:
    """``{ {A B} {C D} } → E``: a list of two lists."""
    inner = [gives(2, 1, 1), gives(3, 2, 1), gate(4, 2, 3), gives(6, 3, 5), gives(7, 4, 5), gate(8, 6, 7)]
    flow = run(planned(gate(0), gate(1, 0), gate(5, 0), *inner, gate(9, 4, 8), echo(10, 9)), runner)
    assert flow.output == [[1, 2], [3, 4]]


def test_hundreds_of_gates_in_a_row(runner: InlineRunner) -> None:
    flow = planned(*(gate(seq, *([seq - 1] if seq else [])) for seq in range(400)), input={"deep": True})
    flow.refresh_from_db()
    assert (flow.status, flow.output) == (FINISH, {"deep": True})


@pytest.mark.parametrize("duty", [complete_parked, lambda: propagation.complete_all_parked()])
def test_a_gate_that_the_process_did_not_complete_is_completed_by_the_watcher(runner: InlineRunner, duty: Any) -> None:
    flow = planned(echo(1), gate(2, 1), echo(3, 2), gate(4, 3), input=7)
    for seq in (1, 3):
        assert Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))
        assert Task.objects.finish(Success(ref=TaskRef(flow.pk, seq), attempt=1, output="7"))  # and the process dies
        check(flow)
        assert status(flow, seq + 1) is Status.WAIT
        assert duty() == 1
        assert status(flow, seq + 1) is FINISH
        check(flow)
    assert duty() == 0
    assert (engine.get_flow(flow.pk).status, engine.get_flow(flow.pk).output) == (FINISH, 7)


def test_roots_of_a_process_that_died_are_completed_by_the_watcher(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[engine.register.__module__], "complete_all_parked", lambda flow_id: 0)
        flow = planned(gate(0), value(1, 2), echo(2, 0, 1), input=1)
    assert set(statuses(flow).values()) == {Status.WAIT}
    assert complete_parked() == 2
    assert run(flow, runner).output == [1, 2]


def test_completing_twice_does_nothing(runner: InlineRunner) -> None:
    flow = planned(gate(0), echo(1, 0))
    assert propagation.complete_parked(TaskRef(flow.pk, 1)) is None
    assert propagation.complete_parked(TaskRef(flow.pk, 2)) is None
    check(flow)


def test_a_gate_is_neither_claimed_sent_nor_woken(runner: InlineRunner) -> None:
    flow = planned(echo(1), gate(2, 1), echo(3, 2))
    assert Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1)) is None
    Task.objects.at(TaskRef(flow.pk, 1)).update(dependents=[])
    Task.objects.at(TaskRef(flow.pk, 2)).update(pending=0)
    assert Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1)) is None
    for output in (None, {"x": 1}):
        with pytest.raises(StateConflictError, match="not parked"):
            engine.wake(flow.pk, 2, output=output)
    assert not Task.objects.filter(task_flow=flow, task_exec_seq=2).startable().exists()


def test_a_gate_is_not_shown_as_parked(runner: InlineRunner) -> None:
    flow = planned(echo(1), gate(2, 1))
    row = tasks.whole_task(flow.pk, 2)
    assert (row.parked, tasks.is_parked(row), tasks.note(row)) == (True, False, "")
    assert wait_reasons([row]) == {row.pk: "for 1 of the tasks before it"}
    Task.objects.at(row.ref).update(pending=0)
    row = tasks.whole_task(flow.pk, 2)
    assert wait_reasons([row]) == {row.pk: "for its input to be passed on"}


def test_gates_never_travel_with_other_tasks(runner: InlineRunner) -> None:
    flow = planned(echo(1), gate(2, 1), echo(3, 2), echo(4, 3), gate(5, 4), echo(6, 0 + 2), gate(7, 5, 6))
    carried = {row.task_exec_seq: row.canvas for row in flow.tasks.all() if row.canvas}
    assert {seq: [call["seq"] for call in canvas["then"]] for seq, canvas in carried.items()} == {3: [4]}
    assert all(canvas["join"] is None for canvas in carried.values())


def test_what_cannot_be_merged_fails_the_gate_until_it_is_repaired(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, {"a": 1}), gives(2, [2]), gate(3, 1, 2, merge=True), echo(4, 3)), runner)
    assert (flow.status, flow.failed_seq) == (Status.SUSPEND, 3)
    failed = flow.failed_task
    assert failed is not None
    assert failed.error.startswith("the output of task 2 is not an object, so it cannot be merged")
    assert verbs(flow) == ["fail"]
    engine.rerun(flow.pk)
    check(flow)
    assert status(flow) is Status.SUSPEND
    engine.rerun(flow.pk, from_seq=2, parameters={2: {"value": {"b": 2}}})
    flow = run(flow, runner)
    assert (flow.status, flow.output, flow.failed_seq) == (FINISH, {"a": 1, "b": 2}, None)


def test_a_failed_gate_can_be_skipped(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, {"a": 1}), gives(2, [2]), gate(3, 1, 2, merge=True), echo(4, 3)), runner)
    engine.skip(flow.pk, 3)
    flow = run(flow, runner)
    assert (flow.status, flow.output) == (FINISH, [{"a": 1}, [2]])


def test_an_output_over_the_limit_fails_the_gate(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, "x" * 600_000), gives(2, "y" * 600_000), gate(3, 1, 2)), runner)
    assert "FLOWER['MAX_JSON_BYTES']" in task(flow, 3).error


def test_a_rerun_completes_the_gates_anew(runner: InlineRunner) -> None:
    flow = run(planned(gate(0), gives(1, 1, 0), gate(2, 1), echo(3, 2), gate(4, 3)), runner)
    engine.rerun(flow.pk, from_seq=2, parameters={2: {"value": 5}})
    assert task(flow, 3).parked
    check(flow)
    flow = run(flow, runner)
    assert (flow.status, flow.output) == (FINISH, 5)
    engine.rerun(flow.pk, all_tasks=True)
    check(flow)
    assert status(flow, 1) is FINISH, "it is ready at once"
    flow = run(flow, runner)
    assert (flow.status, flow.output) == (FINISH, 5)


def test_a_rerun_from_the_last_gate(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, 1), gate(2, 1)), runner)
    engine.rerun(flow.pk, from_seq=2)
    flow.refresh_from_db()
    assert (flow.status, flow.output, task(flow, 2).run) == (FINISH, 1, 2)


def test_verbs_on_a_flow_with_gates(runner: InlineRunner) -> None:
    flow = planned(gate(0), echo(1, 0), gate(2, 1), echo(3, 2), input=3)
    engine.suspend(flow.pk)
    engine.skip(flow.pk, 3)
    check(flow)
    engine.resume(flow.pk)
    check(flow)
    flow = run(flow, runner)
    assert (flow.status, flow.output) == (FINISH, 3)
    other = planned(gate(0), echo(1, 0), gate(2, 1))
    engine.cancel(other.pk)
    check(other)
    assert not any(row.parked for row in other.tasks.all())
    engine.rerun(other.pk, all_tasks=True)
    assert run(other, runner).status is FINISH


def test_a_task_that_ends_in_a_held_flow_completes_the_gate_after_it(runner: InlineRunner) -> None:
    flow = planned(echo(1), gate(2, 1), echo(3, 2))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    engine.suspend(flow.pk)
    attempts.perform(claim)
    check(flow)
    assert statuses(flow) == {1: FINISH, 2: FINISH, 3: Status.WAIT}
    assert status(flow) is Status.SUSPEND
    engine.resume(flow.pk)
    assert run(flow, runner).status is FINISH


@pytest.mark.parametrize("column", [{"task_priority": 3}, {"queue": "other"}])
def test_a_change_leaves_a_gate_a_gate(runner: InlineRunner, column: dict[str, Any]) -> None:
    flow = planned(echo(1), gate(2, 1))
    engine.change(flow.pk, 2, priority=column.get("task_priority"), queue=column.get("queue"))
    assert task(flow, 2).parked
    assert run(flow, runner).status is FINISH


def test_the_entrance_is_a_gate_or_lies_behind_some(runner: InlineRunner) -> None:
    name = define({1: [], 2: [1], 3: [2], 4: [3]}, "Echo")
    TaskDefinition.objects.filter(task_id=name, task_seq__in=[1, 3]).update(program=GATE)
    for entrance in (1, 2, 3, 4):
        flow = run(engine.register(name, input=8, entrance=entrance), runner)
        assert (flow.status, flow.output) == (FINISH, 8)
        assert [row.ignored_by for row in flow.tasks.all()].count(IgnoredBy.ENTRANCE) == entrance - 1


def test_a_flow_that_is_not_admitted_yet(runner: InlineRunner) -> None:
    name = define({1: [], 2: [1], 3: [2]}, "Echo")
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(program=GATE)
    Workflow.objects.create(task_id=name, max_active_flows=1)
    flows = [engine.register(name, input=number) for number in (1, 2)]
    assert status(flows[1], 1) is Status.WAIT
    for _ in flows:
        runner.run()
        complete_parked()
    runner.run()
    assert [engine.get_flow(flow.pk).output for flow in flows] == [1, 2]


def test_refresh_makes_a_gate_of_a_task_and_the_other_way_round(runner: InlineRunner) -> None:
    name = define({1: [], 2: [1]}, "Echo")
    flow = run(engine.register(name, input=1), runner)
    for program in (GATE, "Echo", GATE):
        TaskDefinition.objects.filter(task_id=name, task_seq=1).update(program=program)
        engine.rerun(flow.pk, all_tasks=True, refresh=True)
        flow = run(flow, runner)
        assert (flow.status, flow.output, task(flow, 1).program) == (FINISH, 1, program)


def test_inserted_rows_of_gates_are_adopted(runner: InlineRunner) -> None:
    name = define({1: [], 2: [1], 3: [2]}, "Noop")
    TaskDefinition.objects.filter(task_id=name, task_seq__in=[1, 2]).update(program=GATE)
    for seq in (1, 2, 3):
        Task.objects.create(
            task_flow_id="inserted",
            task_exec_seq=seq,
            depends_task_exec_seq=seq - 1,
            task_id=name,
            task_seq=seq,
            queue="",
        )
    assert adoption.adopt() == 3
    flow = engine.get_flow("inserted")
    assert status(flow, 2) is FINISH
    assert run(flow, runner).status is FINISH


def test_hooks_know_no_gates_but_the_end_of_the_flow(runner: InlineRunner, listener: Listener) -> None:
    run(planned(gate(0), Node(seq=1, program="Noop", depends_on=(0,)), gate(2, 1)), runner)
    assert listener.received == [
        ("start_flow", None),
        ("task_start", 2),
        ("task_over", 2),
        ("task_all_over", 2),
        ("all_over", None),
    ]
    listener.events.clear()
    planned(gate(0))
    assert listener.received == [("all_over", None)]


@pytest.mark.parametrize("option", ["pool", "child_program"])
def test_a_gate_takes_no_slot_and_no_children(option: str) -> None:
    with pytest.raises(InvalidPlanError, match=f"so it needs no {option}"):
        Plan("w", (gate(1, **{option: "Echo"}),)).check()


@pytest.mark.parametrize("nodes", [(gate(1, end=7),), (gate(1, end=2), echo(2, 1)), (echo(1, end=2), gate(2, 1))])
def test_the_end_of_a_subflow_is_a_gate(nodes: Sequence[Node]) -> None:
    with pytest.raises(InvalidPlanError, match="a subflow begins and ends with a step of flow:gate"):
        Plan("w", tuple(nodes)).check()


def test_typed_values_of_celery_tasks_pass_a_gate_as_they_are(runner: InlineRunner) -> None:
    date = {"__type__": "date", "__value__": "2026-01-31"}
    flow = run(planned(gives(1, date), gate(2, 1, when='input == "2026-01-31"'), echo(3, 2)), runner)
    assert Task.objects.outputs(flow.pk, [2], typed=True) == {2: date}
    assert (task(flow, 2).output, flow.output) == ("2026-01-31", "2026-01-31")


# Conditions of gates, and of subflows.


def skipped(flow: Flow) -> set[int]:
    """``task_seq`` of the tasks that a condition has skipped."""
    return set(flow.tasks.filter(exec_status=IGNORE, ignored_by="condition").values_list("task_seq", flat=True))


@pytest.mark.parametrize(("number", "expected"), [(2, set()), (1, {1, 2})])
def test_a_gate_and_a_value_with_conditions(runner: InlineRunner, number: int, expected: set[int]) -> None:
    nodes = gate(1, 0, when="input > 1"), value(2, "two", 0, when="input > 1"), echo(3, 1, 2)
    flow = run(planned(gate(0), *nodes, input=number), runner)
    assert skipped(flow) == expected
    assert flow.output == ([2, "two"] if number == 2 else [1, 1])


def test_a_skipped_gate_after_several_keeps_what_it_gathered(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, [1]), gives(2, 2), gate(3, 1, 2, when="false"), gives(4, 5), echo(5, 3, 4)), runner)
    assert flow.output == [[[1], 2], 5]


def test_a_condition_of_a_gate_that_cannot_be_decided_fails_it(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, 1), gate(2, 1, when="input"), gate(3, 2)), runner)
    assert task(flow, 2).error.startswith("its condition cannot be decided: line 1, column 1")
    assert flow.status is Status.SUSPEND


SUBFLOW = (
    gate(2, 1, end=7, when="input.go"),
    echo(3, 2),
    gives(4, [4], 3),
    value(5, "five", 2),
    echo(6, 2, 5),
    gate(7, 4, 6),
)
"""``1 → ? `input.go` { 3 → 4; <5> → 6 } → 8``."""


@pytest.mark.parametrize("go", [True, False])
def test_a_condition_of_a_subflow_holds_for_the_whole(runner: InlineRunner, go: bool) -> None:
    data = {"go": go}
    flow = run(planned(gives(1, data), *SUBFLOW, echo(8, 7)), runner)
    assert flow.status is FINISH
    assert skipped(flow) == (set() if go else {2, 3, 4, 5, 6, 7})
    assert flow.output == ([[4], [data, "five"]] if go else data)
    if not go:
        notes = {row.task_seq: tasks.note(row) for row in tasks.shown_tasks(flow.pk)}
        assert notes[2] == "its condition input.go is false"
        assert {notes[seq] for seq in (3, 4, 5, 6, 7)} == {"the condition of its subflow is false"}


def test_a_skipped_subflow_is_the_end_of_the_flow(runner: InlineRunner, listener: Listener) -> None:
    flow = run(planned(gives(1, {"go": False}), *SUBFLOW), runner)
    assert (flow.status, flow.output) == (FINISH, {"go": False})
    assert listener.received[-1] == ("all_over", None)


def test_a_skipped_subflow_after_several_passes_on_what_was_gathered(runner: InlineRunner) -> None:
    nodes = gives(1, [1]), gives(2, 2), gate(3, 1, 2, end=5, when="len(input) > 2"), echo(4, 3), gate(5, 4)
    flow = run(planned(*nodes, gives(6, 6), echo(7, 5, 6)), runner)
    assert skipped(flow) == {3, 4, 5}
    assert flow.output == [[[1], 2], 6]


def test_the_condition_of_a_subflow_sees_the_merged_input(runner: InlineRunner) -> None:
    nodes = (
        gives(1, {"a": 1}),
        gives(2, {"b": 2}),
        gate(3, 1, 2, end=5, merge=True, when="input.b > 2"),
        echo(4, 3),
        gate(5, 4),
    )
    flow = run(planned(*nodes, echo(6, 5)), runner)
    assert flow.output == {"a": 1, "b": 2}


NESTED = (
    gate(2, 1, end=9, when="input.outer"),
    echo(3, 2),
    gate(4, 2, end=6, when="input.inner"),
    echo(5, 4),
    gate(6, 5),
    gives(8, "eight", 6),
    gate(9, 3, 8),
)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (True, True, set()),
        (True, False, {4, 5, 6}),
        (False, True, {2, 3, 4, 5, 6, 8, 9}),
        (False, False, {2, 3, 4, 5, 6, 8, 9}),
    ],
)
def test_nested_subflows(runner: InlineRunner, outer: bool, inner: bool, expected: set[int]) -> None:
    data = {"outer": outer, "inner": inner}
    flow = run(planned(gives(1, data), *NESTED, echo(10, 9)), runner)
    assert (flow.status, skipped(flow)) == (FINISH, expected)
    assert flow.output == ([data, "eight"] if outer else data)


def test_a_skipped_subflow_is_rerun(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, {"go": False}), *SUBFLOW, echo(8, 7)), runner)
    first = flow.tasks.get(task_seq=1).task_exec_seq
    engine.rerun(flow.pk, from_seq=first, parameters={first: {"value": {"go": True}}})
    flow = run(flow, runner)
    assert (flow.status, skipped(flow), flow.output) == (FINISH, set(), [[4], [{"go": True}, "five"]])
    engine.rerun(flow.pk, from_seq=first, parameters={first: {"value": {"go": False}}})
    flow = run(flow, runner)
    assert (flow.status, skipped(flow), flow.output) == (FINISH, {2, 3, 4, 5, 6, 7}, {"go": False})


def test_a_step_in_a_skipped_subflow_can_be_run_after_all(runner: InlineRunner) -> None:
    flow = run(planned(gives(1, {"go": False}), *SUBFLOW, echo(8, 7)), runner)
    inner = flow.tasks.get(task_seq=3).task_exec_seq
    engine.rerun(flow.pk, from_seq=inner)
    flow = run(flow, runner)
    assert (flow.status, skipped(flow)) == (FINISH, {2, 5, 6})


def test_a_step_that_was_skipped_before_its_subflow_stays_skipped_by_hand(runner: InlineRunner) -> None:
    flow = planned(gives(1, {"go": False}), *SUBFLOW, echo(8, 7))
    inner = flow.tasks.get(task_seq=3).task_exec_seq
    engine.skip(flow.pk, inner)
    flow = run(flow, runner)
    assert task(flow, inner).ignored_by == IgnoredBy.SKIP
    assert (flow.status, flow.output) == (FINISH, {"go": False})


def test_a_skipped_subflow_releases_other_branches_at_once(runner: InlineRunner) -> None:
    """Gates that follow it are completed in the same pass."""
    nodes = gate(2, 1, end=4, when="false"), echo(3, 2), gate(4, 3), gate(5, 4), value(6, 6, 5), echo(7, 6), echo(8, 5)
    flow = planned(gives(1, 1), *nodes)
    runner.step()
    check(flow)
    assert [row.task_seq for row in flow.tasks.filter(exec_status=FINISH)] == [1, 5, 6]
    assert run(flow, runner).output == [6, 1]


def test_a_subflow_is_skipped_by_the_watcher_too(runner: InlineRunner) -> None:
    flow = planned(gives(1, {"go": False}), *SUBFLOW, echo(8, 7))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert Task.objects.finish(Success(ref=TaskRef(flow.pk, 1), attempt=1, output='{"go": false}'))
    assert complete_parked() == 1
    check(flow)
    assert run(flow, runner).output == {"go": False}


def test_pages_show_gates(runner: InlineRunner) -> None:
    flow = planned(gate(0), echo(1, 0))
    row = tasks.whole_task(flow.pk, 1)
    assert (row.title, tasks.program_text(row)) == ("1 flow:gate", "flow:gate")


# What it costs.


def statements(runner: InlineRunner, *nodes: Node) -> int:
    """Statements of the attempt of the first task, and of what follows it."""
    flow = planned(*nodes, input={"in": 1})
    with CaptureQueriesContext(connection) as queries:
        attempts.run(TaskRef(flow.pk, 1), "w")
    runner.waiting.clear()
    return len([query for query in queries if not query["sql"].startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))])


def test_statements_and_messages_of_a_gate(runner: InlineRunner) -> None:
    task_alone = statements(runner, Node(seq=1, program="Noop"), Node(seq=9, program="Noop", depends_on=(1,)))
    runner.sent.clear()
    gates = [gate(seq, seq - 1) for seq in range(2, 9)]
    with_gates = statements(runner, Node(seq=1, program="Noop"), *gates, Node(seq=9, program="Noop", depends_on=(8,)))
    per_gate = (with_gates - task_alone) / len(gates)
    print(f"{connection.vendor}: {per_gate} statements for each gate")  # noqa: T201
    assert per_gate <= 10
    assert [message.head.seq for message in runner.sent] == [1]


def test_the_watcher_finds_what_is_ready_by_indexes(runner: InlineRunner) -> None:
    """However many tasks wait, and however many other systems have parked."""
    flow = planned(*(echo(seq) for seq in range(1, 2001)), *(gate(seq, seq - 2000) for seq in range(2001, 4001)))
    Task.objects.filter(task_flow=flow, task_exec_seq__lte=1000).update(parked=True)
    Task.objects.at(TaskRef(flow.pk, 2500)).update(pending=0)
    analyze("kr_task_stat", "kr_task_flow")
    for waiting in (Task.objects.completable_parents(), Task.objects.completable_gates()):
        assert rows_read(partial(list, waiting.values_list("pk")), "kr_task_stat") <= 10
