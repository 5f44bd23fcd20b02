"""What a text does when it runs: every rule of data, on the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.plan import Node, Plan
from flowerapp.exceptions import InvalidPlanError, StateConflictError
from flowerapp.models import Flow, Pool, Task
from flowerapp.registry import Context, program
from flowerapp.selectors import flows, tasks
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from flowerapp.workflows import arrow, rows
from tests.engine.support import check
from tests.workflows.arrow.support import run

pytestmark = pytest.mark.django_db(transaction=True)


@program("Give")
def give(ctx: Context, value: Any = None) -> Any:
    """The parameter, or else the input."""
    return ctx.input if value is None else value


@program("Add")
def add(ctx: Context, by: int = 1, times: int = 1) -> Any:
    """A number and more."""
    return ctx.input + by * times


@program("Quote")
def quote(ctx: Context, name: str) -> str:
    """The name with what reached it: ``B(A(s))``."""
    inputs = ctx.input if isinstance(ctx.input, list) else [ctx.input]
    return f"{name}({','.join(map(str, inputs))})"


@program("Nothing")
def nothing() -> None:
    """No output."""


@program("Pair")
def pair() -> tuple[int, int]:
    """A tuple."""
    return 1, 2


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    with inline() as runner:
        yield runner


def give_text(value: str) -> str:
    """A task that gives a value."""
    return f'Give({{"value": {value}}})'


QUOTED = "\n".join(f"@task {name} = Quote (- name: {name} -)" for name in "ABCDEF")
"""Declares the tasks A to F, which say what reached them."""
LOOP = ":a A → ? `len(input) < {}` B → :a"


@pytest.mark.parametrize(
    ("text", "output"),
    [
        # statements: section 3, 1 to 3
        ("A", "A(s)"),
        ("A->B", "B(A(s))"),
        ("A B C", ["A(s)", "B(s)", "C(s)"]),
        ("A → C\nB → C", ["C(A(s))", "C(B(s))"]),
        # labels: section 3, 4 and 5
        ("A :x → B → C; :x → D", ["C(B(A(s)))", "D(A(s))"]),
        ("A :x → B → C → :x D", "D(A(s),C(B(A(s))))"),
        ("A → :x; B → :x; :x C", "C(s,A(s),B(s))"),
        ("A → :x C; B → :x", "C(A(s),B(s))"),
        (":x → A → B → C\nD → :x", "C(B(A(D(s))))"),
        (":m → D; A → :m; B → :m", "D(A(s),B(s))"),
        ("A → :m; B → :m; :m → D", "D(A(s),B(s))"),
        ("B → :m; A → :m; :m → D", "D(B(s),A(s))"),
        ("A :x", "A(s)"),
        (":x A", "A(s)"),
        ("A :x → :x B", "B(A(s))"),
        (":start → A → :end", "A(s)"),
        # subflows and lists: section 3, 6 and 7
        ("A → { B → C\n D } → E", "E(C(B(A(s))),D(A(s)))"),
        ("{A} :x → B; :x → C", ["B(A(s))", "C(A(s))"]),
        ("A :x → { B :x → C; :x → D } → E; :x → F", ["E(C(B(A(s))),D(B(A(s))))", "F(A(s))"]),
        ("{{A B} C} → D", "D(['A(s)', 'B(s)'],C(s))"),
        ("A|B|C → D", "D(A(s),B(s),C(s))"),
        ("{A B C} → D", "D(A(s),B(s),C(s))"),
        ("D → A|B|C", ["A(D(s))", "B(D(s))", "C(D(s))"]),
        ("D → {A B C}", ["A(D(s))", "B(D(s))", "C(D(s))"]),
        # guards: section 3, 9
        ("A → ? `$.no` B → C", "C(A(s))"),
        ("A → ? `$` B → C", "C(B(A(s)))"),
        ("A → ? `$.no` B|C → D", "D(A(s))"),
        ('A → ? `input == "A(s)"` B|C → D', "D(B(A(s)),C(A(s)))"),
        ("A → ? `$.no` { B → C; { D } } → E", "E(A(s))"),
        ("A → ? `$.no` B :x → C; :x → D", ["C(A(s))", "D(A(s))"]),
        # declarations and loops: section 3, 14 and 15
        ("X → C → X @task X { A → B }", "B(A(C(B(A(s)))))"),
        ("@task X { A B } @task Y = X Y → C", "C(A(s),B(s))"),
        ("A → ? `$.no` X → C @task X { A → B }", "C(A(s))"),
        (f"@flow f (- max_rounds: 3 -) {LOOP.format(9)}", "A(B(A(s)))"),
        (f"@flow f (- max_rounds: 3 -) {LOOP.format(99)}", "A(B(A(B(A(s)))))"),
        (f"@flow f (- max_rounds: 3 -) {LOOP.format(1)}", "A(s)"),
        ("@flow f (- max_rounds: 2 -) :a A :r → ? `$` B → :a; :r → C", "C(A(B(A(s))))"),
    ],
)
def test_data_take_the_way_that_the_text_says(runner: InlineRunner, text: str, output: Any) -> None:
    flow = run(runner, f"{QUOTED};\n{text}", "s")
    assert (flow.status, flow.output) == (Status.FINISH, output)
    check(flow)


AB, B = give_text('{"a": 1, "b": 1}'), give_text('{"b": 2}')
ONE, TWO, THREE = give_text("1"), give_text("2"), give_text("3")
PASSED = f"Give → ? `$[?(@.status=0)]` {{ {ONE} → Give }} → Give"


@pytest.mark.parametrize(
    ("text", "input", "output"),
    [
        ("Give → Give", {"a": 1}, {"a": 1}),
        ("Give", None, {}),
        (f"{{ {ONE} {TWO} }} → Give", None, [1, 2]),
        (f"{ONE} | {TWO} → Give", None, [1, 2]),
        (f"{{ {give_text('[1, 2]')} {give_text('{}')} {give_text('[3]')} }} → Give", None, [[1, 2], [3]]),
        (f"{{ {give_text('{}')} {give_text('{}')} }} → Give", None, {}),
        (f"{{ {give_text('{}')} {give_text('5')} }} → Give", None, 5),
        (f"{{ {{ {ONE} {TWO} }} {THREE} }} → Give", None, [[1, 2], 3]),
        ("Nothing → Give", None, {}),
        ("Nothing | Give → Give", 5, 5),
        ("Pair → Give", None, [1, 2]),
        (f"{{ Pair {AB} }} → Give", None, [[1, 2], {"a": 1, "b": 1}]),
        (f"{{ {AB} {AB} }} → Give", None, [{"a": 1, "b": 1}] * 2),
        (f"{{ {give_text('[]')} {give_text('0')} {give_text('{}')} }} → Give", None, [[], 0]),
        (f"{{ {AB} {B} }} → > Give", None, {"a": 1, "b": 2}),
        (f"{{ {B} {AB} }} → > Give", None, {"a": 1, "b": 1}),
        (f"{AB} → > Give", None, {"a": 1, "b": 1}),
        (f"{AB} → > :x; {B} → :x; :x → Give", None, {"a": 1, "b": 2}),
        (f"{{ {AB} → > :end; {B} }} → Give", None, {"a": 1, "b": 2}),
        (f"{{ {AB} {B} }} → > {{ Give }} → Give", None, {"a": 1, "b": 2}),
        (f"{{ {AB} {B} }} → > ? `$[?(@.b=2)]` {ONE}", None, 1),
        (f"{{ {AB} {B} }} → > ? `$[?(@.b=1)]` {ONE}", None, {"a": 1, "b": 2}),
        ("<- 1 -> → plus(- times: 3 -) @task plus = Add (- by: 2 -)", None, 7),
        ("<- 1 -> → plus @task plus = Add (- {by: 2, times: 3} -)", None, 7),
        ("<- 1 -> → plus([2, 3]) @task plus = Add ([5])", None, 7),
        ("<- 1 -> → Add(- 4 -)", None, 5),
        (f"{AB} → > :end; {B} → > :end", None, {"a": 1, "b": 2}),
        ('<{"a": [1]}> → Give', None, {"a": [1]}),
        ('<[1, 2]> → * Add({"by": 10}) → Give', None, [11, 12]),
        ("<[]> → * Add → Give", None, []),
        ("<- 3 -> → Add([4, 2])", None, 11),
        (PASSED, {"status": 0}, 1),
        (PASSED, {"status": 1}, {"status": 1}),
        (f"? `input.n > 1` {ONE}", {"n": 2}, 1),
        (f"? `input.n > 1` {ONE}", {"n": 1}, {"n": 1}),
        (f"{ONE} → :x; :x Give", {"n": 1}, [{"n": 1}, 1]),
        (f":p → Give → :z; {TWO} → :z; {give_text('5')} → :p; :z → Give", None, [5, 2]),
        (f":p → Give → > :z; {B} → > :z; {AB} → :p; :z → Give", None, {"a": 1, "b": 2}),
        (f":p → Give; {TWO}; {give_text('5')} → :p", None, [5, 2]),
        (f":p → ? `false` Give → :z; {TWO} → :z; {{ {give_text('5')} }} → :p; :z → ? `false` Give", None, [5, 2]),
        ("Give Give", {"n": 1}, [{"n": 1}, {"n": 1}]),
    ],
)
def test_data(runner: InlineRunner, text: str, input: Any, output: Any) -> None:
    flow = run(runner, text, input)
    assert (flow.status, flow.output) == (Status.FINISH, output)
    check(flow)


def test_an_explicit_null_is_a_value(runner: InlineRunner) -> None:
    """No output is an empty object, also that of a program that returns None; null in a text is null."""
    assert run(runner, "<- null -> → ? `input == null` { Quote(- name: A -) }").output == "A(None)"
    assert run(runner, "<- null -> → Give").output == {}
    flow = run(runner, "{ <- null -> → ? `false` Give; <- 1 -> → Give } → Quote(- name: A -)")
    assert flow.output == "A(None,1)"
    flow = run(runner, "<- null -> → ? `false` { Give }")
    assert (flow.status, flow.output, flows.output_of(flow)) == (Status.FINISH, None, None)
    assert {task.output for task in tasks.shown_tasks(flow.pk)} == {None}


def test_what_cannot_be_merged_fails_the_step(runner: InlineRunner) -> None:
    flow = run(runner, f"{{ {AB} {ONE} }} → > Give")
    assert (flow.status, flow.failed_seq) == (Status.SUSPEND, 5)
    assert flow.failed_task
    assert "item 2 of the output of task 4 is not an object, so it cannot be merged" in flow.failed_task.error


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('Give →\n Add({"no": 1})', "line 2, column 2: parameter no: Add has no such parameter"),
        ("Add([1, 2, 3])", "line 1, column 1: Add takes 2 parameters, and 3 are given"),
        ("Give → wait:forever", "line 1, column 8: there is no program 'wait:forever'"),
        ("Give → * { Give }", "line 1, column 10: * before a subflow is not possible"),
    ],
)
def test_what_a_text_cannot_mean_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(InvalidPlanError, match=re.escape(problem)):
        arrow.plan_of_text(text)


def test_a_name_that_is_not_registered_is_a_remote_task(runner: InlineRunner) -> None:
    text = "@task order = shop.order (- size: 1 -)\n order(- color: red -) → Give → send([1])"
    flow = run(runner, text, {"n": 1})
    first, second, third = flow.tasks.order_by("task_exec_seq")[:3]
    assert (first.program, first.remote, first.alias, first.parameters) == (
        "",
        "shop.order",
        "order",
        {"size": 1, "color": "red"},
    )
    assert (second.program, second.remote, third.parameters) == ("Give", "", {"arguments": [1]})
    engine.end_task(flow.pk, 1, output=[7])
    runner.run()
    engine.end_task(flow.pk, 3, output="sent")
    runner.run()
    assert engine.get_flow(flow.pk).output == "sent"


def children(flow: Flow) -> list[Task]:
    return list(flow.tasks.exclude(parent_seq=None).order_by("child_index"))


EACH_STRANGER = '<[{"n": 1}, {"n": 2}, {"n": 3}]> → * stranger(- color: red -) → Give'


def test_a_star_before_a_remote_task_gives_another_system_each_item_at_once(runner: InlineRunner) -> None:
    flow = run(runner, EACH_STRANGER)
    waiting = children(flow)
    assert [(task.remote, task.program, task.item, task.parameters) for task in waiting] == [
        ("stranger", "", {"n": number}, {"color": "red"}) for number in (1, 2, 3)
    ]
    assert all(task.awaits_answer for task in waiting)
    reasons = wait_reasons(waiting)
    assert all("no worker has answered for stranger" in reasons[task.pk] for task in waiting)
    for number, task in reversed(list(enumerate(waiting, start=1))):
        engine.end_task(flow.pk, task.task_exec_seq, output=number * 10)
    runner.run()
    flow = engine.get_flow(flow.pk)
    assert (flow.status, flow.output) == (Status.FINISH, [10, 20, 30])
    check(flow)


def test_a_failed_remote_child_fails_its_parent_and_a_rerun_asks_again(runner: InlineRunner) -> None:
    flow = run(runner, EACH_STRANGER)
    first, second, third = children(flow)
    engine.end_task(flow.pk, first.task_exec_seq, output="a")
    engine.fail_task(flow.pk, second.task_exec_seq, "out of paint")
    flow = engine.get_flow(flow.pk)
    parent = flow.tasks.get(child_program="flow:remote")
    assert (flow.status, parent.status) == (Status.SUSPEND, Status.SUSPEND)
    assert parent.error == f"child 1 (task {second.task_exec_seq}) failed: out of paint"
    assert [task.status for task in children(flow)] == [Status.FINISH, Status.SUSPEND, Status.IGNORE]
    with pytest.raises(StateConflictError, match="Cancelled already"):
        engine.end_task(flow.pk, third.task_exec_seq, output="late")
    engine.rerun(flow.pk)
    runner.run()
    for task in (second, third):
        engine.end_task(flow.pk, task.task_exec_seq, output="b")
    runner.run()
    flow = engine.get_flow(flow.pk)
    assert (flow.status, flow.output) == (Status.FINISH, ["a", "b", "b"])
    check(flow)


def test_a_tolerated_remote_child_leaves_its_parent_going(runner: InlineRunner) -> None:
    plan = arrow.plan_of_text(EACH_STRANGER)
    nodes = tuple(replace(node, exit_on_failed=node.child_program == "") for node in plan.nodes)
    flow = engine.register_plan(replace(plan, nodes=nodes), source=EACH_STRANGER)
    runner.run()
    first, *others = children(flow)
    engine.fail_task(flow.pk, first.task_exec_seq, "out of paint")
    for task in others:
        engine.end_task(flow.pk, task.task_exec_seq, output="b")
    runner.run()
    flow = engine.get_flow(flow.pk)
    assert (flow.status, flow.output) == (Status.FINISH, [None, "b", "b"])
    check(flow)


def test_a_flow_with_remote_children_is_cancelled_as_any_other(runner: InlineRunner) -> None:
    flow = run(runner, EACH_STRANGER)
    engine.cancel(flow.pk)
    assert {task.status for task in flow.tasks.all()} == {Status.FINISH, Status.IGNORE}
    check(engine.get_flow(flow.pk))


def test_the_stand_in_for_another_system_is_no_program_by_itself() -> None:
    with pytest.raises(InvalidPlanError, match="flow:remote is no program by itself"):
        Plan("x", (Node(seq=1, program="flow:each", child_program="flow:remote"),)).check()


def test_a_flow_of_a_text_is_not_refreshed_from_a_stored_workflow_of_its_name(runner: InlineRunner) -> None:
    rows.store({"task_id": "dual", "tasks": [{"task_seq": 1, "program": "Give"}]})
    flow = run(runner, "@flow dual\n <[1]> → Give")
    with pytest.raises(StateConflictError, match="is of a text and has no stored workflow; rerun it without refresh"):
        engine.rerun(flow.pk, all_tasks=True, refresh=True)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert engine.get_flow(flow.pk).output == [1]


def test_remote_children_take_no_slot_of_their_parents_pool(runner: InlineRunner) -> None:
    Pool.objects.create(name="p", slots=1)
    plan = arrow.plan_of_text(EACH_STRANGER)
    nodes = tuple(replace(node, pool="p" if node.child_program else "") for node in plan.nodes)
    flow = engine.register_plan(replace(plan, nodes=nodes), source=EACH_STRANGER)
    runner.run()
    assert [(task.pool, task.admitted, task.awaits_answer) for task in children(flow)] == [("", False, True)] * 3
    assert all(message.head.program for message in runner.sent)
    other = engine.register_plan(Plan("other", (Node(seq=1, program="Give", pool="p"),)))
    runner.run()
    assert engine.get_flow(other.pk).status is Status.FINISH


def test_changed_parameters_of_a_step_for_each_item_fit_its_program(runner: InlineRunner) -> None:
    flow = run(runner, "ask → * Add")
    parent = flow.tasks.get(child_program="Add")
    with pytest.raises(InvalidPlanError, match="Add has no such parameter"):
        engine.change(flow.pk, parent.task_exec_seq, parameters={"nope": 1})
    engine.change(flow.pk, parent.task_exec_seq, parameters={"by": 10})
    engine.end_task(flow.pk, 1, output=[1, 2])
    runner.run()
    assert engine.get_flow(flow.pk).output == [11, 12]
