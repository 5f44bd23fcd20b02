"""Events, what waits for them, and latches."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connections, models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from flowerapp.core.gates import WAITS
from flowerapp.core.messages import TaskRef
from flowerapp.querysets.clock import Now, ago
from flowerapp.states import Status

if TYPE_CHECKING:
    from flowerapp.models import Event, Latch, LatchHold, Wait  # noqa: F401 - named in quotes


class EventQuerySet(models.QuerySet[Any]):
    """Events."""

    def kept(self, kind: str, since: datetime | None, match: dict[str, Any] | None) -> EventQuerySet:
        """Events that no wait has consumed, the oldest first: of a kind, since a time, and that may match.

        PostgreSQL leaves out what cannot match; the caller tests what comes.
        """
        kept = self.filter(kind=kind, consumed_ts=None)
        if since is not None:
            kept = kept.filter(ts__gte=since)
        if match and connections[self.db].vendor == "postgresql":
            kept = kept.filter(data__contains=match)
        return kept.order_by("id")

    def lock(self, event_id: int) -> None:
        """Lock an event where the database can. In a transaction."""
        list(self.select_for_update().filter(pk=event_id).values_list("pk"))

    def consume(self, event_id: int) -> int:
        """Mark an event as taken; 0 if it was taken before."""
        return self.filter(pk=event_id, consumed_ts=None).update(consumed_ts=Now())

    def mark_offered(self, event_id: int) -> int:
        """Record that all that waited for an event when it came has been ended."""
        return self.filter(pk=event_id, offered=False).update(offered=True)

    def left_behind(self, seconds: float) -> EventQuerySet:
        """Events whose process did not offer them for ``seconds``."""
        return self.filter(offered=False, ts__lt=ago(seconds)).order_by("id")

    def older(self, days: float) -> EventQuerySet:
        """Events that came over ``days`` ago, the oldest first."""
        return self.filter(offered=True, ts__lt=ago(days * 86_400)).order_by("ts")


class WaitQuerySet(models.QuerySet[Any]):
    """What waits for events and latches."""

    def begun(self) -> WaitQuerySet:
        """Those whose task still waits; a verb has ended the others."""
        task_model: Any = self.model._meta.apps.get_model("flowerapp", "Task")
        own = task_model.objects.filter(task_flow_id=OuterRef("task_flow_id"), task_exec_seq=OuterRef("task_exec_seq"))
        waiting = own.filter(program__in=sorted(WAITS), exec_status=Status.WAIT, parked=True, started_ts__isnull=False)
        return self.filter(Exists(waiting))

    def for_event(self, kind: str, anchors: Collection[str]) -> WaitQuerySet:
        """Those that may match an event of this kind, the oldest first; the caller tests what comes."""
        return self.filter(event=kind, anchor__in=["", *anchors]).order_by("id")

    def open_latch(self, name: str) -> int:
        """Mark what waits for a latch as to be ended: it has come to zero."""
        return self.filter(latch=name, looked=True).update(looked=False)

    def opened(self, name: str) -> WaitQuerySet:
        """What is to be ended since that latch came to zero, the oldest first."""
        return self.filter(latch=name, looked=False).order_by("id")

    def left_behind(self, seconds: float) -> WaitQuerySet:
        """Those that no process has looked at for ``seconds``, as it should have: an earlier event may match, or their
        latch has come to zero."""
        return self.filter(looked=False, ts__lt=ago(seconds)).order_by("id")

    def forget(self, refs: Collection[TaskRef]) -> int:
        """Delete those of these tasks."""
        if not refs:
            return 0
        own = self.filter(task_flow_id__in={ref.flow_id for ref in refs}).values_list(
            "pk", "task_flow_id", "task_exec_seq"
        )
        keys = [key for key, flow_id, seq in own if TaskRef(flow_id, seq) in set(refs)]
        return self.filter(pk__in=keys).delete()[0]

    def forget_ended(self, flow_id: str) -> int:
        """Delete those of a flow whose tasks no longer wait."""
        own = self.filter(task_flow_id=flow_id)
        return own.exclude(pk__in=own.begun().values("pk")).delete()[0]


class LatchQuerySet(models.QuerySet["Latch"]):
    """Latches."""

    def lock(self, name: str) -> Latch | None:
        """The latch, locked where the database can. In a transaction."""
        return self.select_for_update().filter(pk=name).first()

    def with_use(self) -> LatchQuerySet:
        """Latches with ``count``, how often each is held, and ``waiting``, the tasks that wait for it."""
        models_of = self.model._meta.apps.get_model
        holds: Any = models_of("flowerapp", "LatchHold").objects.filter(latch_id=OuterRef("pk"))
        waits: Any = models_of("flowerapp", "Wait").objects.filter(latch=OuterRef("pk"))
        used: LatchQuerySet = self.annotate(count=_number(holds, "latch_id"), waiting=_number(waits, "latch"))
        return used

    def at_zero(self) -> LatchQuerySet:
        """Latches that nothing holds any more."""
        hold_model: Any = self.model._meta.apps.get_model("flowerapp", "LatchHold")
        return self.exclude(Exists(hold_model.objects.filter(latch_id=OuterRef("pk"))))


def _number(rows: Any, column: str) -> Coalesce:
    """Number of the rows of a latch, as a subquery of the statement that reads the latches."""
    counted = rows.order_by().values(column).annotate(number=models.Count("pk")).values("number")
    return Coalesce(Subquery(counted, output_field=models.IntegerField()), 0)


class LatchHoldQuerySet(models.QuerySet["LatchHold"]):
    """The counts of latches."""

    def next_of(self, name: str, flow_id: str) -> LatchHold | None:
        """The count that a release by a flow takes away: its own oldest, else the oldest of all."""
        holds = self.filter(latch_id=name)
        return holds.filter(task_flow_id=flow_id).order_by("id").first() or holds.order_by("id").first()

    def of_latch(self, name: str, flow_id: str | None = None) -> LatchHoldQuerySet:
        """The counts of a latch, or those of one flow among them, the oldest first."""
        holds = self.filter(latch_id=name).order_by("id")
        return holds if flow_id is None else holds.filter(task_flow_id=flow_id)

    def of_ended(self) -> LatchHoldQuerySet:
        """Counts of flows that were cancelled or deleted."""
        flow_model: Any = self.model._meta.apps.get_model("flowerapp", "Flow")
        flows = flow_model.objects.filter(pk=OuterRef("task_flow_id"))
        return self.filter(Exists(flows.filter(exec_status=Status.IGNORE)) | ~Q(Exists(flows)))
