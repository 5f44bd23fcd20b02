"""The output cache."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from flowerapp.models import fields
from flowerapp.models.base import PrimaryModel
from flowerapp.querysets import CacheQuerySet
from flowerapp.querysets.clock import TimeField
from flowerapp.querysets.db import PrimaryManager
from flowerapp.querysets.output_cache import Attempt


class CachedOutput(PrimaryModel):
    """The output of a task that others with the same program, parameters and key take; or the place for one."""

    id: int
    digest = models.CharField(max_length=64, unique=True, help_text="Of what has to be the same; it shows no secret.")
    task_id = models.CharField(max_length=256, blank=True, default="", help_text="Workflow; empty for all workflows.")
    program = models.CharField(max_length=256)
    key = models.TextField(blank=True, default="", help_text="The value of the key, or * for the whole input.")
    task_flow_id = models.CharField(max_length=256, help_text="Flow of the task that fills it, or has filled it.")
    task_exec_seq = models.IntegerField()
    attempt = models.IntegerField()
    taken_ts = TimeField(db_default=Now(), help_text="When this attempt began to fill it.")
    output = models.TextField(null=True, blank=True)  # noqa: DJ001 - JSON text; without one it is being filled
    size = models.IntegerField(default=0, db_default=0, help_text="Bytes of the output.")
    filled_ts = TimeField(null=True, blank=True)
    expires_ts = TimeField(null=True, blank=True)

    objects = PrimaryManager.from_queryset(CacheQuerySet)()

    class Meta:
        db_table = "kr_output_cache"
        ordering = ["-id"]
        default_permissions = ("view", "delete")
        constraints = [
            *fields.not_negative("kr_output_cache", "size"),
            models.CheckConstraint(
                name="kr_output_cache_filled",
                condition=Q(output__isnull=True, filled_ts__isnull=True, expires_ts__isnull=True)
                | Q(output__isnull=False, filled_ts__isnull=False, expires_ts__isnull=False),
            ),
        ]
        indexes = [
            models.Index(name="kr_output_cache_attempt", fields=["task_flow_id", "task_exec_seq"]),
            models.Index(name="kr_output_cache_program", fields=["program", "task_id"]),
            models.Index(name="kr_output_cache_filled_ts", fields=["filled_ts"]),
            models.Index(name="kr_output_cache_expires", fields=["expires_ts"], condition=Q(expires_ts__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.program} {self.key}"

    @property
    def by(self) -> Attempt:
        """The attempt that fills it, or has filled it."""
        return Attempt(self.task_flow_id, self.task_exec_seq, self.attempt)
