"""The history, and the outbox of hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.models import Q

from flowerapp.core.identity import Process
from flowerapp.core.masking import masked
from flowerapp.core.messages import TaskRef
from flowerapp.core.values import brief, text
from flowerapp.querysets.clock import Now, ago
from flowerapp.querysets.db import atomic

LONGEST_DETAILS = 20_000
"""About how many characters of JSON the details of an entry have at most."""


class HistoryQuerySet(models.QuerySet[Any]):
    """The history."""

    def record(
        self, verb: str, flow_id: str, seq: int | None = None, *, details: dict[str, Any] | None = None, **facts: Any
    ) -> None:
        """Write one transition, in the transaction that makes it, and no secret; ``facts`` are the other columns."""
        facts["actor"] = text(facts.get("actor", ""))[:150]
        facts["reason"] = masked(text(facts.get("reason", "")))
        kept = brief(masked(details or {}), LONGEST_DETAILS)
        self.create(verb=verb, task_flow_id=flow_id, task_exec_seq=seq, details=kept, **facts)

    def record_all(self, verb: str, refs: Sequence[TaskRef], reason: str) -> None:
        """Write one transition, made by the watcher, for many tasks."""
        rows = [
            self.model(verb=verb, task_flow_id=flow_id, task_exec_seq=seq, actor="watcher", reason=masked(reason))
            for flow_id, seq in refs
        ]
        self.bulk_create(rows, batch_size=500)


DELIVERY_BATCH = 100
"""Most events that one process takes at once: a delivery must end before another process would take it over."""


class HookQuerySet(models.QuerySet[Any]):
    """The outbox: events that were recorded and are still to be delivered."""

    def record(self, event: str, flow_id: str, seq: int | None = None, *, attempt: int | None, error: str = "") -> None:
        """Record an event, in the transaction that makes it."""
        self.create(event=event, task_flow_id=flow_id, task_exec_seq=seq, attempt=attempt, error=error)

    def take(self, flow_id: str, process: Process) -> list[Any]:
        """Take the events of a flow that no process delivers yet, the oldest first."""
        with atomic(self.db):
            free = self.select_for_update(skip_locked=True).filter(task_flow_id=flow_id, worker="").order_by("id")
            taken = list(free[:DELIVERY_BATCH])
            self.filter(pk__in=[hook.pk for hook in taken]).update(
                worker=process.worker, pid=process.pid, taken_ts=Now()
            )
            return taken

    def release(self) -> int:
        """Give these events back, for any process to take."""
        return self.exclude(worker="").update(worker="", pid=None, taken_ts=None)

    def undelivered(self, seconds: float, limit: int = 100) -> list[str]:
        """Ids of flows with events that no process delivers; none is returned again within ``seconds``."""
        waiting = self.filter(Q(taken_ts=None) | Q(taken_ts__lt=ago(seconds)), worker="")
        flow_ids = list(waiting.order_by("task_flow_id").values_list("task_flow_id", flat=True).distinct()[:limit])
        self.filter(task_flow_id__in=flow_ids, worker="").update(taken_ts=Now())
        return flow_ids

    def abandoned(self, alive: Sequence[str], seconds: float) -> HookQuerySet:
        """Events that were taken by a worker that is none of ``alive``, or over ``seconds`` ago."""
        taken = self.exclude(worker="")
        return taken.filter(~Q(worker__in=alive) | Q(taken_ts__lt=ago(seconds)))
