"""Insert: write new flows and all their tasks, in one statement on PostgreSQL whatever their number.

A statement takes 65,535 parameters at most, so the rows travel as JSON: one text for the flows, one for their tasks.
Flows whose tasks are alike share the rows of these: each names its rows by their place in the second text. A row leaves
out the columns that have their default. The portable form is ``_insert_portably``.
"""

# ruff: noqa: S608 - what the statement is composed of are columns of ours
from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections

from flowerapp.querysets import clock, prepared
from flowerapp.querysets.db import atomic, in_sql
from flowerapp.states import SATISFIED, Status

if TYPE_CHECKING:
    from flowerapp.models import Flow, Task

LARGEST = 256 * 1024 * 1024
"""Most characters of JSON in one statement; PostgreSQL takes no gigabyte in one value."""


BATCH = 1000
"""Rows of one statement of the portable form."""


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
    "source": Column("text", ""),
}
TASK = {
    "task_exec_seq": Column("integer"),
    "depends_task_exec_seq": Column("integer"),
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
    "when": Column("text", ""),
    "cache_key": Column("text", ""),
    "cache_seconds": Column("integer"),
    "cache_scope": Column("text", "workflow"),
    "remote": Column("text", ""),
    "alias": Column("text", ""),
    "end_seq": Column("integer"),
    "pool": Column("text", ""),
    "child_program": Column("text", ""),
    "max_concurrency": Column("integer"),
    "exit_on_failed": Column("boolean", True),
    "overridable": Column("jsonb"),
    "depends_on": Column("jsonb", []),
    "dependents": Column("jsonb", []),
    "pending": Column("integer", 0),
    "admitted": Column("boolean", True),
    "parked": Column("boolean", False),
    "canvas": Column("jsonb"),
    "ignored_by": Column("text", ""),
    "output": Column("jsonb"),
    "deferred": Column("boolean", False),
}


@dataclass(frozen=True)
class TaskRows:
    """The rows of a new flow's tasks; many flows may have the same."""

    rows: Sequence[Mapping[str, Any]]
    """Of each task the columns of ``TASK`` that are not at their default, with ``SENT`` beside them where a message for
    it is sent as soon as the flow is written."""

    @classmethod
    def of(cls, tasks: Iterable[Task], sent: Collection[int], deferred: Collection[int]) -> TaskRows:
        """The rows of unsaved tasks. ``sent`` are the seqs of those that are sent at once, ``deferred`` of those that
        are sent when another of the same program and queue has ended."""
        marks: dict[int, dict[str, Any]] = {seq: {SENT: True} for seq in sent}
        marks |= {seq: {"deferred": True} for seq in deferred}
        return cls([_row(task, TASK) | marks.get(task.task_exec_seq, {}) for task in tasks])

    @cached_property
    def json(self) -> str:
        """The rows as a JSON array."""
        return _dumps(self.rows)


class NewFlow(NamedTuple):
    """A flow that is to be written."""

    flow: Flow
    tasks: TaskRows
    sends: bool
    """Whether the messages that its rows mark are sent as soon as it is written."""


SENT = "sent"
"""Key of a row whose task is sent at once."""


