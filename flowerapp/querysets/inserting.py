"""A flow and its tasks in one statement for PostgreSQL, whatever their number: it takes 65,535 parameters at most.

Columns that a row leaves out have the defaults named here, which are those of the models.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from flowerapp.querysets import prepared

LARGEST = 256 * 1024 * 1024
"""Most characters of JSON in one statement; PostgreSQL takes no gigabyte in one value."""

FLOW: dict[str, tuple[str, Any]] = {
    "task_flow_id": ("text", None),
    "task_id": ("text", None),
    "task_priority": ("smallint", None),
    "input": ("jsonb", None),
    "limited": ("boolean", None),
    "admitted": ("boolean", None),
    "open_sinks": ("integer", None),
    "registered_by": ("text", None),
    "idempotency_key": ("text", None),
    "request_hash": ("text", None),
}
TASK: dict[str, tuple[str, Any]] = {
    "task_exec_seq": ("integer", None),
    "depends_task_exec_seq": ("integer", None),
    "task_id": ("text", None),
    "task_seq": ("integer", None),
    "exec_status": ("smallint", 0),
    "task_priority": ("smallint", 0),
    "parameters": ("jsonb", {}),
    "program": ("text", None),
    "queue": ("text", ""),
    "max_retries": ("integer", None),
    "retry_delay": ("integer", None),
    "time_limit": ("integer", None),
    "name": ("text", ""),
    "merge": ("boolean", False),
    "pool": ("text", ""),
    "child_program": ("text", ""),
    "max_concurrency": ("integer", None),
    "exit_on_failed": ("boolean", True),
    "depends_on": ("jsonb", []),
    "dependents": ("jsonb", []),
    "pending": ("integer", 0),
    "admitted": ("boolean", True),
    "canvas": ("jsonb", None),
    "output": ("jsonb", None),
}
"""Column → type, and the value that is left out."""


def _taken(columns: dict[str, tuple[str, Any]]) -> str:
    return ", ".join(
        f"row.{name}" if default is None else f"COALESCE(row.{name}, {_literal(default)})"
        for name, (_, default) in columns.items()
    )


def _literal(value: Any) -> str:
    return f"'{json.dumps(value)}'::jsonb" if isinstance(value, (dict, list)) else f"'{value}'"


def _typed(columns: dict[str, tuple[str, Any]], *more: str) -> str:
    return ", ".join([*(f"{name} {kind}" for name, (kind, _) in columns.items()), *more])


_INSERT = """
WITH flow AS (
    INSERT INTO kr_task_flow ({flow}, registered_ts)
    SELECT {flow_values}, STATEMENT_TIMESTAMP() FROM json_to_record(%(flow)s::json) AS row({flow_types})
    RETURNING registered_ts
), tasks AS (
    INSERT INTO kr_task_stat (task_flow_id, {task}, registered_ts, left_over, sent_ts, finished_ts)
    SELECT %(flow_id)s, {task_values}, STATEMENT_TIMESTAMP(), COALESCE(row.left_over, FALSE),
           CASE WHEN row.sent THEN STATEMENT_TIMESTAMP() END,
           CASE WHEN row.exec_status IN (3, 9) THEN STATEMENT_TIMESTAMP() END
      FROM json_to_recordset(%(tasks)s::json) AS row({task_types})
)
SELECT registered_ts FROM flow
"""
INSERT = _INSERT.format(
    flow=", ".join(FLOW),
    flow_values=_taken(FLOW),
    flow_types=_typed(FLOW),
    task=", ".join(TASK),
    task_values=_taken(TASK),
    task_types=_typed(TASK, "sent boolean", "left_over boolean"),
)


def insert(
    connection: Any, flow: Any, tasks: Iterable[Any], sent: Collection[int], left_over: Collection[int]
) -> datetime | None:
    """Write both; the time of it, None if the rows are too large for one statement. See ``FlowQuerySet.insert``."""
    marks: dict[int, dict[str, Any]] = {seq: {"sent": True} for seq in sent}
    marks |= {seq: {"left_over": True} for seq in left_over}
    rows = [_row(task, TASK) | marks.get(task.task_exec_seq, {}) for task in tasks]
    given = {"flow_id": flow.pk, "flow": _dumps(_row(flow, FLOW)), "tasks": _dumps(rows)}
    if len(given["flow"]) + len(given["tasks"]) > LARGEST:
        return None
    ((registered_ts,),) = prepared.rows(connection, INSERT, given)
    return registered_ts  # type: ignore[no-any-return]


def _row(instance: Any, columns: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    values = instance.__dict__
    return {name: values[name] for name, (_, default) in columns.items() if values[name] != default}


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
