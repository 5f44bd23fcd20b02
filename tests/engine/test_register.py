"""Register: what is written, what is refused, and when the same flow comes back."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from flowerapp import engine
from flowerapp.core import executor
from flowerapp.core.executor import NoExecutor
from flowerapp.core.expressions.errors import ExpressionError
from flowerapp.core.messages import TaskRef
from flowerapp.core.yaml_values import YAMLError
from flowerapp.engine.context import input_of
from flowerapp.exceptions import (
    FlowerError,
    IdempotencyConflictError,
    InvalidPlanError,
    InvalidValueError,
    UnknownWorkflowError,
)
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows.arrow import ArrowError
from tests.engine.support import CHAIN, DIAMOND, check, define, status, statuses

pytestmark = pytest.mark.django_db(transaction=True)


def rows(flow: Flow, *columns: str) -> list[Any]:
    return list(flow.tasks.order_by("task_exec_seq").values_list(*columns))


def test_the_originals_example(runner: InlineRunner) -> None:
    define({1: None}, "EchoRandomTimeSleep", "example")
    define({2: None}, "EchoParamTimeSleep", "example", param1_key="SLEEP_TIME_SECOND", param1_value="3")
    define(
        {3: None},
        "HTTPPostRequest",
        "example",
        param1_key="URL",
        param1_value="https://postman-echo.com/post",
        param2_key="BODY",
        param2_value='{"id": "test"}',
    )
    flow = engine.register("example")
    assert rows(flow, "task_exec_seq", "depends_task_exec_seq", "parameters") == [
        (1, -1, {}),
        (2, 1, {"SLEEP_TIME_SECOND": "3"}),
        (3, 2, {"URL": "https://postman-echo.com/post", "BODY": '{"id": "test"}'}),
    ]
    assert {status for (status,) in rows(flow, "exec_status")} == {Status.WAIT}
    assert status(flow) is Status.WAIT


def test_numbers_are_in_order_of_dependencies(runner: InlineRunner) -> None:
    flow = engine.register(define({50: [70], 60: [70, 50], 70: [], 80: []}))
    assert rows(flow, "task_exec_seq", "task_seq", "depends_task_exec_seq", "depends_on") == [
        (1, 70, -1, []),
        (2, 50, 1, [1]),
        (3, 60, 2, [1, 2]),
        (4, 80, -1, []),
    ]
    assert [message.head.seq for message in runner.sent] == [1, 4]


@pytest.mark.parametrize(("own", "flow", "expected"), [(0, -10, -10), (15, 10, 19), (-15, -10, -20), (-20, 19, -1)])
def test_priorities_are_added_and_clamped(runner: InlineRunner, own: int, flow: int, expected: int) -> None:
    registered = engine.register(define({1: []}, task_priority=own), priority=flow)
    assert rows(registered, "task_priority") == [(expected,)]
    assert runner.sent[0].head.priority == expected


def test_the_entrance_and_what_follows_it_is_run(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [1], 3: [2], 4: [1], 5: [3]}), entrance=2, input={"in": 1})
    assert statuses(flow) == {1: Status.IGNORE, 2: Status.WAIT, 3: Status.WAIT, 4: Status.IGNORE, 5: Status.WAIT}
    check(flow)
    assert input_of(TaskRef(flow.pk, 2)) == {"in": 1}
    runner.run()
    assert status(flow) is Status.FINISH


def test_parameters_are_laid_over_the_definitions(runner: InlineRunner) -> None:
    name = define({1: []}, "Return", param1_key="value", param1_value="old")
    assert rows(engine.register(name, parameters={1: {"value": [1]}}), "parameters") == [({"value": [1]},)]


BAD: dict[str, tuple[dict[int, Any], dict[str, Any], dict[str, Any], tuple[int | None, str]]] = {
    "unknown program": ({1: []}, {"program": "Nop"}, {}, (1, "program")),
    "cycle": ({1: [2], 2: [1]}, {}, {}, (1, "depends_on")),
    "itself": ({3: [3]}, {}, {}, (3, "depends_on")),
    "missing dependency": ({1: [], 2: [9]}, {}, {}, (2, "depends_on")),
    "text as dependencies": ({1: "2"}, {}, {}, (1, "depends_on")),
    "number as dependencies": ({1: 2}, {}, {}, (1, "depends_on")),
    "text among dependencies": ({1: ["2"]}, {}, {}, (1, "depends_on")),
    "list among dependencies": ({1: [[2]]}, {}, {}, (1, "depends_on")),
    "true among dependencies": ({1: [True]}, {}, {}, (1, "depends_on")),
    "parameters no object": ({1: []}, {"parameters": [1]}, {}, (1, "parameters")),
    "unknown parameter": ({1: []}, {"program": "Noop", "parameters": {"a": 1}}, {}, (1, "parameters.a")),
    "wrong type": (
        {1: []},
        {"program": "EchoParamTimeSleep", "param1_key": "SLEEP_TIME_SECOND", "param1_value": "soon"},
        {},
        (1, "parameters.SLEEP_TIME_SECOND"),
    ),
    "missing parameter": ({1: []}, {"program": "FailUntil"}, {}, (1, "parameters.start")),
    "priority": ({1: []}, {}, {"priority": 20}, (None, "priority")),
    "entrance": ({1: []}, {}, {"entrance": 2}, (None, "entrance")),
    "parameters of no step": ({1: []}, {}, {"parameters": {2: {}}}, (2, "parameters")),
    "wrong override": ({1: []}, {"program": "Noop"}, {"parameters": {1: {"a": 1}}}, (1, "parameters.a")),
    "NaN": ({1: []}, {"program": "Return"}, {"parameters": {1: {"value": float("nan")}}}, (1, "parameters")),
    "long key": ({1: []}, {}, {"idempotency_key": "x" * 257}, (None, "idempotency_key")),
    "key with NUL": ({1: []}, {}, {"idempotency_key": "\0"}, (None, "idempotency_key")),
    "queue": ({1: []}, {"queue": "a/b"}, {}, (1, "queue")),
    "time limit": ({1: []}, {"time_limit": 0}, {}, (1, "time_limit")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_place_and_writes_nothing(runner: InlineRunner, case: str) -> None:
    steps, columns, request, place = BAD[case]
    name = define(steps, **columns)
    with pytest.raises(InvalidPlanError) as caught:
        engine.register(name, **request)
    assert place in [(problem.seq, problem.field) for problem in caught.value.problems]
    assert not Flow.objects.exists()
    assert not Task.objects.exists()
    assert not runner.sent


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\0", {"a": "x\0"}, "x" * 2_000_000, {1, 2}, "\ud800", b"x"]
)
def test_bad_json_input_is_refused(runner: InlineRunner, value: Any) -> None:
    with pytest.raises(InvalidValueError, match="input"):
        engine.register(define({1: []}), input=value)
    assert not Flow.objects.exists()


@pytest.mark.parametrize("name", ["none", "", "\0", "\ud800", "x" * 3000, "a/b"])
def test_unknown_workflow(runner: InlineRunner, name: str) -> None:
    with pytest.raises(UnknownWorkflowError):
        engine.register(name)


def test_names_that_sql_may_hold_but_urls_cannot(runner: InlineRunner) -> None:
    define({1: []}, name="a/b")
    with pytest.raises(InvalidPlanError, match="slash"):
        engine.register("a/b")


def test_the_same_key_returns_the_same_flow(runner: InlineRunner) -> None:
    name = define(CHAIN)
    first = engine.register(name, input={"a": 1, "b": 2}, idempotency_key="k", actor="ann")
    again = engine.register(name, input={"b": 2, "a": 1}, idempotency_key="k", actor="ann")
    assert again.pk == first.pk
    assert engine.register(name, idempotency_key="k", actor="bob").pk != first.pk
    assert engine.register(define(CHAIN), idempotency_key="k", actor="ann").pk != first.pk
    others: list[dict[str, Any]] = [
        {"input": {"a": 2}},
        {"priority": 1},
        {"entrance": 2},
        {"parameters": {1: {}}},
    ]
    for other in others:
        with pytest.raises(IdempotencyConflictError, match="'k' was used"):
            engine.register(name, **{"input": {"a": 1, "b": 2}, "idempotency_key": "k", "actor": "ann", **other})
    assert Flow.objects.count() == 3
    assert len(runner.sent) == 3


def test_without_a_carrier_the_ready_rows_are_left_to_the_watcher() -> None:

    previous = executor.use(NoExecutor())
    try:
        flow = engine.register(define(DIAMOND))
    finally:
        executor.use(previous)
    assert [row.task_exec_seq for row in Task.objects.filter(task_flow=flow).unsent()] == [1]


def test_the_watcher_sends_them_too_where_the_broker_is_unreachable(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> None:
        raise OSError("no broker")

    monkeypatch.setattr(runner, "send", away)
    flow = engine.register(define(DIAMOND))
    assert [row.task_exec_seq for row in Task.objects.filter(task_flow=flow).unsent()] == [1]


def test_errors_have_messages() -> None:
    def classes(base: type[FlowerError]) -> list[type[FlowerError]]:
        return [base, *(error for child in base.__subclasses__() for error in classes(child))]

    for error in classes(FlowerError):
        if error not in {InvalidPlanError, ExpressionError, ArrowError, YAMLError}:  # which say what is wrong and where
            assert str(error())


def test_a_thousand_rows_of_one_definition_table(runner: InlineRunner) -> None:
    flow = engine.register(define(dict.fromkeys(range(1, 1001))))
    check(flow)
    assert TaskDefinition.objects.count() == 1000
    assert Task.objects.filter(task_flow=flow, sent_ts__isnull=False).count() == 1


@pytest.mark.parametrize("priority", [True, 1.0])
def test_a_registration_that_fails_leaves_the_hosts_transaction_alone(runner: InlineRunner, priority: Any) -> None:
    name = define(CHAIN)
    with transaction.atomic():
        if connection.vendor == "postgresql":  # SQLite takes text of any length
            with pytest.raises(DatabaseError):
                engine.register(name, actor="a" * 151)
        flow = engine.register(name, priority=priority)
    flow.refresh_from_db()
    assert flow.task_priority == 1
    assert not flow._state.adding


def test_values_are_stored_as_they_are(runner: InlineRunner) -> None:
    value = {"big": 2**70, "small": 1e-9, "text": "a'b\"c\\ é \u2028 %s {x}", "none": [None, {}], "": True}
    flow = engine.register(define({1: []}, "Return", parameters={"value": value}), input=value)
    flow = Flow.objects.get(pk=flow.pk)
    assert flow.input == value
    assert flow.tasks.get().parameters == {"value": value}


def test_what_is_too_large_for_one_statement_is_written_all_the_same(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = define(DIAMOND)
    usual = engine.register(name)
    monkeypatch.setattr("flowerapp.querysets.insert.LARGEST", 10)
    large = engine.register(name)
    own = {"id", "task_flow_id", "registered_ts", "sent_ts"}
    usual_rows, large_rows = (
        [
            {key: value for key, value in row.items() if key not in own}
            for row in Task.objects.filter(task_flow=flow).order_by("task_exec_seq").values()
        ]
        for flow in (usual, large)
    )
    assert usual_rows == large_rows
    assert [bool(sent) for (sent,) in rows(usual, "sent_ts")] == [bool(sent) for (sent,) in rows(large, "sent_ts")]
    assert large.registered_ts == Flow.objects.get(pk=large.pk).registered_ts
    runner.run()
    check(large)
