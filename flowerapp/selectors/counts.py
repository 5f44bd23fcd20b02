"""How many tasks of a flow, or children of a task, are in which status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Count, F, Max, Q

from flowerapp.models import Flow, Task
from flowerapp.querysets.db import batched
from flowerapp.selectors.naming import LABEL
from flowerapp.selectors.status_style import CANCELLED, SKIPPED, STYLES, TOLERATED, Style, task_style
from flowerapp.states import IgnoredBy, Status


@dataclass(slots=True)
class Counts:
    """Numbers of tasks; children count among the tasks of a flow."""

    by_style: Counter[Style] = field(default_factory=Counter)
    by_status: Counter[Status] = field(default_factory=Counter)
    tolerated: int = 0
    """Children that failed and whose parents continue without them."""
    steps: int = 0
    """Those that are no children."""
    failed_parents: int = 0
    first_failed: tuple[str, str] = ("", "")
    """Of a flow: name and program of the task that failed first."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.by_status.total()

    @property
    def done(self) -> int:
        """Those that are Finish; skipped and cancelled ones are not done."""
        return self.by_status[Status.FINISH]

    @property
    def failed(self) -> int:
        """Those that are failed now; a parent counts only where no task without children has failed."""
        suspended = self.by_status[Status.SUSPEND]
        return suspended - self.failed_parents or suspended

    @property
    def text(self) -> str:
        """``12 of 1,002 done, 1 failed, 2 cancelled``."""
        return self._said("")

    @property
    def tasks_text(self) -> str:
        """``12 of 1,002 tasks done, 1 failed, 2 cancelled``, of the tasks of a flow."""
        return self._said(" tasks")

    @property
    def children_text(self) -> str:
        """``6 of 10 children done, 1 failed, 2 cancelled``, of the children of one task."""
        return self._said(" children")

    def _said(self, what: str) -> str:
        numbers = {
            "failed": self.failed + self.tolerated,
            "skipped": self.by_style[SKIPPED] - self.tolerated,
            "cancelled": self.by_style[CANCELLED],
        }
        others = "".join(f", {number:,} {word}" for word, number in numbers.items() if number)
        return f"{self.done:,} of {self.total:,}{what} done{others}"

    def listed(self) -> list[tuple[Style, int]]:
        """Styles that there are, each with its number; failures that are tolerated have one of their own."""
        numbers = {**self.by_style, SKIPPED: self.by_style[SKIPPED] - self.tolerated, TOLERATED: self.tolerated}
        return [(style, numbers[style]) for style in (*STYLES, TOLERATED) if numbers.get(style)]

    def _add(
        self, status: int, ignored_by: str, number: int, steps: int, parents: int, *first_failed: str | None
    ) -> None:
        self.by_status[Status(status)] += number
        self.by_style[task_style(status, ignored_by)] += number
        self.steps += steps
        self.tolerated += number if ignored_by == IgnoredBy.TOLERATED else 0
        self.failed_parents += parents if status == Status.SUSPEND else 0
        if any(first_failed):
            name, program = first_failed
            self.first_failed = (name or "", program or "")


COUNTED_TOGETHER = 100
"""Flows that one statement counts; of many more PostgreSQL would rather read the whole table."""
_NUMBERS = {
    "number": Count("pk"),
    "steps": Count("pk", filter=Q(parent_seq=None)),
    "parents": Count("pk", filter=Q(children__gt=0)),
}


def _counted(tasks: Any, key: str, facts: Mapping[str, Any]) -> dict[Any, Counts]:
    """Counts by the values of a column; one statement."""
    result: dict[Any, Counts] = {}
    rows = tasks.order_by().values(key, "exec_status", "ignored_by").annotate(**facts)
    for row in rows.values_list(key, "exec_status", "ignored_by", *facts):
        result.setdefault(row[0], Counts())._add(*row[1:])
    return result


def of_flows(flows: Collection[Flow]) -> dict[str, Counts]:
    """Counts of each flow by its id, children included; one statement for each ``COUNTED_TOGETHER`` of them."""
    counts: dict[str, Counts] = {flow.pk: Counts() for flow in flows}
    for batch in batched(list(flows), COUNTED_TOGETHER):
        tasks = Task.objects.filter(task_flow_id__in=[flow.pk for flow in batch])
        counts |= _counted(tasks, "task_flow_id", _NUMBERS | _first_failed(batch))
    return counts


def _first_failed(flows: Iterable[Flow]) -> dict[str, Any]:
    """Name and program of the task that failed first, without reading the flows again."""
    failed = [Q(task_flow_id=flow.pk, task_exec_seq=flow.failed_seq) for flow in flows if flow.failed_seq is not None]
    if not failed:
        return {}
    columns = {"failed_name": LABEL, "failed_program": F("program")}
    return {name: Max(column, filter=reduce(or_, failed)) for name, column in columns.items()}


def of_flow(flow: Flow) -> Counts:
    """Counts of one flow, children included."""
    return of_flows([flow])[flow.pk]


def of_children(flow_id: str, parents: Iterable[int]) -> dict[int, Counts]:
    """Counts of the children of these tasks of a flow, by the seq of the parent; no statement without parents."""
    seqs = list(parents)
    if not seqs:
        return {}
    return _counted(Task.objects.filter(task_flow_id=flow_id, parent_seq__in=seqs), "parent_seq", _NUMBERS)
