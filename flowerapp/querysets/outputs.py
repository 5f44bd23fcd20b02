"""Outputs of tasks, those of skipped ones among them, which are not stored.

A skipped task passes its input on, as a wait does that has ended, and what lies before a flow's entrance passes on the
flow's input. None of them stores a copy: ``output`` of such a task is NULL, and is worked out here when it is read. On
PostgreSQL the tasks that pass on what leads to another are found by one statement, ``SKIPPED``, elsewhere by a look at
all such tasks of the flow. Here "skipped" stands for all that pass their input on.
"""

# ruff: noqa: S608 - what the statement is composed of are states
from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, models
from django.db.models import Case, ExpressionWrapper, F, Q, When

from flowerapp.core import passing
from flowerapp.core.gates import UNSENT, WAITS
from flowerapp.core.passing import FLOW_INPUT, NULL, Skipped, TooLarge
from flowerapp.querysets.sizes import bytes_of, if_small
from flowerapp.states import PASSES_ON, SATISFIED, IgnoredBy, Status

if TYPE_CHECKING:
    from flowerapp.models import Task

TYPED_OUTPUT = ExpressionWrapper(F("output"), output_field=models.JSONField())
"""The column ``output`` of a task as it is stored: with dates, decimals and so on of Celery tasks."""
TYPED_OUTPUT_OF_CHILD = Case(
    When(ignored_by=IgnoredBy.SKIP, output__isnull=True, then=F("item")),
    default=F("output"),
    output_field=models.JSONField(),
)
"""The same of a child: one that was skipped passes on its item."""
_IS_MISSING = ExpressionWrapper(Q(output__isnull=True), output_field=models.BooleanField())

_SKIPPED_BY = PASSES_ON - {IgnoredBy.ENTRANCE}
_REASONS = ", ".join(f"'{reason}'" for reason in sorted(_SKIPPED_BY))
_WAITS = ", ".join(f"'{program}'" for program in sorted(WAITS))
_IS_SKIPPED = (
    f"output IS NULL AND (exec_status + 0 = {Status.IGNORE} AND ignored_by IN ({_REASONS})"
    f" OR exec_status + 0 = {Status.FINISH} AND program IN ({_WAITS}))"
)
"""The "+ 0" keeps the planner from the partial index of ignored tasks; ``finish.py`` explains it."""

SKIPPED = f"""
WITH RECURSIVE skipped AS (
    SELECT task_exec_seq, depends_on, merge, task_seq
      FROM kr_task_stat
     WHERE task_flow_id = %(flow)s AND task_exec_seq = ANY (%(seqs)s::int[]) AND {_IS_SKIPPED}
    UNION
    SELECT before.task_exec_seq, before.depends_on, before.merge, before.task_seq
      FROM skipped
     CROSS JOIN jsonb_array_elements_text(skipped.depends_on) entry(seq)
     CROSS JOIN LATERAL (
        SELECT task_exec_seq, depends_on, merge, task_seq
          FROM kr_task_stat
         WHERE task_flow_id = %(flow)s AND task_exec_seq = entry.seq::int AND {_IS_SKIPPED}
        OFFSET 0  -- a fence: each is one lookup by key, however many the planner expects
     ) before
)
SELECT task_exec_seq, depends_on::text, merge, task_seq FROM skipped
"""
"""The skipped ones of these tasks, and those from which paths of skipped tasks lead to them."""


