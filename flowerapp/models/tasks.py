"""Tasks: the steps of flows, and their children."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce

from flowerapp.core.caching import SCOPES, CacheScope
from flowerapp.core.gates import ANSWERED, UNSENT, WAITS
from flowerapp.core.messages import TaskCall, TaskRef
from flowerapp.models import fields
from flowerapp.models.base import PrimaryModel
from flowerapp.models.flows import Flow
from flowerapp.models.titles import Titled
from flowerapp.querysets import TaskQuerySet
from flowerapp.querysets.clock import TimeField
from flowerapp.querysets.db import PrimaryManager
from flowerapp.states import ACTIVE, CHOICES, IGNORED_BY, PASSES_ON, REFUSED_BY, IgnoredBy, RefusedBy, Status

NO_DEPENDENCY = -1
"""``depends_task_exec_seq`` of a task without dependencies."""

_OFFERED = Q(exec_status=Status.WAIT, pending=0, parked=False, program="") & ~Q(remote="")
"""Remote tasks that are ready."""


class Task(Titled, PrimaryModel):
    """One step of one flow: a row of the original ``kr_task_stat`` with columns of ours."""

    task_flow = models.ForeignKey(
        Flow,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="tasks",
        db_column="task_flow_id",
    )
    task_exec_seq = models.IntegerField()
    depends_task_exec_seq = models.IntegerField(default=NO_DEPENDENCY, help_text="The largest it depends on; −1: none.")
    task_id = models.CharField(max_length=256)
    task_seq = models.IntegerField()
    exec_status = fields.status_field(default=Status.WAIT)
    task_priority = fields.priority_field()
    parameters = models.JSONField(default=dict, blank=True)
    registered_ts = TimeField(null=True, blank=True)
    started_ts = TimeField(null=True, blank=True)
    finished_ts = TimeField(null=True, blank=True)
    suspended_ts = TimeField(null=True, blank=True)

    program = models.CharField(
        max_length=256,
        blank=True,
        default="",
        db_default="",
        help_text="Empty until an inserted row is adopted.",
    )
    observed_status = models.SmallIntegerField(
        null=True,
        blank=True,
        editable=False,
        choices=CHOICES,
        help_text="Of an inserted row that is not adopted: its status when the watcher last looked at it.",
    )
    queue = models.CharField(max_length=256, blank=True, default="", db_default="")
    max_retries = models.IntegerField(null=True, blank=True)
    retry_delay = models.IntegerField(null=True, blank=True)
    time_limit = models.IntegerField(null=True, blank=True)
    name = models.CharField(max_length=256, blank=True, default="", db_default="")
    merge = models.BooleanField(default=False, db_default=False)
    when = models.TextField(blank=True, default="", db_default="", help_text="Condition over its input.")
    cache_key = models.TextField(blank=True, default="", db_default="", help_text="By what its output is found again.")
    cache_seconds = models.IntegerField(
        null=True, blank=True, help_text="Seconds for which its output is kept; empty for none."
    )
    cache_scope = models.CharField(
        max_length=16, default=CacheScope.WORKFLOW, db_default=CacheScope.WORKFLOW.value, choices=SCOPES
    )
    remote = models.CharField(
        max_length=256,
        blank=True,
        default="",
        db_default="",
        help_text="What does its work, or that of its children.",
    )
    alias = models.CharField(
        max_length=256, blank=True, default="", db_default="", help_text="What people call it, if not by its name."
    )
    end_seq = models.IntegerField(
        null=True, blank=True, help_text="Of a gate that begins a subflow: the seq of the gate that ends it."
    )
    pool = models.CharField(max_length=256, blank=True, default="", db_default="")
    child_program = models.CharField(max_length=256, blank=True, default="", db_default="")
    max_concurrency = models.IntegerField(null=True, blank=True)
    exit_on_failed = models.BooleanField(default=True, db_default=True)
    overridable = models.JSONField(
        null=True, blank=True, help_text="Parameters that users may override although it holds masked values."
    )

    parent_seq = models.IntegerField(null=True, blank=True, help_text="The task that added it; empty for a step.")
    child_index = models.IntegerField(null=True, blank=True, help_text="Its place among its siblings, from 0.")
    child_id = models.JSONField(null=True, blank=True, help_text="What its parent calls it.")
    item = models.JSONField(null=True, blank=True, help_text="Input of a child.")
    children = models.IntegerField(default=0, db_default=0, help_text="Children that it has added.")

    depends_on = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="Seqs it depends on.",
    )
    dependents = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="Seqs of open tasks that wait for it.",
    )
    pending = models.IntegerField(default=0, db_default=0, help_text="Dependencies that are not satisfied yet.")
    admitted = models.BooleanField(default=True, db_default=True, help_text="It has a slot of its pool, or needs none.")
    canvas = models.JSONField(null=True, blank=True, help_text="What travels on its message beside it.")

    attempt = models.IntegerField(default=0, db_default=0, help_text="Starts so far; fences late outcomes.")
    retries = models.IntegerField(default=0, db_default=0)
    rescues = models.IntegerField(default=0, db_default=0, help_text="Times its worker was lost.")
    run = models.IntegerField(default=1, db_default=1, help_text="1, and one more with each rerun.")
    worker = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Worker of the last start."
    )
    pid = models.IntegerField(null=True, blank=True, help_text="Its process.")
    lease_ts = TimeField(
        null=True, blank=True, help_text="Of a remote task that runs: when it is rescued, unless a heartbeat comes."
    )
    parked = models.BooleanField(default=False, db_default=False)
    due_ts = TimeField(null=True, blank=True, help_text="Not started before this.")
    sent_ts = TimeField(null=True, blank=True, help_text="When a message for it was last sent.")
    deferred = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Ready together with many of the same program and queue; sent or claimed when one of these ends.",
    )
    coalesced = models.IntegerField(
        default=0,
        db_default=0,
        help_text="Ends of other tasks that its own end also counts for its dependents.",
    )
    resent = models.BooleanField(
        default=False,
        db_default=False,
        help_text="An older message may still exist, so the one that arrives may be older than sent_ts.",
    )
    stream_entry = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Of a remote task: its entry in the stream."
    )
    ignored_by = models.CharField(
        max_length=16, blank=True, default="", db_default="", choices=IGNORED_BY, help_text="Why it is Ignore."
    )
    refused_ts = TimeField(
        null=True,
        blank=True,
        help_text="Since when its message cannot be published, or workers do not know its program.",
    )
    refused_by = models.CharField(
        max_length=16, blank=True, default="", db_default="", choices=REFUSED_BY, help_text="Who refuses it."
    )
    awaits_output = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="While it is parked: the entry of the output cache that another task is about to fill.",
    )
    cached_from = models.JSONField(
        null=True, blank=True, help_text="{flow_id, seq} of the task whose stored output it took."
    )
    output = fields.OutputField(null=True, blank=True)
    error = fields.CutTextField(blank=True, default="", db_default="")
    traceback = fields.CutTextField(most=fields.LONGEST_TRACEBACK, blank=True, default="", db_default="")
    progress = models.JSONField(null=True, blank=True, help_text="{done, total} as the program reported.")

    objects = PrimaryManager.from_queryset(TaskQuerySet)()

    class Meta:
        db_table = "kr_task_stat"
        ordering = ["task_flow_id", "task_exec_seq"]
        constraints = [
            models.UniqueConstraint(name="kr_task_stat_key", fields=["task_flow", "task_exec_seq"]),
            *fields.status_checks("kr_task_stat", unless=Q(program="", remote="")),
            models.CheckConstraint(
                name="kr_task_stat_ignored_by",
                condition=Q(program="", remote="")
                | Q(ignored_by="")
                | Q(ignored_by__in=sorted(IgnoredBy), exec_status=Status.IGNORE),
            ),
            models.CheckConstraint(
                name="kr_task_stat_refused_by",
                condition=Q(refused_by="", refused_ts__isnull=True)
                | Q(refused_by__in=sorted(RefusedBy), refused_ts__isnull=False),
            ),
            *fields.not_negative(
                "kr_task_stat", "pending", "attempt", "retries", "rescues", "run", "children", "coalesced"
            ),
        ]
        indexes = [
            models.Index(
                name="kr_task_stat_ready",
                fields=["sent_ts"],
                condition=Q(exec_status=Status.WAIT, pending=0, admitted=True),
            ),
            models.Index(
                name="kr_task_stat_unsent",
                fields=["task_priority", "id"],
                condition=Q(
                    exec_status=Status.WAIT,
                    pending=0,
                    admitted=True,
                    parked=False,
                    sent_ts__isnull=True,
                    due_ts__isnull=True,
                    deferred=False,
                ),
            ),
            models.Index(
                name="kr_task_stat_deferred",
                fields=["task_flow", "queue", "program", "task_priority", "task_exec_seq"],
                condition=Q(exec_status=Status.WAIT, deferred=True),
            ),
            models.Index(
                F("pool"),
                F("task_priority"),
                Coalesce("parent_seq", "task_exec_seq").desc(),
                F("id"),
                name="kr_task_stat_pool_waiting",
                condition=Q(exec_status=Status.WAIT, pending=0, admitted=False),
            ),
            models.Index(
                name="kr_task_stat_pool_held",
                fields=["pool"],
                condition=Q(exec_status__in=sorted(ACTIVE), admitted=True) & ~Q(pool=""),
            ),
            models.Index(
                name="kr_task_stat_parents",
                fields=["task_flow", "task_exec_seq"],
                condition=Q(exec_status=Status.WAIT, parked=True, children__gt=0),
            ),
            models.Index(
                name="kr_task_stat_gates",
                fields=["task_flow", "task_exec_seq"],
                condition=Q(
                    exec_status=Status.WAIT,
                    parked=True,
                    pending=0,
                    started_ts__isnull=True,
                    program__in=["", *sorted(UNSENT)],
                ),
            ),
            models.Index(
                name="kr_task_stat_waits",
                fields=["due_ts"],
                condition=Q(exec_status=Status.WAIT, due_ts__isnull=False, program__in=sorted(WAITS)),
            ),
            models.Index(
                name="kr_task_stat_turn",
                fields=["task_flow", "parent_seq", "child_index"],
                condition=Q(exec_status=Status.WAIT, pending__gt=0, parent_seq__isnull=False),
            ),
            models.Index(
                name="kr_task_stat_awaiting",
                fields=["awaits_output"],
                condition=Q(exec_status=Status.WAIT, parked=True) & ~Q(awaits_output=""),
            ),
            models.Index(name="kr_task_stat_running", fields=["started_ts"], condition=Q(exec_status=Status.RUNNING)),
            models.Index(
                name="kr_task_stat_due",
                fields=["due_ts"],
                condition=Q(due_ts__isnull=False) & ~Q(program__in=sorted(WAITS)),
            ),
            models.Index(
                name="kr_task_stat_refused",
                fields=["id"],
                condition=Q(exec_status=Status.WAIT, refused_ts__isnull=False),
            ),
            models.Index(
                name="kr_task_stat_lease",
                fields=["lease_ts"],
                condition=Q(exec_status=Status.RUNNING, lease_ts__isnull=False),
            ),
            models.Index(name="kr_task_stat_offered", fields=["task_priority", "id"], condition=_OFFERED),
            models.Index(
                name="kr_task_stat_remote", fields=["remote"], condition=_OFFERED, opclasses=["varchar_pattern_ops"]
            ),
            models.Index(
                name="kr_task_stat_alias", fields=["alias"], condition=_OFFERED, opclasses=["varchar_pattern_ops"]
            ),
            models.Index(name="kr_task_stat_ignored", fields=["id"], condition=Q(exec_status=Status.IGNORE)),
            models.Index(
                name="kr_task_stat_publishable",
                fields=["task_priority", "id"],
                condition=_OFFERED & Q(stream_entry=""),
            ),
            models.Index(name="kr_task_stat_published", fields=["id"], condition=~Q(stream_entry="")),
            models.Index(name="kr_task_stat_inserted", fields=["task_flow"], condition=Q(program="", remote="")),
        ]

    def __str__(self) -> str:
        return f"{self.task_flow_id} {self.mention}"

    @property
    def status(self) -> Status:
        """The state as a ``Status``."""
        return Status(self.exec_status)

    @property
    def ref(self) -> TaskRef:
        """Which task it is."""
        return TaskRef(self.task_flow_id, self.task_exec_seq)

    @property
    def call(self) -> TaskCall:
        """The task as a message names it."""
        return TaskCall(
            seq=self.task_exec_seq,
            program=self.program,
            queue=self.queue,
            priority=self.task_priority,
            time_limit=self.time_limit,
        )

    @property
    def failed(self) -> bool:
        """Whether it is Suspend; its error is the reason."""
        return self.status is Status.SUSPEND

    @property
    def is_gate(self) -> bool:
        """Whether propagation completes or begins it: no message is sent for it, and no worker runs it."""
        return self.parent_seq is None and self.program in UNSENT

    @property
    def is_wait(self) -> bool:
        """Whether it waits for a time, an event, a latch or a person, once it has begun."""
        return self.parent_seq is None and self.program in WAITS

    @property
    def has_begun_to_wait(self) -> bool:
        """Whether it is a wait that has begun and not ended."""
        return self.is_wait and self.status is Status.WAIT and self.parked and self.started_ts is not None

    @property
    def is_parked(self) -> bool:
        """Whether its program has let it wait for a time, an event or a person."""
        waits = self.status is Status.WAIT and self.parked and not self.children
        return waits and not self.is_gate and not self.is_remote

    @property
    def is_remote(self) -> bool:
        """Whether another system does its work; a step with remote children is none itself."""
        return bool(self.remote) and not self.program

    @property
    def awaits_answer(self) -> bool:
        """Whether another system may end it: a remote task that is ready, or one that has asked it and is parked."""
        if self.status is not Status.WAIT or self.pending:
            return False
        return not self.parked if self.is_remote else self.has_asked

    @property
    def has_asked(self) -> bool:
        """Whether it is parked until the service ends it that its program has called."""
        return self.program in ANSWERED and self.parked and self.due_ts is None and not self.children

    @property
    def may_be_answered(self) -> bool:
        """Whether another system may end it: it is a remote task that is ready, or that such a system has claimed."""
        return self.awaits_answer or (self.is_remote and self.status is Status.RUNNING)

    @property
    def passes_on(self) -> bool:
        """Whether it has no output of its own, if none is stored: it was skipped, or has waited. Its input takes that
        place."""
        return self.ignored_by in PASSES_ON or (self.is_wait and self.status is Status.FINISH)

    @property
    def is_refused(self) -> bool:
        """Whether it is ready and waits to be tried again, because no worker takes it; its error is the reason."""
        return self.status is Status.WAIT and self.refused_ts is not None and self.sent_ts is None
