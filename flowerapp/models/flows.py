"""Flows: what runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from flowerapp.core import executor, passing, values
from flowerapp.models import fields
from flowerapp.models.base import PrimaryModel
from flowerapp.querysets import FlowQuerySet
from flowerapp.querysets.clock import TimeField
from flowerapp.querysets.db import PrimaryManager
from flowerapp.querysets.waiting import must_not_be_in_transaction
from flowerapp.states import ACTIVE, OPEN, SATISFIED, Status

if TYPE_CHECKING:
    from flowerapp.models.tasks import Task


def _empty() -> Value:
    return Value({}, models.JSONField())


class Flow(PrimaryModel):
    """One run of a workflow."""

    task_flow_id = models.CharField(primary_key=True, max_length=256, help_text="UUIDv7 as text.")
    task_id = models.CharField(max_length=256, help_text="Name of the workflow.")
    exec_status = fields.status_field(default=Status.WAIT, db_default=Status.WAIT)
    task_priority = fields.priority_field(db_default=0)
    held = models.BooleanField(default=False, db_default=False, help_text="Suspended by a person; no task is started.")
    input = models.JSONField(default=dict, db_default=_empty(), blank=True)
    state = models.JSONField(
        default=dict, db_default=_empty(), blank=True, help_text="Object that its programs share and may change."
    )
    state_version = models.IntegerField(default=0, db_default=0, help_text="Changes of the shared state so far.")
    limited = models.BooleanField(
        default=False, db_default=False, help_text="Its workflow limits how many of its flows are active at once."
    )
    admitted = models.BooleanField(
        default=True, db_default=True, help_text="The limit of its workflow lets its tasks start."
    )
    last_child_seq = models.IntegerField(
        default=0, db_default=0, help_text="Largest seq ever given to a child; none is given twice."
    )
    open_sinks = models.IntegerField(default=0, db_default=0, help_text="Last tasks that are not satisfied yet.")
    failed_seq = models.IntegerField(null=True, blank=True, help_text="The task that failed first.")
    registered_ts = TimeField(db_default=Now())
    started_ts = TimeField(null=True, blank=True)
    finished_ts = TimeField(null=True, blank=True)
    suspended_ts = TimeField(null=True, blank=True)
    registered_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    idempotency_key = models.CharField(max_length=256, null=True, blank=True)  # noqa: DJ001 - NULLs are not unique
    source = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="Text that it was compiled from; empty for a stored workflow's.",
    )
    request_hash = models.CharField(max_length=64, blank=True, default="", db_default="")
    restored_ts = TimeField(null=True, blank=True, help_text="When it was restored from an archive.")
    masked = models.BooleanField(
        default=False, db_default=False, help_text="It was restored from an archive without its secrets."
    )

    objects = PrimaryManager.from_queryset(FlowQuerySet)()

    created = False
    """Whether ``engine.register`` made this flow, rather than finding the one of an equal request."""

    class Meta:
        db_table = "kr_task_flow"
        ordering = ["-registered_ts", "-task_flow_id"]
        permissions = [
            ("register_flow", "Can register flows"),
            ("operate_flow", "Can suspend, resume, cancel and rerun flows, and skip and change tasks"),
            ("remote_worker", "Can claim remote tasks with all that they hold, and end them"),
        ]
        constraints = [
            *fields.status_checks("kr_task_flow"),
            *fields.not_negative("kr_task_flow", "open_sinks"),
            models.UniqueConstraint(
                name="kr_task_flow_idempotency",
                fields=["registered_by", "task_id", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
            ),
        ]
        indexes = [
            models.Index(name="kr_task_flow_recent", fields=["-registered_ts", "-task_flow_id"]),
            models.Index(
                name="kr_task_flow_ignored",
                fields=["-registered_ts", "-task_flow_id"],
                condition=Q(exec_status=Status.IGNORE),
            ),
            models.Index(name="kr_task_flow_workflow", fields=["task_id", "-registered_ts"]),
            models.Index(name="kr_task_flow_open", fields=["exec_status"], condition=Q(exec_status__in=sorted(OPEN))),
            models.Index(
                name="kr_task_flow_waiting",
                fields=["task_id", "task_priority"],
                condition=Q(admitted=False, exec_status__in=sorted(OPEN)),
            ),
            models.Index(name="kr_task_flow_active", fields=["task_id"], condition=Q(exec_status__in=sorted(ACTIVE))),
            models.Index(
                name="kr_task_flow_going", fields=["task_flow_id"], condition=Q(exec_status__in=sorted(ACTIVE))
            ),
            models.Index(
                name="kr_task_flow_failed",
                fields=["task_flow_id"],
                condition=Q(exec_status__in=sorted(ACTIVE), failed_seq__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.task_flow_id

    @property
    def status(self) -> Status:
        """The state as a ``Status``."""
        return Status(self.exec_status)

    @property
    def ended(self) -> bool:
        """Whether the flow is Finish or Ignore."""
        return self.status in SATISFIED

    @property
    def failed_task(self) -> Task | None:
        """The task that failed first, if one is failed now."""
        if self.failed_seq is None:
            return None
        return self.tasks.filter(task_exec_seq=self.failed_seq).first()

    @property
    def output(self) -> Any:
        """What its last steps returned: of one as it stands, of several as the input of a task after them would be."""
        outputs = self.tasks.outputs(self.pk, self.last_seqs()).values()
        return values.merge(list(map(passing.value_of, outputs)))

    def last_seqs(self) -> list[int]:
        """Seqs of the steps that no other depends on, in the order of their numbers."""
        steps = self.tasks.filter(parent_seq=None).order_by("task_seq", "task_exec_seq")
        edges = dict(steps.values_list("task_exec_seq", "depends_on"))
        followed = set().union(*edges.values())
        return [seq for seq in edges if seq not in followed]

    def wait(self, timeout: float | None = None, poll: float = 0.1) -> Flow:
        """Wait until the flow has ended or is Suspend, and return it as it is then.

        Then ``flow.output`` and ``flow.state`` are its results, or ``flow.failed_task`` is what failed first.
        ``timeout`` and ``poll`` are seconds. Raises TimeoutError, and in a transaction WaitInTransactionError unless
        the flow is so already.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.refresh_from_db()
            if self.status in SATISFIED or self.status is Status.SUSPEND:
                return self
            if executor.current().run_ready(f"flow {self.pk}"):
                continue
            must_not_be_in_transaction(f"flow {self.pk}")
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"flow {self.pk} is {self.status.label} after {timeout} s")
            time.sleep(poll)
