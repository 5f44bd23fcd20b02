"""Flows, and every change of their status."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce

from flowerapp.querysets import insert, restored
from flowerapp.querysets.clock import Now, ago
from flowerapp.querysets.db import status_case
from flowerapp.querysets.insert import Expected, NewFlow
from flowerapp.states import ACTIVE, OPEN, SATISFIED, Status

if TYPE_CHECKING:
    from flowerapp.models import Flow, Task


_ANEW = Case(When(limited=True, then=Value(value=False)), default=Value(value=True))
"""``admitted`` of a flow that continues later: one of a workflow with a limit must be admitted again."""

_CONTINUING = Q(exec_status=Status.RUNNING) | Q(exec_status=Status.WAIT, pending=0)
"""Tasks that continue by themselves: they run, or wait for nothing but a worker, a slot or a time."""


class FlowQuerySet(models.QuerySet["Flow"]):
    """Flows, and every change of their status."""

    def for_update(self, flow_id: str) -> Flow | None:
        """The flow, locked where the database can."""
        return self.select_for_update().filter(pk=flow_id).first()

    def insert(self, new: Sequence[NewFlow]) -> None:
        """Write new flows and their tasks, all or none, without model signals."""
        self._for_write = True
        self._written(new, insert.insert(self, new))

    def insert_expected(self, new: NewFlow, expected: Expected) -> bool:
        """Write a new flow and its tasks, if its workflow is as expected; False if not. On PostgreSQL."""
        self._for_write = True
        registered_ts = insert.insert_expected(self, [new], expected)
        if registered_ts is not None:
            self._written([new], registered_ts)
        return registered_ts is not None

    def _written(self, new: Sequence[NewFlow], registered_ts: datetime) -> None:
        for flow, *_ in new:
            flow.registered_ts = registered_ts
            flow._state.adding, flow._state.db = False, self.db

    def restore(self, flow: Flow, tasks: Sequence[Task], history: Iterable[Any], logs: Iterable[Any]) -> None:
        """Write the unsaved rows of an archived flow, in the statuses that they have. In a transaction."""
        restored.write(self, flow, tasks, history, logs)

    def open(self) -> FlowQuerySet:
        """Flows that have not ended."""
        return self.filter(exec_status__in=OPEN)

    def sinks_satisfied(self, flow_ids: Collection[str], number: int) -> int:
        """Reduce the count of open sinks of each of these flows by ``number``; at 0 a flow is Finish."""
        last = Q(open_sinks=number)
        return (
            self.open()
            .filter(pk__in=flow_ids, open_sinks__gte=number)
            .update(
                exec_status=status_case(last, Status.FINISH),
                finished_ts=Case(When(last, then=Now())),
                held=Case(When(last, then=Value(value=False)), default="held"),
                open_sinks=F("open_sinks") - number,
            )
        )

    def point_to_failure(self, flow_id: str, seq: int) -> int:
        """Record the task that failed, unless an earlier failure is recorded."""
        return self.filter(pk=flow_id, failed_seq__isnull=True).update(failed_seq=seq)

    def replace_state(self, flow_id: str, version: int, state: dict[str, Any]) -> int:
        """Store the shared state, unless it is no longer that of ``version``."""
        value = Value(state, models.JSONField())
        return self.filter(pk=flow_id, state_version=version).update(state=value, state_version=F("state_version") + 1)

    def forget_state(self, flow_id: str) -> int:
        """Empty the shared state, as at the beginning."""
        value = Value({}, models.JSONField())
        return self.filter(pk=flow_id).update(state=value, state_version=F("state_version") + 1)

    def begin(self, flow_id: str) -> bool:
        """Make an open flow that is not held Running, as another system has claimed a task of it; whether it is its
        first start. In a transaction.
        """
        flow = self.for_update(flow_id)
        if flow is None or flow.held or flow.status not in (Status.WAIT, Status.SUSPEND):
            return False
        started_ts = Coalesce("started_ts", Now())
        self.filter(pk=flow_id).update(exec_status=Status.RUNNING, started_ts=started_ts, suspended_ts=None)
        return flow.started_ts is None

    def begin_elsewhere(self, flow_id: str) -> int:
        """Record the start of a flow whose first task is another system's; the caller settles the status."""
        begun = self.filter(pk=flow_id, started_ts=None).exclude(exec_status=Status.IGNORE)
        return begun.update(started_ts=Now())

    def begin_waiting(self, flow_ids: Collection[str]) -> int:
        """Record the start of flows whose first tasks are waits."""
        begun = self.filter(pk__in=flow_ids, started_ts=None, exec_status=Status.WAIT)
        if len(flow_ids) > 1:
            begun = self.filter(pk__in=list(begun.select_for_update().order_by("pk").values_list("pk", flat=True)))
        return begun.update(started_ts=Now(), exec_status=Status.RUNNING)

    def hold(self, flow_id: str) -> int:
        """Hold an open flow: none of its tasks is started until ``release``."""
        return (
            self.open()
            .filter(pk=flow_id, held=False)
            .update(held=True, admitted=_ANEW, exec_status=Status.SUSPEND, suspended_ts=Now())
        )

    def release(self, flow_id: str) -> int:
        """Undo ``hold``; the caller settles the status. One that has failed meanwhile stands from now on."""
        return self.open().filter(pk=flow_id, held=True).update(held=False, suspended_ts=Now())

    def cancel(self, flow_id: str) -> int:
        """End an open flow as Ignore."""
        return (
            self.open()
            .filter(pk=flow_id)
            .update(exec_status=Status.IGNORE, finished_ts=Now(), held=False, open_sinks=0, failed_seq=None)
        )

    def save_readiness(self, flow_id: str, open_sinks: int, failed_seq: int | None) -> int:
        """Store what was recomputed from the statuses of its tasks, and reopen an ended flow; the caller settles it."""
        return self.filter(pk=flow_id).update(
            open_sinks=open_sinks,
            failed_seq=failed_seq,
            admitted=Case(When(exec_status__in=sorted(SATISFIED), then=_ANEW), default="admitted"),
            suspended_ts=Case(When(exec_status__in=sorted(SATISFIED), then=None), default="suspended_ts"),
            exec_status=status_case(Q(exec_status__in=sorted(SATISFIED)), Status.RUNNING),
            finished_ts=None,
        )

    def settle(self, flow_id: str) -> Status | None:
        """Bring an open flow's status in line with its tasks; the new status, or None if it does not change.

        The flow is locked first and its tasks are read by a second statement, which sees all that was committed before
        the lock; what commits later settles again. In a transaction.
        """
        flow = self.for_update(flow_id)
        if flow is None or flow.ended:
            return None
        tasks = flow.tasks.using(self.db)
        values: dict[str, Any]
        if not tasks.filter(exec_status__in=OPEN).exists():
            ended = {"held": False, "open_sinks": 0, "failed_seq": None}
            values = {"exec_status": Status.FINISH, "finished_ts": Now(), **ended}
        elif flow.held or not tasks.filter(_CONTINUING).exists():
            values = {"exec_status": Status.SUSPEND, "suspended_ts": Coalesce("suspended_ts", Now()), "admitted": _ANEW}
        else:
            begun = Status.WAIT if flow.started_ts is None else Status.RUNNING
            values = {"exec_status": begun, "suspended_ts": None}
        if flow.exec_status == values["exec_status"]:
            return None
        self.open().filter(pk=flow_id).update(**values)
        return Status(values["exec_status"])

    def active(self, task_id: str) -> FlowQuerySet:
        """Flows of a workflow that count against its limit."""
        return self.filter(task_id=task_id, exec_status__in=ACTIVE, admitted=True, held=False)

    def waiting(self) -> FlowQuerySet:
        """Flows that wait until others of their workflow end; the next in line comes first."""
        waiting = self.filter(exec_status__in=ACTIVE, admitted=False, held=False)
        return waiting.order_by("task_priority", F("started_ts").asc(nulls_last=True), "registered_ts", "pk")

    def admit(self, task_id: str, number: int) -> list[str]:
        """Admit up to ``number`` waiting flows of a workflow: their ids. The caller holds the workflow's lock."""
        free = self.waiting().filter(task_id=task_id).select_for_update(skip_locked=True)
        chosen = list(free.values_list("pk", flat=True)[:number])
        self.model.objects.using(self.db).filter(pk__in=chosen).update(admitted=True)
        return chosen

    def next_child_seqs(self, flow_id: str, number: int) -> int:
        """Reserve ``number`` consecutive seqs for children: the first. None is given twice. In a transaction."""
        flow = self.select_for_update().get(pk=flow_id)
        last = flow.tasks.using(self.db).aggregate(last=models.Max("task_exec_seq"))["last"] or 0
        first = max(last, flow.last_child_seq) + 1
        self.filter(pk=flow_id).update(last_child_seq=first + number - 1)
        return int(first)

    def going(self) -> FlowQuerySet:
        """Flows that are Wait or Running."""
        return self.filter(exec_status__in=sorted(ACTIVE))

    def failed_and_going(self) -> FlowQuerySet:
        """Those of them in which a task has failed."""
        return self.going().filter(failed_seq__isnull=False)

    def unsettled(self) -> FlowQuerySet:
        """Flows that are Wait or Running although none of their tasks can continue by itself."""
        task_model: Any = self.model._meta.get_field("tasks").related_model
        tasks = task_model.objects.filter(task_flow_id=OuterRef("pk"))
        continuing = tasks.filter(_CONTINUING)
        return self.going().exclude(Exists(continuing)).exclude(Exists(tasks.unobserved()))

    def ended_before(self, days: float) -> FlowQuerySet:
        """Flows that ended over ``days`` ago, the oldest first. The index on ``registered_ts`` bounds what is read.

        The days of a flow that was restored count from then.
        """
        then = ago(days * 86400)
        old = self.filter(exec_status__in=SATISFIED, finished_ts__lt=then, registered_ts__lt=then)
        old = old.filter(Q(restored_ts=None) | Q(restored_ts__lt=then))
        return old.order_by("registered_ts", "task_flow_id")