def _names(columns: Mapping[str, Column]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _values(columns: Mapping[str, Column]) -> str:
    """What is inserted: the row's values, or the defaults of those that it leaves out."""
    return ", ".join(_value(name, column.default) for name, column in columns.items())


def _value(name: str, default: Any) -> str:
    if default is None:
        return f'row."{name}"'
    literal = f"'{json.dumps(default)}'::jsonb" if isinstance(default, (dict, list)) else f"'{default}'"
    return f'COALESCE(row."{name}", {literal})'


def _types(columns: Mapping[str, Column]) -> str:
    return ", ".join(f'"{name}" {column.kind}' for name, column in columns.items())


# The statement. Its parameters are JSON texts: flows, an array of objects, each with "planned", the number of its tasks
# in the second, and "sends"; and tasks, an array of arrays of objects, each with "sent" if a message may go out now.

_ASKED = f"""
SELECT row.*
  FROM json_to_recordset(%(flows)s::json) AS row({_types(FLOW)}, planned bigint, sends boolean)
"""

_NEW_FLOWS = f"""
INSERT INTO kr_task_flow ({_names(FLOW)}, registered_ts)
SELECT {_values(FLOW)}, STATEMENT_TIMESTAMP() FROM asked AS row
RETURNING registered_ts
"""

_TIMES = f"""
STATEMENT_TIMESTAMP(), CASE WHEN row.sent AND asked.sends THEN STATEMENT_TIMESTAMP() END,
CASE WHEN row.exec_status IN ({in_sql(SATISFIED)}) THEN STATEMENT_TIMESTAMP() END
"""
"""registered_ts, sent_ts and finished_ts: all are the time of the statement, as the flow's registered_ts is."""

_NEW_TASKS = (
    f"INSERT INTO kr_task_stat (task_flow_id, task_id, {_names(TASK)}, registered_ts, sent_ts, finished_ts)\n"
    f"SELECT asked.task_flow_id, asked.task_id, {_values(TASK)}, "
    + _TIMES
    + "FROM asked JOIN json_array_elements(%(tasks)s::json) WITH ORDINALITY AS planned(rows, number)\n"
    "  ON planned.number = asked.planned\n"
    f"CROSS JOIN LATERAL json_to_recordset(planned.rows) AS row({_types(TASK)}, sent boolean)\n"
    "ORDER BY asked.task_flow_id, row.task_exec_seq"
)

_RESULT = "SELECT registered_ts FROM new_flows LIMIT 1"

INSERT = prepared.composed({"asked": _ASKED, "new_flows": _NEW_FLOWS, "new_tasks": _NEW_TASKS}, _RESULT)
"""Returns the time of the registration."""


@cache
def insert_if_unchanged(fingerprint: str) -> str:
    """The statement, which writes nothing and returns no row if the fingerprint of workflow ``task_id``, as the
    expression computes it, is another than ``known``."""
    asked = f"{_ASKED} WHERE ({fingerprint}) = %(known)s"
    return prepared.composed({"asked": asked, "new_flows": _NEW_FLOWS, "new_tasks": _NEW_TASKS}, _RESULT)


class Expected(NamedTuple):
    """What a workflow has to be like for its flow to be written."""

    task_id: str
    fingerprint: str
    expression: str
    """What computes the fingerprint, see ``DefinitionQuerySet.fingerprint``."""


def insert_expected(flows: Any, new: Sequence[NewFlow], expected: Expected) -> datetime | None:
    """As ``insert``, on PostgreSQL; None if the workflow is no longer as expected, or if that cannot be found out."""
    values = _as_json(new)
    if values is None:
        return None
    connection = connections[flows.db]
    values |= {"task_id": expected.task_id, "known": expected.fingerprint}
    rows = prepared.rows(connection, insert_if_unchanged(expected.expression), values)
    return clock.utc(rows[0][0], connection) if rows else None


def insert(flows: Any, new: Sequence[NewFlow]) -> datetime:
    """Write new flows and their tasks to the database of the queryset ``flows``: the time of the registration.

    See ``FlowQuerySet.insert``.
    """
    connection = connections[flows.db]
    if connection.vendor == "postgresql":
        if values := _as_json(new):
            ((registered_ts,),) = prepared.rows(connection, INSERT, values)
            return clock.utc(registered_ts, connection)
    else:
        now = clock.about_now()  # SQLite compares times as text, and its own has fewer digits
        for row in new:
            row.flow.registered_ts = now
    return _insert_portably(flows, new)


def _insert_portably(flows: Any, new: Sequence[NewFlow]) -> datetime:
    task_model = flows.model._meta.get_field("tasks").related_model
    with atomic(flows.db):
        flows.bulk_create([row.flow for row in new], batch_size=BATCH)
        now: datetime = flows.values_list("registered_ts", flat=True).get(pk=new[0].flow.pk)
        tasks = (_task(task_model, row, columns, now) for row in new for columns in row.tasks.rows)
        while batch := list(islice(tasks, BATCH)):
            task_model.objects.using(flows.db).bulk_create(batch)
    return now


def _task(model: type[Task], row: NewFlow, columns: Mapping[str, Any], now: datetime) -> Task:
    """A task of a new flow, unsaved."""
    values = {name: value for name, value in columns.items() if name != SENT}
    task = model(task_flow=row.flow, task_id=row.flow.task_id, registered_ts=now, **values)
    task.sent_ts = now if row.sends and SENT in columns else None
    task.finished_ts = now if task.exec_status in SATISFIED else None
    return task


def _as_json(new: Sequence[NewFlow]) -> dict[str, str] | None:
    """The parameters of the statement; None if the rows are too large for one.

    Flows with a key come in the order of their keys, so that of two calls with the same keys one waits for the other.
    """
    planned = {id(row.tasks): row.tasks for row in new}
    numbers = {key: number for number, key in enumerate(planned, start=1)}
    in_order = sorted(new, key=lambda row: (row.flow.task_id, row.flow.idempotency_key or ""))
    asked = [_row(row.flow, FLOW) | {"planned": numbers[id(row.tasks)], "sends": row.sends} for row in in_order]
    values = {"flows": _dumps(asked), "tasks": f"[{','.join(rows.json for rows in planned.values())}]"}
    return values if sum(map(len, values.values())) <= LARGEST else None


def _row(instance: Any, columns: Mapping[str, Column]) -> dict[str, Any]:
    """The columns of an instance that are not at their default."""
    values = instance.__dict__
    return {name: values[name] for name, (_, default) in columns.items() if values[name] != default}


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
