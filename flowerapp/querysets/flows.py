"""Flows, and every change of their state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce, Now

from flowerapp.querysets.statements import ago, status_case
from flowerapp.states import OPEN, SATISFIED, Status

if TYPE_CHECKING:
    from flowerapp.models import Flow


_GOING = Q(exec_status=Status.RUNNING) | Q(exec_status=Status.WAIT, pending=0)
"""Tasks that run, or wait for nothing but their turn or time."""


class FlowQuerySet(models.QuerySet["Flow"]):
    """Flows, and every change of their state."""

    def for_update(self, flow_id: str) -> Flow | None:
        """The flow, locked where the database can."""
        return self.select_for_update().filter(pk=flow_id).first()

    def open(self) -> FlowQuerySet:
        """Flows that have not ended."""
        return self.filter(exec_status__in=OPEN)

    def sink_satisfied(self, flow_id: str) -> int:
        """Count one sink down; the last ends the flow."""
        last = Q(open_sinks=1)
        return (
            self.open()
            .filter(pk=flow_id, open_sinks__gt=0)
            .update(
                exec_status=status_case(last, Status.FINISH),
                finished_ts=Case(When(last, then=Now())),
                held=Case(When(last, then=Value(value=False)), default="held"),
                open_sinks=F("open_sinks") - 1,
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
            self.open().filter(pk=flow_id, held=False).update(held=True, exec_status=Status.SUSPEND, suspended_ts=Now())
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
            exec_status=status_case(Q(exec_status__in=sorted(SATISFIED)), Status.RUNNING),
            finished_ts=None,
        )

    def settle(self, flow_id: str) -> int:
        """Bring an open flow's state in line with its tasks.

        Lock, then look in a second statement: what commits meanwhile settles after us. Call it in a transaction.
        """
        flow = self.for_update(flow_id)
        if flow is None or flow.ended:
            return 0
        tasks = flow.tasks.using(self.db)
        values: dict[str, Any]
        if not tasks.filter(exec_status__in=OPEN).exists():
            ended = {"held": False, "open_sinks": 0, "failed_seq": None}
            values = {"exec_status": Status.FINISH, "finished_ts": Now(), **ended}
        elif flow.held or not tasks.filter(_GOING).exists():
            values = {"exec_status": Status.SUSPEND, "suspended_ts": Coalesce("suspended_ts", Now())}
        else:
            begun = Status.WAIT if flow.started_ts is None else Status.RUNNING
            values = {"exec_status": begun, "suspended_ts": None}
        if flow.exec_status == values["exec_status"]:
            return 0
        return self.open().filter(pk=flow_id).update(**values)

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
        """Flows that ended over ``days`` ago."""
        return self.filter(exec_status__in=SATISFIED, finished_ts__lt=ago(days * 86400))
