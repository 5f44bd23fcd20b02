"""Workers, and the leases that one of them holds at a time."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from flowerapp.models.base import PrimaryModel
from flowerapp.querysets import LeaseQuerySet, WorkerQuerySet
from flowerapp.querysets.clock import TimeField
from flowerapp.querysets.db import PrimaryManager


class Worker(PrimaryModel):
    """A running worker; while its heartbeats arrive, the tasks that it claimed are not rescued."""

    id = models.CharField(primary_key=True, max_length=64, help_text="Random, never reused.")
    name = models.CharField(max_length=256, help_text="Celery's name of it, as in name@host.")
    pid = models.IntegerField()
    pool = models.CharField(max_length=64)
    concurrency = models.IntegerField()
    queues = models.JSONField(default=list)
    started_ts = TimeField(db_default=Now())
    seen_ts = TimeField(db_default=Now(), help_text="Last heartbeat.")
    stopped_ts = TimeField(null=True, blank=True)

    objects = PrimaryManager.from_queryset(WorkerQuerySet)()

    class Meta:
        db_table = "kr_worker"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Lease(PrimaryModel):
    """A right, such as to lead, that one worker at a time holds until it expires."""

    name = models.CharField(primary_key=True, max_length=64)
    holder = models.CharField(max_length=64)
    expires_ts = TimeField()

    objects = PrimaryManager.from_queryset(LeaseQuerySet)()

    class Meta:
        db_table = "kr_lease"

    def __str__(self) -> str:
        return f"{self.name}: {self.holder}"
