"""Whether the duties may have anything to do: one cheap statement in place of theirs, for runs in a single process."""

# ruff: noqa: S608 - what the statement is composed of are states
from __future__ import annotations

from flowerapp.querysets.db import connection, in_sql
from flowerapp.states import ACTIVE, OPEN, Status

_ANY = " OR ".join(
    f"EXISTS (SELECT 1 FROM {rows})"
    for rows in (
        "ms_pool",
        "kr_hook",
        "kr_wait",
        "kr_event WHERE NOT offered",
        f"kr_task_flow WHERE NOT admitted AND exec_status IN ({in_sql(OPEN)})",
        f"kr_task_stat WHERE exec_status = {Status.WAIT} AND (parked AND due_ts IS NULL OR parent_seq IS NOT NULL)",
        f"kr_task_stat WHERE exec_status = {Status.WAIT} AND refused_ts IS NOT NULL",
        "kr_task_stat WHERE program = '' AND remote = ''",
        f"kr_task_flow f WHERE f.exec_status IN ({in_sql(ACTIVE)}) AND NOT EXISTS (SELECT 1 FROM kr_task_stat t"
        f" WHERE t.task_flow_id = f.task_flow_id AND (t.exec_status = {Status.RUNNING}"
        f" OR t.exec_status = {Status.WAIT} AND t.pending = 0))",
    )
)
"""Limits, hooks, waits and events; parents, gates and children; what is refused, inserted by others, or stuck."""


def has_any() -> bool:
    """Whether there may be something to do beside what is due by its time."""
    with connection().cursor() as cursor:
        cursor.execute(f"SELECT {_ANY}")
        return bool(cursor.fetchone()[0])
