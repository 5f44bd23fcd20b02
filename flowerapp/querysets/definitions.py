"""Steps of workflows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from django.apps import apps
from django.db import connections, models
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from flowerapp.core.plan import Plan, most_flows
from flowerapp.querysets import prepared

HEADER = ("description", "max_active_flows", "unique", "entrance", "start_event", "start_match")
"""Settings of a workflow as a whole."""


class WorkflowQuerySet(models.QuerySet[Any]):
    """Headers of workflows."""

    def limit(self, task_id: str) -> int | None:
        """Lock the header where the database can; how many of its flows may be active at once, None for any number."""
        row = self.select_for_update().filter(pk=task_id).values_list("max_active_flows", "unique").first()
        return None if row is None else most_flows(row[0], unique=row[1])


class PoolQuerySet(models.QuerySet[Any]):
    """Pools."""

    def slots(self, name: str) -> int:
        """Lock the pool where the database can; its slots, none for a pool that is gone."""
        return self.select_for_update().filter(pk=name).values_list("slots", flat=True).first() or 0

    def with_use(self) -> PoolQuerySet:
        """Pools with ``held``, the slots that tasks have, and ``waiting``, the tasks that wait for one."""
        tasks: Any = self.model._meta.apps.get_model("flowerapp", "Task").objects.using(self.db)
        name = OuterRef("pk")
        pools: PoolQuerySet = self.annotate(held=_number(tasks.holding(name)), waiting=_number(tasks.waiting_for(name)))
        return pools


def _number(tasks: Any) -> Coalesce:
    """Number of the tasks of a pool, as a subquery of the statement that reads the pools."""
    counted = tasks.order_by().values("pool").annotate(number=models.Count("pk")).values("number")
    return Coalesce(Subquery(counted, output_field=models.IntegerField()), 0)


_Rows = list[tuple[Any, ...]]


class ReadPlan(NamedTuple):
    """A plan as this process read it last."""

    plan: Plan
    fingerprint: str
    """Of its rows, as ``DefinitionQuerySet.fingerprint`` computes it."""


_plans: dict[tuple[str, str], tuple[_Rows, ReadPlan]] = {}
"""Database and workflow → the rows that were read last, and their plan, which is used again as long as they are the
same."""
_MOST_STEPS = 20_000
"""Most steps of all plans in ``_plans``; the oldest plans are dropped."""


class DefinitionQuerySet(models.QuerySet[Any]):
    """Steps of workflows."""

    def plan(self, task_id: str) -> Plan | None:
        """The stored workflow as a plan, unchecked; None if there are no rows."""
        connection = connections[self.db]
        rows = prepared.rows(connection, self._with_header(connection), {"task_id": task_id})
        if not rows:
            return None
        cached_rows, cached = _plans.get((self.db, task_id), ([], None))
        if cached is not None and rows == cached_rows:
            return cached.plan
        plan = self._plan_of(task_id, rows, connection)
        _keep((self.db, task_id), rows, ReadPlan(plan, _fingerprint(rows)))
        return plan

    def last_read(self, task_id: str) -> ReadPlan | None:
        """The plan as this process read it last, on PostgreSQL; ``insert_expected`` finds out if it is outdated."""
        if connections[self.db].vendor != "postgresql":
            return None
        _, plan = _plans.get((self.db, task_id), (None, None))
        return plan

    def _with_header(self, connection: Any) -> str:
        """The statement that reads a workflow's header and steps together; on PostgreSQL also each row as text."""
        columns = _columns(self.model._meta.label)
        as_text = f", ROW({columns})::text" if connection.vendor == "postgresql" else ""
        return f"SELECT {columns}{as_text} {_TABLES} WHERE d.task_id = %(task_id)s ORDER BY d.task_seq"

    def fingerprint(self) -> str:
        """The expression, for PostgreSQL, of the fingerprint of the workflow %(task_id)s as it is."""
        text = f"STRING_AGG(ROW({_columns(self.model._meta.label)})::text, CHR(10) ORDER BY d.task_seq)"
        return f"SELECT ENCODE(SHA256(CONVERT_TO({text}, 'UTF8')), 'hex') {_TABLES} WHERE d.task_id = %(task_id)s"

    def _plan_of(self, task_id: str, rows: _Rows, connection: Any) -> Plan:
        fields = self.model._meta.concrete_fields
        names = [field.attname for field in fields]
        from_database = [_converter(field, connection) for field in fields]
        nodes = []
        before: int | None = None
        for row in rows:
            values = [convert(value) for convert, value in zip(from_database, row[len(HEADER) :], strict=False)]
            step = self.model.from_db(self.db, names, values)
            nodes.append(step.node(before))
            before = step.task_seq
        header = dict(zip(HEADER, rows[0][: len(HEADER)], strict=True))
        texts = {name: header[name] or "" for name in ("description", "start_event")}
        match = header["start_match"]
        starts = {"start_match": json.loads(match) if isinstance(match, str) else match}
        return Plan(task_id, tuple(nodes), **header | texts | starts | {"unique": bool(header["unique"])})

    def workflows(self) -> Any:
        """Names of all workflows that have steps, each once, with the number of steps."""
        return self.order_by("task_id").values("task_id").annotate(steps=models.Count("task_seq"))


_TABLES = "FROM ms_task_definition d LEFT JOIN ms_workflow w ON w.task_id = d.task_id"


@cache
def _columns(label: str) -> str:
    """The columns of a workflow's header and of a step, whose model has this label."""
    header = [f'w."{name}"' for name in HEADER]
    return ", ".join([*header, *(f'd."{field.column}"' for field in apps.get_model(label)._meta.concrete_fields)])


def _fingerprint(rows: _Rows) -> str:
    """What PostgreSQL computes of the rows, which have their text at the end."""
    return hashlib.sha256("\n".join(str(row[-1]) for row in rows).encode()).hexdigest()


def _keep(key: tuple[str, str], rows: _Rows, plan: ReadPlan) -> None:
    _plans.pop(key, None)
    room = _MOST_STEPS - len(rows)
    if room < 0:
        return
    for oldest in list(_plans):
        if sum(len(cached_rows) for cached_rows, _ in list(_plans.values())) <= room:
            break
        _plans.pop(oldest, None)
    _plans[key] = rows, plan


def _converter(field: Any, connection: Any) -> Callable[[Any], Any]:
    """A function from a column's raw value to the field's."""
    column = field.get_col(field.model._meta.db_table)
    steps = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]

    def convert(value: Any) -> Any:
        for step in steps:
            value = step(value, column, connection)
        return value

    return convert
