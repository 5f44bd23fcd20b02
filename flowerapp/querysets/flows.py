"""Flows, and every change of their state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from flowerapp.querysets import inserting
from flowerapp.querysets.statements import ago, status_case
from flowerapp.states import ACTIVE, OPEN, SATISFIED, Status

if TYPE_CHECKING:
    from flowerapp.models import Flow, Task


_ANEW = Case(When(limited=True, then=Value(value=False)), default=Value(value=True))
"""``admitted`` of a flow that goes on later: one of a workflow with a limit has to wait for its turn again."""

_GOING = Q(exec_status=Status.RUNNING) | Q(exec_status=Status.WAIT, pending=0)
"""Tasks that run, or wait for nothing but their turn or time."""


class FlowQuerySet(models.QuerySet["Flow"]):
    """Flows, and every change of their state."""

    def for_update(self, flow_id: str) -> Flow | None:
        """The flow, locked where the database can."""
        return self.select_for_update().filter(pk=flow_id).first()

    def insert(self, flow: Flow, tasks: Sequence[Task], sent: Collection[int], left_over: Collection[int]) -> None:
        """Write a new flow and its tasks. No model signals.

        Of the seqs, messages for those ``sent`` go out now, and those ``left_over`` follow others of their kind.
        """
        self._for_write = True
        connection = connections[self.db]
        written = (
            inserting.insert(connection, flow, tasks, sent, left_over) if connection.vendor == "postgresql" else None
        )
        if written is None:
            written = self._insert_portably(flow, tasks, sent, left_over)
        flow.registered_ts = written
        flow._state.adding, flow._state.db = False, self.db

    def _insert_portably(
        self, flow: Flow, tasks: Sequence[Task], sent: Collection[int], left_over: Collection[int]
    ) -> datetime:
        if connections[self.db].vendor != "postgresql":
            flow.registered_ts = timezone.now()  # SQLite compares times as text, and its own has fewer digits
        with transaction.atomic(using=self.db):
            self.bulk_create([flow])
            now = self.values_list("registered_ts", flat=True).get(pk=flow.pk)
            for task in tasks:
                task.registered_ts = now
                task.sent_ts = now if task.task_exec_seq in sent else None
                task.left_over = task.task_exec_seq in left_over
                task.finished_ts = now if task.exec_status in SATISFIED else None
            task_model: Any = self.model._meta.get_field("tasks").related_model
            task_model.objects.using(self.db).bulk_create(tasks, batch_size=1000)
        return now

    def open(self) -> FlowQuerySet:
        """Flows that have not ended."""
        return self.filter(exec_status__in=OPEN)

    def sinks_satisfied(self, flow_id: str, number: int) -> int:
        """Count so many sinks down; the last ends the flow."""
        last = Q(open_sinks=number)
        return (
            self.open()
            .filter(pk=flow_id, open_sinks__gte=number)
            .update(
                exec_status=status_case(last, Status.FINISH),
                finished_ts=Case(When(last, then=Now())),
                held=Case(When(last, then=Value(value=False)), default="held"),
                open_sinks=F("open_sinks") - number,
            )
        )

    def point_to_failure(self, flow_id: str, seq: int) -> int:
        """Remember the first task that failed."""
        return self.filter(pk=flow_id, failed_seq__isnull=True).update(failed_seq=seq)

    def replace_state(self, flow_id: str, version: int, state: dict[str, Any]) -> int:
        """Store the shared state, unless it is no longer that of ``version``."""
        value = Value(state, models.JSONField())
        return self.filter(pk=flow_id, state_version=version).update(state=value, state_version=F("state_version") + 1)

    def forget_state(self, flow_id: str) -> int:
        """Let the shared state be empty, as at the beginning."""
        value = Value({}, models.JSONField())
        return self.filter(pk=flow_id).update(state=value, state_version=F("state_version") + 1)

    def hold(self, flow_id: str) -> int:
        """Let no task of an open flow be started."""
        return (
            self.open()
            .filter(pk=flow_id, held=False)
            .update(held=True, admitted=_ANEW, exec_status=Status.SUSPEND, suspended_ts=Now())
        )

    def release(self, flow_id: str) -> int:
        """Undo ``hold``; the caller settles the state."""
        return self.open().filter(pk=flow_id, held=True).update(held=False)

    def cancel(self, flow_id: str) -> int:
        """End an open flow without its success."""
        return (
            self.open()
            .filter(pk=flow_id)
            .update(exec_status=Status.IGNORE, finished_ts=Now(), held=False, open_sinks=0, failed_seq=None)
        )

    def relinked(self, flow_id: str, open_sinks: int, failed_seq: int | None) -> int:
        """Store what an operator's verb made of the flow, open again; the caller settles the state."""
        return self.filter(pk=flow_id).update(
            open_sinks=open_sinks,
            failed_seq=failed_seq,
            admitted=Case(When(exec_status__in=sorted(SATISFIED), then=_ANEW), default="admitted"),
            exec_status=status_case(Q(exec_status__in=sorted(SATISFIED)), Status.RUNNING),
            finished_ts=None,
        )

    def settle(self, flow_id: str) -> Status | None:
        """Bring an open flow's state in line with its tasks; the new state, None if it stays.

        Lock, then look in a second statement: what commits meanwhile settles after us. Call it in a transaction.
        """
        flow = self.for_update(flow_id)
        if flow is None or flow.ended:
            return None
        tasks = flow.tasks.using(self.db)
        values: dict[str, Any]
        if not tasks.filter(exec_status__in=OPEN).exists():
            ended = {"held": False, "open_sinks": 0, "failed_seq": None}
            values = {"exec_status": Status.FINISH, "finished_ts": Now(), **ended}
        elif flow.held or not tasks.filter(_GOING).exists():
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
        """Flows that wait until others of their workflow end, whose turn comes first leading."""
        waiting = self.filter(exec_status__in=ACTIVE, admitted=False, held=False)
        return waiting.order_by("task_priority", F("started_ts").asc(nulls_last=True), "registered_ts", "pk")

    def admit(self, task_id: str, number: int | None) -> list[str]:
        """Let up to ``number`` waiting flows of a workflow go on: their ids. The caller holds the workflow's lock."""
        free = self.waiting().filter(task_id=task_id).select_for_update(skip_locked=True)
        chosen = list(free.values_list("pk", flat=True)[:number])
        self.model.objects.using(self.db).filter(pk__in=chosen).update(admitted=True)
        return chosen

    def next_child_seqs(self, flow_id: str, number: int) -> int:
        """Set aside ``number`` seqs for children; the first. No seq is given twice. In a transaction."""
        flow = self.select_for_update().get(pk=flow_id)
        last = flow.tasks.using(self.db).aggregate(last=models.Max("task_exec_seq"))["last"] or 0
        first = max(last, flow.last_child_seq) + 1
        self.filter(pk=flow_id).update(last_child_seq=first + number - 1)
        return int(first)

    def unsettled(self) -> FlowQuerySet:
        """Open flows that are not Suspend although nothing in them can go on."""
        task_model: Any = self.model._meta.get_field("tasks").related_model
        tasks = task_model.objects.filter(task_flow_id=OuterRef("pk"))
        going = tasks.filter(_GOING)
        return (
            self.filter(exec_status__in=[Status.WAIT, Status.RUNNING])
            .exclude(Exists(going))
            .exclude(Exists(tasks.filter(program="")))
        )

    def ended_before(self, days: float) -> FlowQuerySet:
        """Flows that ended over ``days`` ago, the oldest first; all that are younger are not looked at."""
        then = ago(days * 86400)
        old = self.filter(exec_status__in=SATISFIED, finished_ts__lt=then, registered_ts__lt=then)
        return old.order_by("registered_ts", "task_flow_id")
