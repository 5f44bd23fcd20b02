"""The ends of many waits at once, of any flows: what ``finish`` does for one, in statements for all."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import models
from django.db.models import F, Q, Value

from flowerapp.core import passing
from flowerapp.core.messages import TaskRef
from flowerapp.querysets.clock import Now
from flowerapp.querysets.db import batched
from flowerapp.querysets.finish import COLUMNS_OF_READY, FinishQuerySet, Outcome, completion_of, deferred_among
from flowerapp.querysets.successes import Completion
from flowerapp.states import OPEN, Status

MOST_AT_ONCE = 500
"""Waits that one transaction ends."""
MOST_SENT = 50
"""Tasks of one transaction that its process sends; the watcher sends the others, so that waits behind them end soon."""


class Ended(NamedTuple):
    """A wait that was ended."""

    pk: int
    ref: TaskRef
    task_id: str
    program: str
    dependents: list[int]


class _Dependent(NamedTuple):
    """A task that waits for some of them."""

    pk: int
    flow_id: str
    seq: int
    pending: int
    sendable: bool
    program: str
    queue: str
    priority: int


_MARKS: dict[str, dict[str, Any]] = {
    "": {},
    "sent": {"sent_ts": Now()},
    "unsent": {"sent_ts": None},
    "deferred": {"deferred": True},
}
"""What is recorded of a dependent: it is sent now, later by the watcher, behind others; or it does not start yet."""


class FinishManyQuerySet(FinishQuerySet):
    """Tasks, many of which end at once."""

    def finish_waits(
        self, outputs: Mapping[int, Any], *, patient: bool = False
    ) -> tuple[list[Ended], dict[str, Completion]]:
        """End waits that have begun, and release what depends on them: those that ended, and by flow what followed.

        ``outputs`` has for the key of each its output, ``NULL`` for null, None for the input that it passes on. At most
        ``MOST_AT_ONCE`` in a transaction. Those that have ended are left out, and those that another process has
        locked, unless it is ``patient``.
        """
        ended = self._lock_waits(outputs, patient=patient)
        self._store_outputs([wait.pk for wait in ended], outputs)
        ready, deferring = self._count_down_for(ended)
        facts = self._end_flows_of(ended)
        rows: dict[str, list[Any]] = defaultdict(list)
        for flow_id, *columns in ready:
            rows[flow_id].append(columns)
        followed = {
            flow_id: completion_of(flow_id, Outcome(*fact, flow_id in deferring, claimed=None), rows[flow_id])
            for flow_id, fact in facts.items()
        }
        return ended, followed

    def _lock_waits(self, keys: Iterable[int], *, patient: bool) -> list[Ended]:
        begun = self.filter(pk__in=list(keys)).begun_waits()
        locked = begun.select_for_update(of=("self",), skip_locked=not patient)
        locked = locked.order_by("task_flow_id", "task_exec_seq")
        rows = locked.values_list("pk", "task_flow_id", "task_exec_seq", "task_id", "program", "dependents")
        return [Ended(pk, TaskRef(flow_id, seq), *others) for pk, flow_id, seq, *others in rows]

    def _store_outputs(self, keys: Sequence[int], outputs: Mapping[int, Any]) -> None:
        alike: dict[str, list[int]] = defaultdict(list)
        for key in keys:
            output = outputs[key]
            alike["" if output is None else json.dumps(passing.plain(output))].append(key)
        done: dict[str, Any] = {
            "exec_status": Status.FINISH,
            "parked": False,
            "due_ts": None,
            "finished_ts": Now(),
            "error": "",
            "traceback": "",
        }
        for text, same in alike.items():
            output = {"output": Value(json.loads(text), models.JSONField())} if text else {}
            self.filter(pk__in=same).update(**done, **output)

    def _count_down_for(self, ended: Collection[Ended]) -> tuple[list[Any], set[str]]:
        """What became ready, each with its flow and the columns of a ready task; and the flows in which more is."""
        ends = Counter((wait.ref.flow_id, seq) for wait in ended for seq in wait.dependents)
        dependents = self._lock_dependents(ends)
        sent = self._not_deferred(dependents, ends)
        first = set(sorted(sent)[:MOST_SENT])
        alike: dict[tuple[int, str], list[int]] = defaultdict(list)
        for task in dependents:
            number = ends[task.flow_id, task.seq]
            ready = task.sendable and task.pending == number
            mark = "" if not ready else "sent" if task.pk in first else "unsent" if task.pk in sent else "deferred"
            alike[number, mark].append(task.pk)
        for (number, mark), keys in alike.items():
            for batch in batched(keys):
                self.filter(pk__in=batch).update(pending=F("pending") - number, **_MARKS[mark])
        deferring = {task.flow_id for task in dependents if task.sendable and task.pk not in sent}
        return self._ready_columns([task.pk for task in dependents]), deferring

    def _lock_dependents(self, ends: Collection[tuple[str, int]]) -> list[_Dependent]:
        by_flow: dict[str, set[int]] = defaultdict(set)
        for flow_id, seq in ends:
            by_flow[flow_id].add(seq)
        alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for flow_id, seqs in by_flow.items():
            alike[tuple(sorted(seqs))].append(flow_id)
        wanted = Q(pk__in=[])
        for same, flow_ids in alike.items():
            wanted |= Q(task_flow_id__in=flow_ids, task_exec_seq__in=same)
        rows = self.filter(wanted, exec_status__in=OPEN, pending__gt=0).select_for_update(of=("self",))
        columns = ("pk", "task_flow_id", "task_exec_seq", "pending", "admitted", "parked", "exec_status")
        ordered = rows.order_by("task_flow_id", "task_exec_seq")
        return [
            _Dependent(pk, flow_id, seq, pending, admitted and not parked and status == Status.WAIT, *others)
            for pk, flow_id, seq, pending, admitted, parked, status, *others in ordered.values_list(
                *columns, "program", "queue", "task_priority"
            )
        ]

    def _not_deferred(self, dependents: Iterable[_Dependent], ends: Mapping[tuple[str, int], int]) -> set[int]:
        """Keys of the tasks that are sent at first."""
        by_flow: dict[str, list[_Dependent]] = defaultdict(list)
        for task in dependents:
            if task.sendable and task.pending == ends[task.flow_id, task.seq]:
                by_flow[task.flow_id].append(task)
        sent: set[int] = set()
        for tasks in by_flow.values():
            later = deferred_among([(task.seq, task.program, task.queue, task.priority) for task in tasks])
            sent |= {task.pk for task in tasks if task.seq not in later}
        return sent

    def _ready_columns(self, keys: Sequence[int]) -> list[Any]:
        """Of those of these tasks that are ready and not left to the watcher."""
        taken = Q(sent_ts__isnull=False) | Q(admitted=False) | Q(parked=True)
        ready = self.filter(taken, pending=0, exec_status=Status.WAIT, deferred=False)
        ready = ready.order_by("task_flow_id", "task_exec_seq")
        columns = ("task_flow_id", *COLUMNS_OF_READY)
        return [row for batch in batched(keys) for row in ready.filter(pk__in=batch).values_list(*columns)]

    def _end_flows_of(self, ended: Collection[Ended]) -> dict[str, tuple[bool, bool, int | None]]:
        """By flow whether it ended with its last sink, whether its workflow is limited, and what failed first."""
        sinks = Counter(wait.ref.flow_id for wait in ended if not wait.dependents)
        flows = self._flows()
        list(flows.filter(pk__in=sinks).order_by("pk").select_for_update().values_list("pk"))
        alike: dict[int, list[str]] = defaultdict(list)
        for flow_id, number in sinks.items():
            alike[number].append(flow_id)
        for number, flow_ids in alike.items():
            flows.sinks_satisfied(flow_ids, number)
        facts = flows.filter(pk__in={wait.ref.flow_id for wait in ended})
        return {
            flow_id: (status == Status.FINISH and flow_id in sinks, limited, failed_seq)
            for flow_id, status, limited, failed_seq in facts.values_list("pk", "exec_status", "limited", "failed_seq")
        }
