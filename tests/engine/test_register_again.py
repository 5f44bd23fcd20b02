"""A workflow that the process has read before: one statement, which sees every change of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core import programs
from flowerapp.engine import MayOverride
from flowerapp.exceptions import FlowerError, InvalidPlanError, UnknownWorkflowError
from flowerapp.models import Flow, Task, TaskDefinition, Workflow
from flowerapp.registry import Program
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import CHAIN, DIAMOND, check, define, status

pytestmark = pytest.mark.django_db(transaction=True)


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def statements(call: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        call()
    return len(queries)


def rows(flow: Flow) -> list[tuple[Any, ...]]:
    columns = ("task_seq", "program", "task_priority", "parameters", "depends_on", "max_retries", "canvas", "queue")
    return list(flow.tasks.order_by("task_exec_seq").values_list(*columns))


REQUESTS: list[dict[str, Any]] = [
    {},
    {"input": {"a": 1}},
    {"priority": 5},
    {"entrance": 2},
    {"parameters": {2: {"value": 1}}},
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_one_statement_writes_the_same(runner: InlineRunner, request_: dict[str, Any]) -> None:
    name = define(DIAMOND, "Return")
    first = engine.register(name, **request_)
    number = statements(lambda: engine.register(name, **request_))
    assert number == 1 or connection.vendor == "sqlite"
    second = Flow.objects.get(pk=Flow.objects.order_by("-task_flow_id")[0].pk)
    assert first.pk != second.pk
    check(second)
    assert rows(first) == rows(second)
    assert (first.open_sinks, first.task_priority, first.input) == (
        second.open_sinks,
        second.task_priority,
        second.input,
    )
    assert len(runner.sent) == 2
    runner.run()
    assert status(second) is Status.FINISH


Change = Callable[[str], object]
CHANGES: dict[str, tuple[Change, Callable[[Flow], bool]]] = {
    "a parameter": (
        lambda name: sql("UPDATE ms_task_definition SET param1_key = 'value', param1_value = 'x' WHERE task_seq = 2"),
        lambda flow: flow.tasks.get(task_seq=2).parameters == {"value": "x"},
    ),
    "a priority": (
        lambda name: sql("UPDATE ms_task_definition SET task_priority = 3 WHERE task_id = %s", name),
        lambda flow: {task.task_priority for task in flow.tasks.all()} == {3},
    ),
    "a dependency": (
        lambda name: TaskDefinition.objects.filter(task_id=name, task_seq=3).update(depends_on=[]),
        lambda flow: flow.tasks.get(task_seq=3).pending == 0,
    ),
    "a new step": (
        lambda name: define({4: None}, "Return", name),
        lambda flow: flow.tasks.count() == 4,
    ),
    "a step less": (
        lambda name: sql("DELETE FROM ms_task_definition WHERE task_id = %s AND task_seq = 3", name),
        lambda flow: flow.tasks.count() == 2,
    ),
    "a limit": (
        lambda name: sql("INSERT INTO ms_workflow (task_id, max_active_flows) VALUES (%s, 1)", name),
        lambda flow: flow.limited,
    ),
    "an entrance": (
        lambda name: Workflow.objects.create(task_id=name, entrance=3),
        lambda flow: flow.tasks.filter(exec_status=Status.IGNORE).count() == 2,
    ),
    "all rows written anew": (
        lambda name: engine.define(name, [TaskDefinition(task_id=name, task_seq=9, program="Noop")]),
        lambda flow: [task.program for task in flow.tasks.all()] == ["Noop"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("within", [False, True])
def test_a_change_is_seen_at_once(runner: InlineRunner, change: str, within: bool) -> None:
    name = define(CHAIN, "Return")
    engine.register(name)
    engine.register(name)
    act, is_seen = CHANGES[change]
    if within:
        with transaction.atomic():
            act(name)
            flow = engine.register(name)
    else:
        act(name)
        flow = engine.register(name)
    assert is_seen(Flow.objects.get(pk=flow.pk))
    assert Flow.objects.count() == 3
    assert Task.objects.filter(task_flow__in=[flow.pk]).count() == flow.tasks.count()
    assert len({message.flow_id for message in runner.sent}) == 3 - (flow.limited and not flow.admitted) * 1


def test_a_workflow_that_becomes_unique(runner: InlineRunner) -> None:
    name = define(CHAIN)
    first = engine.register(name)
    Workflow.objects.create(task_id=name, unique=True)
    assert engine.register(name).pk == first.pk
    Workflow.objects.filter(pk=name).update(unique=False)
    assert engine.register(name).created


def test_a_workflow_that_is_gone(runner: InlineRunner) -> None:
    name = define(CHAIN)
    engine.register(name)
    sql("DELETE FROM ms_task_definition WHERE task_id = %s", name)
    with pytest.raises(UnknownWorkflowError):
        engine.register(name)
    assert Flow.objects.count() == 1


def test_a_refusal_is_by_the_rows_as_they_are(runner: InlineRunner) -> None:
    name = define({1: []}, "Return", parameters={"value": {"password": "x"}})

    def override() -> Flow:
        return engine.register(name, parameters={1: {"value": 1}}, may_override=MayOverride.NONE)

    with pytest.raises(InvalidPlanError, match="masked values"):
        override()
    TaskDefinition.objects.filter(task_id=name).update(parameters={"value": 2})
    assert override().created
    TaskDefinition.objects.filter(task_id=name).update(parameters={"value": {"password": "y"}})
    with pytest.raises(InvalidPlanError, match="masked values"):
        override()
    sql("UPDATE ms_task_definition SET program = 'Nope' WHERE task_id = %s", name)
    with pytest.raises(InvalidPlanError, match="Nope"):
        engine.register(name)
    sql("UPDATE ms_task_definition SET program = 'Return' WHERE task_id = %s", name)
    assert engine.register(name).created
    assert Flow.objects.count() == 2


def test_a_program_that_changes(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def first() -> None: ...

    def second(needed: int) -> None: ...

    monkeypatch.setitem(programs._programs, "Own", Program(name="Own", function=first, queue="a"))
    name = define({1: []}, "Own")
    engine.register(name)
    assert engine.register(name).tasks.get().queue == "a"
    monkeypatch.setitem(programs._programs, "Own", Program(name="Own", function=first, queue="b"))
    assert engine.register(name).tasks.get().queue == "b"
    monkeypatch.setitem(programs._programs, "Own", Program(name="Own", function=second))
    with pytest.raises(InvalidPlanError, match="needed"):
        engine.register(name)
    monkeypatch.delitem(programs._programs, "Own")
    with pytest.raises(FlowerError, match="Own"):
        engine.register(name)


def test_a_setting_that_changes(runner: InlineRunner, settings: Any) -> None:
    name = define(CHAIN)
    engine.register(name)
    with override_settings(FLOWER={**settings.FLOWER, "CHAIN_LENGTH": 1}):
        assert engine.register(name).tasks.get(task_exec_seq=1).canvas is None
    with override_settings(FLOWER={**settings.FLOWER, "MAX_TASKS": 2}), pytest.raises(InvalidPlanError, match="limit"):
        engine.register(name)
    assert engine.register(name).tasks.get(task_exec_seq=1).canvas


def test_a_pool_that_is_deleted(runner: InlineRunner) -> None:
    engine.set_pool("gpu", 1)
    name = define({1: []}, pool="gpu")
    engine.register(name)
    sql("DELETE FROM ms_pool WHERE name = 'gpu'")
    with pytest.raises(InvalidPlanError, match="no pool"):
        engine.register(name)


def test_priorities_and_entrances_are_not_mixed_up(runner: InlineRunner) -> None:
    name = define(CHAIN)
    for priority in [*range(-3, 4), *range(3, -4, -1)]:
        for entrance in (None, 2, 3):
            flow = engine.register(name, priority=priority, entrance=entrance)
            assert {task.task_priority for task in flow.tasks.all()} == {priority}
            assert flow.tasks.filter(exec_status=Status.IGNORE).count() == (entrance or 1) - 1
