"""The original's tables take plain SQL, and the database refuses invalid rows; hot statements are prepared."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, NotSupportedError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets import Success
from flowerapp.states import Status

pytestmark = pytest.mark.django_db


def execute(statement: str, *values: str | int | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_definition_inserted_as_for_the_original_is_registered() -> None:
    execute(
        "INSERT INTO ms_task_definition(task_id, task_seq, program, task_priority, param1_key, param1_value) "
        "VALUES ('example', 2, 'EchoParamTimeSleep', 0, 'SLEEP_TIME_SECOND', '3')"
    )
    row = TaskDefinition.objects.get()
    assert row.all_parameters == {"SLEEP_TIME_SECOND": "3"}
    assert (row.depends_on, row.queue, row.max_retries) == (None, "", None)
    assert engine.register("example").tasks.get().parameters == {"SLEEP_TIME_SECOND": "3"}


def test_task_inserted_as_for_the_original_waits_for_adoption() -> None:
    execute(
        "INSERT INTO kr_task_stat(task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq, exec_status,"
        " task_priority, parameters, registered_ts) VALUES ('f', 1, -1, 'example', 1, 0, 0, '{}', CURRENT_TIMESTAMP)"
    )
    row = Task.objects.get()
    assert (row.program, row.pending, row.attempt, row.run, row.depends_on, row.parked) == ("", 0, 0, 1, [], False)
    assert list(Task.objects.inserted()) == [row]
    assert not Task.objects.startable().exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"exec_status": 4},
        {"exec_status": -1},
        {"task_priority": 20},
        {"task_priority": -21},
        {"exec_status": Status.FINISH},
        {"exec_status": Status.IGNORE},
        {"finished_ts": Now()},
        {"pending": -1},
        {"attempt": -1},
        {"retries": -1},
        {"rescues": -1},
        {"run": -1},
    ],
)
def test_invalid_task_is_refused(wrong: dict[str, Any]) -> None:
    Task.objects.create(task_flow_id="f", task_exec_seq=1, task_id="w", task_seq=1, program="Noop")
    with pytest.raises(IntegrityError), transaction.atomic():
        Task.objects.update(**wrong)


@pytest.mark.parametrize("exec_status", Status)
def test_row_of_another_system_needs_no_times(exec_status: Status) -> None:
    execute(
        "INSERT INTO kr_task_stat(task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq, exec_status,"
        " task_priority, parameters) VALUES ('f', 1, -1, 'example', 1, %s, 0, '{}')",
        exec_status,
    )
    with pytest.raises(IntegrityError), transaction.atomic():
        Task.objects.update(exec_status=4)
    execute("UPDATE kr_task_stat SET exec_status = 3")
    with pytest.raises(IntegrityError), transaction.atomic():
        Task.objects.update(program="Noop")


@pytest.mark.parametrize(
    "wrong", [{"exec_status": 5}, {"task_priority": 20}, {"finished_ts": Now()}, {"exec_status": 3}, {"open_sinks": -1}]
)
def test_invalid_flow_is_refused(wrong: dict[str, Any]) -> None:
    Flow.objects.create(task_flow_id="f", task_id="w")
    with pytest.raises(IntegrityError), transaction.atomic():
        Flow.objects.update(**wrong)


@pytest.mark.parametrize("wrong", [{"task_priority": 20}, {"task_priority": -21}, {"task_seq": -1}])
def test_invalid_definition_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        TaskDefinition.objects.create(**{"task_id": "w", "task_seq": 1, "program": "Noop", **wrong})


def test_the_originals_keys_are_unique() -> None:
    TaskDefinition.objects.create(task_id="w", task_seq=1, program="Noop")
    with pytest.raises(IntegrityError), transaction.atomic():
        TaskDefinition.objects.create(task_id="w", task_seq=1, program="Noop")
    Task.objects.create(task_flow_id="f", task_exec_seq=1, task_id="w", task_seq=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Task.objects.create(task_flow_id="f", task_exec_seq=1, task_id="w", task_seq=2)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"a": "1"},
        {f"k{number}": str(number) for number in range(9)},
        {"text": "x", "number": 1, "null": None, "list": [1], "empty": ""},
        {"long": "x" * 1025, "fits": "x" * 1024},
    ],
)
def test_parameters_are_read_back_as_they_were_stored(parameters: dict[str, Any]) -> None:
    row = TaskDefinition(task_id="w", task_seq=1, program="Noop")
    row.set_parameters(parameters)
    row.save()
    assert TaskDefinition.objects.get().all_parameters == parameters
    assert row.param1_value == next(
        (value for value in parameters.values() if isinstance(value, str) and len(value) < 1025), None
    )


def test_parameter_value_of_null_is_empty_text() -> None:
    assert TaskDefinition(param1_key="a", param2_value="b").all_parameters == {"a": ""}


@pytest.mark.django_db(transaction=True)
def test_hot_statements_are_prepared_once_per_connection() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares nothing")
    TaskDefinition.objects.create(task_id="example", task_seq=1, program="Noop")
    engine.register("example")  # the first of a workflow takes another statement, which stores its plan
    connection.close()
    for _ in range(3):
        flow = engine.register("example")
        claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
        assert claim
        assert Task.objects.finish(Success(ref=TaskRef(flow.pk, 1), attempt=claim.attempt, output="{}"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE '%kr_task%'"
        )
        assert cursor.fetchall() == [(3,)] * 3  # insert, claim, finish


def test_prepared_statements_appear_in_the_query_log() -> None:
    TaskDefinition.objects.create(task_id="example", task_seq=1, program="Noop")
    with CaptureQueriesContext(connection) as queries:
        assert engine.plan_of("example").nodes
    assert ["ms_task_definition" in query["sql"] for query in queries.captured_queries] == [True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_statement_is_prepared_again_after_its_table_changed(in_transaction: bool) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares nothing")
    TaskDefinition.objects.create(task_id="example", task_seq=1, program="Noop")
    try:
        assert engine.plan_of("example").nodes
        execute("ALTER TABLE ms_task_definition ALTER COLUMN queue TYPE varchar(255)")
        if in_transaction:
            with pytest.raises(NotSupportedError), transaction.atomic():
                engine.plan_of("example")
        assert engine.plan_of("example").nodes
    finally:
        execute("ALTER TABLE ms_task_definition ALTER COLUMN queue TYPE varchar(256)")


@pytest.mark.django_db(transaction=True)
def test_other_statements_are_not_prepared() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares nothing")
    connection.close()
    for number in range(20):
        assert not TaskDefinition.objects.filter(task_seq=number).exists()
        Task.objects.claim(TaskRef("none", number), Process("w", 1))
    driver: Any = connection.connection
    assert driver.prepare_threshold is None
    assert len(driver._prepared._names) == 1
    assert len(driver._prepared._counts) == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_prepared_behind_a_pooler(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares nothing")
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    connection.close()
    assert Task.objects.claim(TaskRef("none", 1), Process("w", 1)) is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (0,)
