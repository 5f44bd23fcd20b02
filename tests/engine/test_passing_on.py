"""Tasks that are skipped, or lie before the entrance, pass their input on without a copy of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.models import JSONField, Sum, TextField, Value
from django.db.models.functions import Cast, Length
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core import passing
from flowerapp.core.messages import TaskRef
from flowerapp.core.passing import FLOW_INPUT, Skipped
from flowerapp.engine.context import input_of
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets.lifecycle import TaskQuerySet
from flowerapp.states import IgnoredBy, Status
from flowerapp.testing import InlineRunner
from tests.engine.support import DIAMOND, Dependencies, check, define, status, task
from tests.plans import analyze, rows_read

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = "x" * 900_000


def chain(length: int) -> Dependencies:
    """Steps in a row."""
    return {seq: [seq - 1] if seq > 1 else [] for seq in range(1, length + 1)}


def diamonds(number: int) -> Dependencies:
    """Diamonds in a row: 1 forks to 2 and 3, which join in 4, which forks again."""
    steps: dict[int, list[int]] = {1: []}
    for top in range(1, 3 * number + 1, 3):
        steps |= {top + 1: [top], top + 2: [top], top + 3: [top + 1, top + 2]}
    return steps


def finish(flow: Flow, **outputs: Any) -> None:
    """Let tasks have finished with these outputs; keys are ``t`` and the seq."""
    for name, output in outputs.items():
        Task.objects.at(TaskRef(flow.pk, int(name[1:]))).update(output=output)


def stored(flow: Flow) -> int:
    """Characters of all outputs as they are stored."""
    sized = flow.tasks.annotate(size=Length(Cast("output", TextField())))
    return int(sized.aggregate(total=Sum("size"))["total"] or 0)


def ignore(flow: Flow, seqs: Sequence[int]) -> None:
    """Let tasks have been skipped."""
    Task.objects.filter(task_flow=flow, task_exec_seq__in=seqs).update(
        exec_status=Status.IGNORE, ignored_by=IgnoredBy.SKIP, finished_ts=flow.registered_ts, output=None, pending=0
    )


def test_what_lies_before_the_entrance_stores_no_copy(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(300)), input=LARGE, entrance=300)
    assert stored(flow) == 0
    assert input_of(TaskRef(flow.pk, 300)) == LARGE
    assert [task(flow, seq).output == LARGE for seq in (1, 299)] == [True, True]
    runner.run()
    assert (status(flow), flow.output) == (Status.FINISH, LARGE)


def test_what_does_not_lead_to_the_entrance_passes_nothing_on(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [], 3: [1], 4: [2, 3]}), input="in", entrance=3)
    assert [task(flow, seq).output for seq in (1, 2)] == ["in", {}]
    assert input_of(TaskRef(flow.pk, 3)) == "in"


def test_a_skip_stores_no_copy(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(4)), input=LARGE)
    for seq in (1, 2, 3):
        engine.skip(flow.pk, seq)
        check(flow)
    assert stored(flow) == 0
    assert task(flow, 3).output == LARGE
    assert input_of(TaskRef(flow.pk, 4)) == LARGE


def test_5000_skipped_tasks_are_passed_in_a_few_statements(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(5000)), input={"in": 1})
    ignore(flow, range(1, 5000))
    with CaptureQueriesContext(connection) as queries:
        assert input_of(TaskRef(flow.pk, 5000)) == {"in": 1}
    assert len(queries) <= 4
    with CaptureQueriesContext(connection) as queries:
        assert engine.get_task(flow.pk, 4999).output == {"in": 1}
    assert len(queries) <= 5


def test_an_input_costs_the_same_statements_where_no_task_was_skipped(runner: InlineRunner) -> None:
    flow = engine.register(define(DIAMOND))
    runner.run()
    with CaptureQueriesContext(connection) as queries:
        input_of(TaskRef(flow.pk, 4))
    assert len(queries) == 2


def test_diamonds_of_skipped_tasks_pass_an_output_on_once(runner: InlineRunner) -> None:
    flow = engine.register(define(diamonds(400)), input="in")
    runner.step()
    finish(flow, t1="out")
    ignore(flow, range(2, 1201))
    assert task(flow, 1200).output == "out"
    assert input_of(TaskRef(flow.pk, 1201)) == ["out", "out"], "as of two tasks that returned it"
    ignore(flow, [1201])
    assert (task(flow, 1201).output, flow.output) == ("out", "out")


A, B, C = {"a": 1}, {"b": 2}, {"c": 3}
SHAPES: dict[str, tuple[Dependencies, Sequence[int], int, Any]] = {
    "a root": ({1: [], 2: [1]}, [1], 2, "in"),
    "roots": ({1: [], 2: [], 3: [1, 2]}, [1, 2], 3, ["in", "in"]),
    "one of a diamond": (DIAMOND, [2], 4, [A, C]),
    "a fork": (DIAMOND, [1, 2], 4, ["in", C]),
    "a join": ({1: [], 2: [], 3: [1, 2], 4: [3]}, [3], 4, [A, B]),
    "a join after a skip": ({1: [], 2: [1], 3: [], 4: [2, 3], 5: [4]}, [2, 4], 5, [A, C]),
    "a join of joins": ({1: [], 2: [], 3: [1, 2], 4: [3, 1], 5: [4]}, [3, 4], 5, [A, B]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_nearest_outputs_are_passed_on(runner: InlineRunner, name: str) -> None:
    steps, skipped, seq, expected = SHAPES[name]
    flow = engine.register(define(steps), input="in")
    outputs = {1: A, 2: B, 3: C}
    for number in sorted(steps):
        if number in skipped:
            engine.skip(flow.pk, number)
        elif number != seq:
            Task.objects.at(TaskRef(flow.pk, number)).update(
                exec_status=Status.FINISH, output=outputs[number], finished_ts=flow.registered_ts
            )
    assert input_of(TaskRef(flow.pk, seq)) == expected


@pytest.mark.parametrize(("second", "expected"), [({"b": 2}, {"a": 1, "b": 2}), ([2], [{"a": 1}, [2]])])
def test_a_skipped_merge_merges_what_can_be_merged(runner: InlineRunner, second: Any, expected: Any) -> None:
    name = define({1: [], 2: [], 3: [1, 2], 4: [3], 5: [4]})
    TaskDefinition.objects.filter(task_id=name, task_seq=3).update(merge=True)
    flow = engine.register(name)
    runner.step()
    runner.step()
    finish(flow, t1=A, t2=second)
    for seq in (3, 4):
        engine.skip(flow.pk, seq)
    assert input_of(TaskRef(flow.pk, 5)) == expected


@pytest.mark.parametrize(("items", "expected"), [([A, B], {"a": 1, "b": 2}), ([A, 2], [A, 2]), ([], {})])
def test_a_skipped_merge_merges_the_items_of_one_list(runner: InlineRunner, items: Any, expected: Any) -> None:
    name = define(chain(4))
    TaskDefinition.objects.filter(task_id=name, task_seq=2).update(merge=True)
    flow = engine.register(name)
    runner.step()
    finish(flow, t1=items)
    for seq in (2, 3):
        engine.skip(flow.pk, seq)
    assert input_of(TaskRef(flow.pk, 4)) == expected


def test_the_input_of_a_task_that_was_skipped_early_is_what_came_later(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(3), "Return", param1_key="value", param1_value="out"))
    engine.skip(flow.pk, 2)
    assert task(flow, 2).output == {}
    runner.run()
    assert task(flow, 2).output == "out"


def test_copies_that_were_stored_stay_valid(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(4)), input="in", entrance=3)
    engine.skip(flow.pk, 3)
    before = dict.fromkeys((1, 2, 3), "in") | {1: "old", 3: None}
    for seq, output in before.items():
        Task.objects.at(TaskRef(flow.pk, seq)).update(output=output)
    assert [task(flow, seq).output for seq in (1, 2)] == ["old", "in"]
    assert input_of(TaskRef(flow.pk, 4)) == "in"


def test_a_stored_null_is_no_gap(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(3)), input="in")
    engine.skip(flow.pk, 2)
    Task.objects.at(TaskRef(flow.pk, 2)).update(output=Value(None, JSONField()))
    assert task(flow, 2).output is None


def test_a_rerun_of_a_skipped_task_runs_it(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(3), "Return", param1_key="value", param1_value="out"), input="in")
    engine.skip(flow.pk, 1)
    runner.run()
    engine.rerun(flow.pk, from_seq=1)
    assert task(flow, 1).output is None
    runner.run()
    assert [task(flow, seq).output for seq in (1, 2, 3)] == ["out"] * 3


def test_cancelled_tasks_pass_nothing_on(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(3)), input="in")
    engine.cancel(flow.pk)
    assert [task(flow, seq).output for seq in (1, 2, 3)] == [None] * 3


def test_a_skipped_child_passes_its_item_on(runner: InlineRunner) -> None:
    name = define({1: [], 2: [1]}, "Echo")
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(
        program="Split", child_program="Echo", param1_key="items", param1_value="[]"
    )
    flow = engine.register(name, parameters={1: {"items": [{"n": 1}, {"n": 2}]}})
    runner.step()
    children = list(flow.tasks.filter(parent_seq=1).order_by("child_index"))
    for child in children:
        engine.skip(flow.pk, child.task_exec_seq)
    assert not flow.tasks.filter(parent_seq=1, output__isnull=False).exists()
    assert [engine.get_task(flow.pk, child.task_exec_seq).output for child in children] == [{"n": 1}, {"n": 2}]
    runner.run()
    assert task(flow, 1).output == [{"n": 1}, {"n": 2}]


def test_verbs_read_no_outputs(runner: InlineRunner) -> None:
    flow = engine.register(define(chain(3), "Return", param1_key="value", param1_value="out"))
    runner.step()
    with CaptureQueriesContext(connection) as queries:
        engine.skip(flow.pk, 2)
    assert not [query["sql"] for query in queries if '"kr_task_stat"."output"' in query["sql"].partition("FROM")[0]]


def test_a_new_skip_is_found_by_key_on_postgresql(runner: InlineRunner) -> None:
    """Those that lead to one task are read, and not all of the flow."""
    flow = engine.register(define({1: [], **{seq: [1] for seq in range(2, 3001)}}), input="in")
    ignore(flow, range(1, 2500))
    analyze("kr_task_stat")
    queryset: TaskQuerySet = Task.objects.all()
    assert rows_read(lambda: queryset.skipped(flow.pk, [2])) <= 20


@pytest.mark.parametrize("merge", [False, True])
def test_origins_of_a_ladder_are_found_in_linear_time(merge: bool) -> None:
    number = 20_000
    ladder = {seq: Skipped([seq - 1, seq - 2] if seq > 1 else [FLOW_INPUT], merge, seq) for seq in range(1, number)}
    looked_at: list[int] = []

    class Counted(dict[int, Skipped]):
        def __contains__(self, seq: object) -> bool:
            looked_at.append(0)
            return super().__contains__(seq)

    assert passing.origins(number - 1, Counted(ladder)).seqs == [FLOW_INPUT, 0]
    assert len(looked_at) <= 4 * number
