"""Approvals: what people are asked to decide, and what they decided."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from flowerapp.core.approval_options import ApprovalState, Choice
from flowerapp.core.messages import TaskRef
from flowerapp.models.base import PrimaryModel
from flowerapp.models.fields import CutTextField
from flowerapp.models.flows import Flow
from flowerapp.querysets import ApprovalQuerySet
from flowerapp.querysets.clock import TimeField
from flowerapp.querysets.db import PrimaryManager

STATES = [(state.value, state.value) for state in ApprovalState]
GROUP, USER = "group", "user"
"""Kinds of the names in ``deciders``."""


def decider(kind: str, name: str) -> str:
    """How ``deciders`` holds a name, between the ends of its line."""
    return f"\n{kind}:{name}\n"


class Approval(PrimaryModel):
    """One run of a step ``wait:approval``; a rerun asks with a row of its own."""

    id: int
    task_flow = models.ForeignKey(
        Flow,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="approvals",
        db_column="task_flow_id",
    )
    task_exec_seq = models.IntegerField()
    run = models.IntegerField(help_text="Run of the task that asks.")
    state = models.CharField(max_length=16, choices=STATES, default=ApprovalState.OPEN, db_default=ApprovalState.OPEN)
    title = models.CharField(max_length=200, blank=True, db_default="")
    message = CutTextField(blank=True, db_default="")
    permission = models.CharField(max_length=200, blank=True, db_default="", help_text="Users with it may decide.")
    deciders = models.TextField(blank=True, db_default="", help_text="Groups and users that may decide, in lines.")
    choices = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    form = models.JSONField(null=True, blank=True, help_text="JSON schema of the data that a decision has.")
    default_choice = models.CharField(max_length=64, blank=True, db_default="", help_text="Choice at the time-out.")
    on_reject = models.CharField(max_length=16, blank=True, db_default="fail")
    self_approval = models.BooleanField(default=False, db_default=False)
    notify = models.JSONField(default=list, db_default=Value([], models.JSONField()), blank=True)
    mails_links = models.BooleanField(default=True, db_default=True, help_text="Its e-mails have links that decide.")
    links = models.JSONField(
        default=list, db_default=Value([], models.JSONField()), blank=True, help_text="Digests of the links to it."
    )
    tries = models.IntegerField(default=0, db_default=0, help_text="Decisions that were tried by a link.")
    opened_ts = TimeField(db_default=Now())
    due_ts = TimeField(null=True, blank=True, help_text="When its time runs out.")
    remind_ts = TimeField(null=True, blank=True)
    ended_ts = TimeField(null=True, blank=True)
    choice = models.CharField(max_length=64, blank=True, default="", db_default="")
    comment = CutTextField(blank=True, default="", db_default="")
    data = models.JSONField(null=True, blank=True, help_text="What the form was filled in with.")
    decided_by = models.CharField(max_length=150, blank=True, default="", db_default="")

    objects = PrimaryManager.from_queryset(ApprovalQuerySet)()

    class Meta:
        db_table = "kr_approval"
        ordering = ["-id"]
        permissions = [("decide_approval", "Can decide about approvals")]
        constraints = [
            models.CheckConstraint(name="kr_approval_state", condition=Q(state__in=sorted(ApprovalState))),
            models.CheckConstraint(
                name="kr_approval_ended_ts",
                condition=Q(state=ApprovalState.OPEN, ended_ts__isnull=True)
                | (~Q(state=ApprovalState.OPEN) & Q(ended_ts__isnull=False)),
            ),
            models.UniqueConstraint(
                name="kr_approval_open_one",
                fields=["task_flow", "task_exec_seq"],
                condition=Q(state=ApprovalState.OPEN),
            ),
        ]
        indexes = [
            models.Index(name="kr_approval_flow", fields=["task_flow", "task_exec_seq", "id"]),
            models.Index(name="kr_approval_recent", fields=["-ended_ts", "-id"]),
            models.Index(name="kr_approval_open", fields=["id"], condition=Q(state=ApprovalState.OPEN)),
            models.Index(name="kr_approval_remind", fields=["remind_ts"], condition=Q(remind_ts__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.task_flow_id} task {self.task_exec_seq}: {self.title or self.state}"

    @property
    def ref(self) -> TaskRef:
        """Which task asks."""
        return TaskRef(self.task_flow_id, self.task_exec_seq)

    @property
    def is_open(self) -> bool:
        """Whether a decision is still asked for."""
        return self.state == ApprovalState.OPEN

    @property
    def groups(self) -> list[str]:
        """Names of the groups whose members may decide."""
        return list(self._deciders(GROUP))

    @property
    def users(self) -> list[str]:
        """Names of users who may decide."""
        return list(self._deciders(USER))

    def _deciders(self, kind: str) -> Iterator[str]:
        lines = (line.partition(":") for line in self.deciders.split("\n"))
        return (name for of_kind, _, name in lines if of_kind == kind)

    @property
    def ways(self) -> list[Choice]:
        """The choices, in the order of their buttons."""
        return [Choice(**choice) for choice in self.choices]

    def way(self, name: str) -> Choice | None:
        """The choice of that name; None if there is none."""
        return next((choice for choice in self.ways if choice.name == name), None)

    @property
    def label(self) -> str:
        """What the choice that was made is called; empty without one."""
        way = self.way(self.choice)
        return way.label if way else self.choice
