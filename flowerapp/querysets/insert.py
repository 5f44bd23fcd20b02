"""Insert: write a new flow and all its tasks, in one statement on PostgreSQL whatever their number.

A statement takes 65,535 parameters at most, so the rows travel as JSON: one text for the flow, one for its tasks. A row
leaves out the columns that have their default. The portable form is ``_insert_portably``.
"""

# ruff: noqa: S608 - what the statement is composed of are columns of ours
from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections

from flowerapp.querysets import clock, prepared
from flowerapp.querysets.db import atomic, in_sql
from flowerapp.states import SATISFIED, Status

if TYPE_CHECKING:
    from flowerapp.models import Flow, Task

LARGEST = 256 * 1024 * 1024
"""Most characters of JSON in one statement; PostgreSQL takes no gigabyte in one value."""


class Column(NamedTuple):
    """A column that is inserted."""

    kind: str
    """Its type in PostgreSQL."""
    default: Any = None
    """The model's default: a row with this value leaves the column out."""


FLOW = {
    "task_flow_id": Column("text"),
    "task_id": Column("text"),
    "task_priority": Column("smallint"),
    "input": Column("jsonb"),
    "limited": Column("boolean"),
    "admitted": Column("boolean"),
    "open_sinks": Column("integer"),
    "registered_by": Column("text"),
    "idempotency_key": Column("text"),
    "request_hash": Column("text"),
}
TASK = {
    "task_exec_seq": Column("integer"),
    "depends_task_exec_seq": Column("integer"),
    "task_id": Column("text"),
    "task_seq": Column("integer"),
    "exec_status": Column("smallint", int(Status.WAIT)),
    "task_priority": Column("smallint", 0),
    "parameters": Column("jsonb", {}),
    "program": Column("text"),
    "queue": Column("text", ""),
    "max_retries": Column("integer"),
    "retry_delay": Column("integer"),
    "time_limit": Column("integer"),
    "name": Column("text", ""),
    "merge": Column("boolean", False),
    "pool": Column("text", ""),
    "child_program": Column("text", ""),
    "max_concurrency": Column("integer"),
    "exit_on_failed": Column("boolean", True),
    "overridable": Column("jsonb"),
    "depends_on": Column("jsonb", []),
    "dependents": Column("jsonb", []),
    "pending": Column("integer", 0),
    "admitted": Column("boolean", True),
    "canvas": Column("jsonb"),
    "ignored_by": Column("text", ""),
    "output": Column("jsonb"),
    "deferred": Column("boolean", False),
}


def _names(columns: Mapping[str, Column]) -> str:
    return ", ".join(columns)


def _values(columns: Mapping[str, Column]) -> str:
    """What is inserted: the row's values, or the defaults of those that it leaves out."""
    return ", ".join(_value(name, column.default) for name, column in columns.items())


def _value(name: str, default: Any) -> str:
    if default is None:
        return f"row.{name}"
    literal = f"'{json.dumps(default)}'::jsonb" if isinstance(default, (dict, list)) else f"'{default}'"
    return f"COALESCE(row.{name}, {literal})"


def _types(columns: Mapping[str, Column]) -> str:
    return ", ".join(f"{name} {column.kind}" for name, column in columns.items())


# The statement. Its parameters: flow_id, and the JSON texts flow (an object) and tasks (an array of objects, each with
# "sent" where a message for the task goes out now).

_NEW_FLOW = f"""
INSERT INTO kr_task_flow ({_names(FLOW)}, registered_ts)
SELECT {_values(FLOW)}, STATEMENT_TIMESTAMP()
  FROM json_to_record(%(flow)s::json) AS row({_types(FLOW)})
RETURNING registered_ts
"""

_TIMES = f"""
STATEMENT_TIMESTAMP(), CASE WHEN row.sent THEN STATEMENT_TIMESTAMP() END,
CASE WHEN row.exec_status IN ({in_sql(SATISFIED)}) THEN STATEMENT_TIMESTAMP() END
"""
"""registered_ts, sent_ts and finished_ts: all are the time of the statement, as the flow's registered_ts is."""

_NEW_TASKS = (
    f"INSERT INTO kr_task_stat (task_flow_id, {_names(TASK)}, registered_ts, sent_ts, finished_ts)\n"
    f"SELECT %(flow_id)s, {_values(TASK)}, "
    + _TIMES
    + f"FROM json_to_recordset(%(tasks)s::json) AS row({_types(TASK)}, sent boolean)"
)

INSERT = prepared.composed({"new_flow": _NEW_FLOW, "new_tasks": _NEW_TASKS}, "SELECT registered_ts FROM new_flow")
"""Returns the time of the registration."""


def insert(flows: Any, flow: Flow, tasks: Sequence[Task], sent: Collection[int], deferred: Collection[int]) -> datetime:
    """Write a new flow and its tasks to the database of the queryset ``flows``: the time of the registration.

    See ``FlowQuerySet.insert``.
    """
    connection = connections[flows.db]
    if connection.vendor == "postgresql":
        registered_ts = _insert_as_json(connection, flow, tasks, sent, deferred)
        if registered_ts is not None:
            return registered_ts
    else:
        flow.registered_ts = clock.about_now()  # SQLite compares times as text, and its own has fewer digits
    return _insert_portably(flows, flow, tasks, sent, deferred)


def _insert_portably(
    flows: Any, flow: Flow, tasks: Sequence[Task], sent: Collection[int], deferred: Collection[int]
) -> datetime:
    with atomic(flows.db):
        flows.bulk_create([flow])
        now: datetime = flows.values_list("registered_ts", flat=True).get(pk=flow.pk)
        for task in tasks:
            task.registered_ts = now
            task.sent_ts = now if task.task_exec_seq in sent else None
            task.deferred = task.task_exec_seq in deferred
            task.finished_ts = now if task.exec_status in SATISFIED else None
        task_model = flows.model._meta.get_field("tasks").related_model
        task_model.objects.using(flows.db).bulk_create(tasks, batch_size=1000)
    return now


def _insert_as_json(
    connection: Any, flow: Flow, tasks: Iterable[Task], sent: Collection[int], deferred: Collection[int]
) -> datetime | None:
    """Write both in one statement: the time of it, or None if the rows are too large for one."""
    marks: dict[int, dict[str, Any]] = {seq: {"sent": True} for seq in sent}
    marks |= {seq: {"deferred": True} for seq in deferred}
    rows = [_row(task, TASK) | marks.get(task.task_exec_seq, {}) for task in tasks]
    values = {"flow_id": flow.pk, "flow": _dumps(_row(flow, FLOW)), "tasks": _dumps(rows)}
    if len(values["flow"]) + len(values["tasks"]) > LARGEST:
        return None
    ((registered_ts,),) = prepared.rows(connection, INSERT, values)
    return clock.utc(registered_ts, connection)


def _row(instance: Any, columns: Mapping[str, Column]) -> dict[str, Any]:
    """The columns of an instance that are not at their default."""
    values = instance.__dict__
    return {name: values[name] for name, (_, default) in columns.items() if values[name] != default}


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