class _Stored(NamedTuple):
    """The columns of a satisfied task that say what its output is."""

    output: Any
    task_seq: int
    is_missing: bool
    """Whether none is stored, not even null."""
    ignored_by: str
    program: str

    @property
    def known(self) -> Any:
        """The output, ``NULL`` where a gate gives or passes on a null; that of a program is as no output."""
        is_null = self.output is None and not self.is_missing
        return NULL if is_null and self.program in UNSENT else self.output

    @property
    def is_flow_input(self) -> bool:
        return self.is_missing and self.ignored_by == IgnoredBy.ENTRANCE

    @property
    def is_passed_on(self) -> bool:
        waited = self.program in WAITS and not self.ignored_by
        return self.is_missing and (waited or self.ignored_by in _SKIPPED_BY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How outputs are read."""

    typed: bool
    most: int | None
    """Bytes of JSON above which an output is not read; None for no bound."""

    def columns(self, name: str, field: Any) -> list[Any]:
        """What to select for a column of JSON."""
        if self.most is None:
            return [TYPED_OUTPUT if self.typed else name]
        return [if_small(name, self.most, field), bytes_of(name, self.most)]

    def value(self, value: Any, size: int | None = None) -> Any:
        """What was selected: the value, or that it is too large."""
        return TooLarge(size or 0) if self.most is not None and (size or 0) > self.most else value

    def bounded(self, value: Any) -> Any:
        """A value that was put together, or that it is too large."""
        if self.most is None or isinstance(value, TooLarge):
            return value
        return self.value(value, len(json.dumps(value, ensure_ascii=False).encode()))


class OutputQuerySet(models.QuerySet["Task"]):
    """Tasks, as those see them that follow."""

    def outputs(
        self, flow_id: str, seqs: Collection[int], *, typed: bool = False, most: int | None = None
    ) -> dict[int, Any]:
        """Outputs of those of these steps that are satisfied, by seq, in the order of ``task_seq``.

        None stands where there is none, and ``NULL`` for a null that is a value.

        ``typed`` leaves dates, decimals and so on of Celery tasks as they are stored. An output of more than ``most``
        bytes of JSON is not read: it is ``TooLarge``. One statement if none of them was skipped.
        """
        reading = _Reading(typed=typed, most=most)
        stored = self._stored(flow_id, seqs, reading)
        passed_on = [seq for seq, row in stored.items() if row.is_passed_on]
        skipped = self.skipped(flow_id, passed_on) if passed_on else {}
        ways = passing.all_origins(passed_on, skipped)
        origins = {seq for way in ways.values() for seq in way.seqs}
        others = origins - stored.keys() - {FLOW_INPUT}
        rows = stored | (self._stored(flow_id, others, reading) if others else {})
        outputs = {seq: row.known for seq, row in rows.items()}
        from_flow = [seq for seq, row in rows.items() if row.is_flow_input]
        if from_flow or FLOW_INPUT in origins:
            outputs |= dict.fromkeys([*from_flow, FLOW_INPUT], self._flow_input(flow_id, reading))
        there = {seq: passing.value_of(output) for seq, output in outputs.items()}
        ranks = {seq: row.task_seq for seq, row in (rows | skipped).items()}
        ways = passing.all_origins(passed_on, skipped, lambda seq: (ranks.get(seq, seq), seq))
        joined = {seq: reading.bounded(way.joined(there)) for seq, way in ways.items()}
        outputs |= {seq: NULL if output is None else output for seq, output in joined.items()}
        return {seq: outputs[seq] for seq in stored}

    def passed_on(self, task: Task) -> Any:
        """What takes the place of the output of a task that has none: the item of a child, the input of a step."""
        if task.parent_seq is not None:
            return task.item
        return passing.plain(self.outputs(task.task_flow_id, [task.task_exec_seq]).get(task.task_exec_seq))

    def _stored(self, flow_id: str, seqs: Collection[int], reading: _Reading) -> dict[int, _Stored]:
        rows = self.filter(task_flow_id=flow_id, task_exec_seq__in=seqs, exec_status__in=SATISFIED)
        columns = reading.columns("output", self.model._meta.get_field("output").clone())
        selected = rows.order_by("task_seq", "task_exec_seq").values_list(
            "task_exec_seq", "task_seq", _IS_MISSING, "ignored_by", "program", *columns
        )
        return {
            seq: _Stored(reading.value(*output), *others)
            for seq, *others, output in ((*row[:5], row[5:]) for row in selected)
        }

    def skipped(self, flow_id: str, seqs: Collection[int]) -> dict[int, Skipped]:
        """The skipped ones of these steps, and those from which paths of skipped ones lead to them, by seq."""
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return self._skipped_portably(flow_id)
        with connection.cursor() as cursor:
            cursor.execute(SKIPPED, {"flow": flow_id, "seqs": list(seqs)})
            return {seq: Skipped(json.loads(depends_on), *others) for seq, depends_on, *others in cursor.fetchall()}

    def _skipped_portably(self, flow_id: str) -> dict[int, Skipped]:
        skipped = Q(exec_status=Status.IGNORE, ignored_by__in=_SKIPPED_BY)
        waited = Q(exec_status=Status.FINISH, program__in=sorted(WAITS))
        rows = self.filter(skipped | waited, task_flow_id=flow_id, output__isnull=True)
        columns = rows.values_list("task_exec_seq", "depends_on", "merge", "task_seq")
        return {seq: Skipped(*others) for seq, *others in columns}

    def _flow_input(self, flow_id: str, reading: _Reading) -> Any:
        flow_model: Any = self.model._meta.get_field("task_flow").related_model
        columns = ["input"] if reading.most is None else reading.columns("input", None)
        return reading.value(*flow_model.objects.using(self.db).values_list(*columns).get(pk=flow_id))
