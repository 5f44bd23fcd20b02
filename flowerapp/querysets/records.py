"""What goes with running: the history, the workers, and which of them leads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from flowerapp.querysets.statements import ago
from flowerapp.values import text


class EventQuerySet(models.QuerySet[Any]):
    """The history."""

    def record(
        self, verb: str, flow_id: str, seq: int | None = None, *, details: dict[str, Any] | None = None, **facts: Any
    ) -> None:
        """Write one transition, in the transaction that makes it; ``facts`` are the other columns."""
        facts["actor"] = text(facts.get("actor", ""))[:150]
        facts["reason"] = text(facts.get("reason", ""))
        self.create(verb=verb, task_flow_id=flow_id, task_exec_seq=seq, details=details or {}, **facts)

    def record_all(self, verb: str, places: Sequence[tuple[str, int]], reason: str) -> None:
        """Write the same transition by the watcher for many tasks."""
        rows = [
            self.model(verb=verb, task_flow_id=flow_id, task_exec_seq=seq, actor="watcher", reason=reason)
            for flow_id, seq in places
        ]
        self.bulk_create(rows, batch_size=500)


class WorkerQuerySet(models.QuerySet[Any]):
    """Running workers."""

    def living(self, seconds: float) -> WorkerQuerySet:
        """Workers that gave a sign of life within ``seconds`` and did not say goodbye."""
        return self.filter(seen_ts__gte=ago(seconds), stopped_ts__isnull=True)

    def processes(self) -> int:
        """How many processes, or threads, they have together."""
        return sum(self.values_list("concurrency", flat=True))

    def overdue(self, seconds: float) -> WorkerQuerySet:
        """Workers that gave no sign of life within ``seconds``."""
        return self.filter(seen_ts__lt=ago(seconds))

    def names(self, workers: Iterable[str]) -> dict[str, str]:
        """Names of workers by id; one that is long gone has its id for a name."""
        ids = set(filter(None, workers))
        return {each: each for each in ids} | dict(self.filter(pk__in=ids).values_list("pk", "name"))

    def seen(self, worker: str) -> int:
        """Renew a worker's sign of life."""
        return self.filter(pk=worker).update(seen_ts=Now(), stopped_ts=None)

    def stopped(self, worker: str) -> int:
        """Say goodbye."""
        return self.filter(pk=worker).update(stopped_ts=Now())

    def forget(self, seconds: float) -> int:
        """Delete rows of workers that gave no sign of life within ``seconds``."""
        return self.filter(seen_ts__lt=ago(seconds)).delete()[0]


class LeaseQuerySet(models.QuerySet[Any]):
    """Duties that one worker at a time has."""

    def take(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a duty for ``seconds``; False while another holds it."""
        free = Q(holder=holder) | Q(expires_ts__lte=Now())
        until = Now() + timedelta(seconds=seconds)
        if self.filter(free, pk=name).update(holder=holder, expires_ts=until):
            return True
        if self.filter(pk=name).exists():
            return False
        return bool(self._insert_first(name, holder, seconds))

    def _insert_first(self, name: str, holder: str, seconds: float) -> bool:
        self.bulk_create([self.model(name=name, holder=holder, expires_ts=Now())], ignore_conflicts=True)
        return self.take(name, holder, seconds)

    def give_up(self, name: str, holder: str) -> int:
        """Lay a duty down, so that another need not wait."""
        return self.filter(pk=name, holder=holder).update(expires_ts=Now())


AT_ONCE = 100
"""Events that one process takes at once, so that telling them does not take so long that others tell them too."""


class HookQuerySet(models.QuerySet[Any]):
    """What happened and is still to be told."""

    def record(self, event: str, flow_id: str, seq: int | None = None, *, attempt: int | None, error: str = "") -> None:
        """Write what happened, in the transaction that makes it."""
        self.create(event=event, task_flow_id=flow_id, task_exec_seq=seq, attempt=attempt, error=error)

    def take(self, flow_id: str, worker: str, pid: int) -> list[Any]:
        """Take what nobody tells yet of a flow, the oldest first."""
        with transaction.atomic(using=self.db):
            free = self.select_for_update(skip_locked=True).filter(task_flow_id=flow_id, worker="").order_by("id")
            taken = list(free[:AT_ONCE])
            self.filter(pk__in=[each.pk for each in taken]).update(worker=worker, pid=pid, taken_ts=Now())
            return taken

    def release(self) -> int:
        """Let others tell these."""
        return self.exclude(worker="").update(worker="", pid=None, taken_ts=None)

    def untold(self, seconds: float, most: int = 100) -> list[str]:
        """Ids of flows of which something is to be told that nobody was asked to tell within ``seconds``."""
        waiting = self.filter(Q(taken_ts=None) | Q(taken_ts__lt=ago(seconds)), worker="")
        flow_ids = list(waiting.order_by("task_flow_id").values_list("task_flow_id", flat=True).distinct()[:most])
        self.filter(task_flow_id__in=flow_ids, worker="").update(taken_ts=Now())
        return flow_ids

    def forgotten(self, living: Sequence[str], seconds: float) -> HookQuerySet:
        """What a worker took that is none of the living, or that it took over ``seconds`` ago."""
        taken = self.exclude(worker="")
        return taken.filter(~Q(worker__in=living) | Q(taken_ts__lt=ago(seconds)))
