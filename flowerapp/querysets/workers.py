"""Workers, and the leases that one of them holds at a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Q

from flowerapp.querysets.clock import Now, ago


class WorkerQuerySet(models.QuerySet[Any]):
    """Running workers."""

    def alive(self, seconds: float) -> WorkerQuerySet:
        """Workers that sent a heartbeat within ``seconds`` and have not stopped."""
        return self.filter(seen_ts__gte=ago(seconds), stopped_ts__isnull=True)

    def processes(self) -> int:
        """Number of their processes or threads, all together."""
        return sum(self.values_list("concurrency", flat=True))

    def overdue(self, seconds: float) -> WorkerQuerySet:
        """Workers that sent no heartbeat within ``seconds``."""
        return self.filter(seen_ts__lt=ago(seconds))

    def names(self, workers: Iterable[str]) -> dict[str, str]:
        """Names of workers by id; a worker whose row was deleted has its id as its name."""
        ids = set(filter(None, workers))
        return {worker: worker for worker in ids} | dict(self.filter(pk__in=ids).values_list("pk", "name"))

    def seen(self, worker: str) -> int:
        """Record a worker's heartbeat."""
        return self.filter(pk=worker).update(seen_ts=Now(), stopped_ts=None)

    def stopped(self, worker: str) -> int:
        """Record that a worker has stopped."""
        return self.filter(pk=worker).update(stopped_ts=Now())

    def forget(self, seconds: float) -> int:
        """Delete rows of workers that sent no heartbeat within ``seconds``."""
        return self.filter(seen_ts__lt=ago(seconds)).delete()[0]


class LeaseQuerySet(models.QuerySet[Any]):
    """Leases, each of which one worker at a time holds."""

    def take(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease for ``seconds``; False while another worker holds it."""
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
        """Give a lease up, so that another worker need not wait."""
        return self.filter(pk=name, holder=holder).update(expires_ts=Now())
