"""Events, what waits for them, and latches."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from flowerapp.models.base import PrimaryModel
from flowerapp.models.flows import Flow
from flowerapp.querysets.clock import TimeField
from flowerapp.querysets.db import PrimaryManager
from flowerapp.querysets.waits import EventQuerySet, LatchHoldQuerySet, LatchQuerySet, WaitQuerySet


class Event(PrimaryModel):
    """Something that happened outside of flows, for which they may wait."""

    id: int
    kind = models.CharField(max_length=256)
    data = models.JSONField(default=dict, blank=True, help_text="A JSON object.")
    ts = TimeField(db_default=Now())
    actor = models.CharField(max_length=150, blank=True, default="", db_default="", help_text="Who reported it.")
    offered = models.BooleanField(
        default=False, db_default=False, help_text="Whether what waited for it when it came has been ended."
    )
    consumed_ts = TimeField(
        null=True, blank=True, help_text="When a wait took it with a receipt; no later one gets it."
    )

    outcome: Any = None
    """Of the row that ``engine.emit`` returns: what it led to."""

    objects = PrimaryManager.from_queryset(EventQuerySet)()

    class Meta:
        db_table = "kr_event"
        ordering = ["-id"]
        permissions = [("emit_event", "Can report events")]
        indexes = [
            models.Index(name="kr_event_kind", fields=["kind", "id"], condition=Q(consumed_ts__isnull=True)),
            models.Index(name="kr_event_new", fields=["id"], condition=Q(offered=False)),
            models.Index(name="kr_event_ts", fields=["ts"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class Wait(PrimaryModel):
    """A task that has begun to wait for an event or for a latch."""

    id: int
    task_flow = models.ForeignKey(
        Flow, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+", db_column="task_flow_id"
    )
    task_exec_seq = models.IntegerField()
    event = models.CharField(max_length=256, blank=True, default="", db_default="", help_text="Kind of the event.")
    match = models.JSONField(null=True, blank=True, help_text="What the event must contain; empty for any.")
    anchor = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Digest of one member of the match."
    )
    receipt = models.BooleanField(default=True, db_default=True, help_text="Whether it consumes the event.")
    since_ts = TimeField(null=True, blank=True, help_text="Earlier events do not count; empty for all that are kept.")
    looked = models.BooleanField(
        default=False, db_default=False, help_text="Whether earlier events were looked through for it."
    )
    latch = models.CharField(max_length=256, blank=True, default="", db_default="", help_text="Name of the latch.")
    ts = TimeField(db_default=Now())

    objects = PrimaryManager.from_queryset(WaitQuerySet)()

    class Meta:
        db_table = "kr_wait"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(name="kr_wait_key", fields=["task_flow", "task_exec_seq"]),
            models.CheckConstraint(
                name="kr_wait_for", condition=(Q(event="") & ~Q(latch="")) | (~Q(event="") & Q(latch=""))
            ),
        ]
        indexes = [
            models.Index(name="kr_wait_event", fields=["event", "anchor", "id"], condition=~Q(event="")),
            models.Index(name="kr_wait_latch", fields=["latch", "id"], condition=~Q(latch="")),
            models.Index(name="kr_wait_new", fields=["id"], condition=Q(looked=False)),
        ]

    def __str__(self) -> str:
        return f"{self.task_flow_id} {self.task_exec_seq}: {self.event or self.latch}"


class Latch(PrimaryModel):
    """A counter that flows share by its name; its count is the number of its holds."""

    name = models.CharField(primary_key=True, max_length=256)
    ts = TimeField(db_default=Now(), help_text="When it was first acquired.")

    objects = PrimaryManager.from_queryset(LatchQuerySet)()

    class Meta:
        db_table = "kr_latch"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class LatchHold(PrimaryModel):
    """One count of a latch, by the task that acquired it."""

    id: int
    latch = models.ForeignKey(Latch, on_delete=models.CASCADE, related_name="holds")
    task_flow = models.ForeignKey(
        Flow,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        db_column="task_flow_id",
    )
    task_exec_seq = models.IntegerField()
    ts = TimeField(db_default=Now())

    objects = PrimaryManager.from_queryset(LatchHoldQuerySet)()

    class Meta:
        db_table = "kr_latch_hold"
        ordering = ["id"]
        constraints = [models.UniqueConstraint(name="kr_latch_hold_key", fields=["task_flow", "task_exec_seq"])]

    def __str__(self) -> str:
        return f"{self.latch_id}: {self.task_flow_id} {self.task_exec_seq}"
