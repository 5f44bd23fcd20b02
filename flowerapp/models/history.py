"""The history, the log lines of programs, and the outbox of hooks."""

from __future__ import annotations

import logging

from django.db import models
from django.db.models.functions import Now

from flowerapp.core.task_log import LONGEST_LINE
from flowerapp.models.base import PrimaryModel
from flowerapp.models.fields import CutTextField
from flowerapp.models.flows import Flow
from flowerapp.querysets import HistoryQuerySet, HookQuerySet, LogQuerySet
from flowerapp.querysets.clock import TimeField
from flowerapp.querysets.db import PrimaryManager


class HistoryEntry(PrimaryModel):
    """A line of the history: an operator's verb, or a transition other than claim and finish."""

    id: int
    task_flow = models.ForeignKey(
        Flow,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="history",
        db_column="task_flow_id",
    )
    task_exec_seq = models.IntegerField(null=True, blank=True, help_text="Empty for the flow as a whole.")
    ts = TimeField(db_default=Now())
    verb = models.CharField(max_length=32)
    attempt = models.IntegerField(null=True, blank=True)
    worker = models.CharField(max_length=64, blank=True, default="")
    actor = models.CharField(max_length=150, blank=True, default="", help_text="User, or part of the engine.")
    reason = CutTextField(blank=True, default="")
    details = models.JSONField(default=dict, blank=True)

    objects = PrimaryManager.from_queryset(HistoryQuerySet)()

    class Meta:
        db_table = "kr_task_history"
        ordering = ["id"]
        indexes = [models.Index(name="kr_task_history_flow", fields=["task_flow", "id"])]

    def __str__(self) -> str:
        task = f" task {self.task_exec_seq}" if self.task_exec_seq is not None else ""
        return f"{self.task_flow_id}{task}: {self.verb}"


class Log(PrimaryModel):
    """A line that a program logged, printed, or wrote with ``ctx.log``."""

    id: int
    task_flow = models.ForeignKey(
        Flow,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="logs",
        db_column="task_flow_id",
    )
    task_exec_seq = models.IntegerField()
    attempt = models.IntegerField()
    ts = TimeField(db_default=Now(), help_text="By the clock of the process that ran the program.")
    level = models.SmallIntegerField(db_default=logging.INFO, help_text="As in Python's logging: 20 is INFO.")
    source = models.CharField(
        max_length=100, blank=True, db_default="", help_text="Name of the logger, stdout, stderr or ctx.log."
    )
    message = CutTextField(most=LONGEST_LINE)

    objects = PrimaryManager.from_queryset(LogQuerySet)()

    class Meta:
        db_table = "kr_task_log"
        ordering = ["id"]
        indexes = [
            models.Index(name="kr_task_log_task", fields=["task_flow", "task_exec_seq", "id"]),
            models.Index(name="kr_task_log_flow", fields=["task_flow", "id"]),
        ]

    def __str__(self) -> str:
        return self.message


class Hook(PrimaryModel):
    """An event for which listeners are registered, in the outbox; deleted once it has been delivered."""

    id: int
    task_flow = models.ForeignKey(
        Flow,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="hooks",
        db_column="task_flow_id",
    )
    task_exec_seq = models.IntegerField(null=True, blank=True, help_text="Empty for the flow as a whole.")
    event = models.CharField(max_length=32)
    ts = TimeField(db_default=Now())
    attempt = models.IntegerField(null=True, blank=True)
    error = CutTextField(blank=True, default="")
    worker = models.CharField(max_length=64, blank=True, default="", help_text="Worker that delivers it now.")
    pid = models.IntegerField(null=True, blank=True)
    taken_ts = TimeField(null=True, blank=True, help_text="When it took this, or when a worker was asked to.")

    objects = PrimaryManager.from_queryset(HookQuerySet)()

    class Meta:
        db_table = "kr_hook"
        ordering = ["id"]
        indexes = [models.Index(name="kr_hook_flow", fields=["task_flow", "id"])]

    def __str__(self) -> str:
        task = f" task {self.task_exec_seq}" if self.task_exec_seq is not None else ""
        return f"{self.task_flow_id}{task}: {self.event}"
