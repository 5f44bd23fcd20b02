"""What to run: workflows and their steps."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Value

from flowerapp.core.caching import SCOPES, CacheScope
from flowerapp.core.plan import Node
from flowerapp.core.unmasking import equal
from flowerapp.exceptions import InvalidPlanError, Problem
from flowerapp.models import fields
from flowerapp.models.base import PrimaryModel
from flowerapp.querysets import DefinitionQuerySet, PoolQuerySet, WorkflowQuerySet
from flowerapp.querysets.db import PrimaryManager

PAIRS = range(1, 6)
"""Numbers of the parameter pairs ``param1_key``, ``param1_value`` … ``param5_key``, ``param5_value``."""
PAIR_LENGTH = 1024
_PARAMETERS = ("parameters", *(f"param{number}_{part}" for number in PAIRS for part in ("key", "value")))


class Workflow(PrimaryModel):
    """Settings of a workflow; a workflow needs no such row."""

    task_id = models.CharField(primary_key=True, max_length=256, help_text="Name of the workflow.")
    description = models.TextField(blank=True, default="", db_default="")
    max_active_flows = models.PositiveIntegerField(
        null=True, blank=True, help_text="Flows that may be active at once; the others wait. Empty for no limit."
    )
    unique = models.BooleanField(
        default=False,
        db_default=False,
        help_text="One flow at a time: registering again returns the one that is active.",
    )
    entrance = models.IntegerField(
        null=True, blank=True, help_text="task_seq of the step to start at, unless a flow is registered with another."
    )
    start_event = models.CharField(
        max_length=256,
        blank=True,
        default="",
        db_default="",
        help_text="Kind of the events that start a flow each; empty for none.",
    )
    start_match = models.JSONField(
        null=True, blank=True, help_text="What such an event must contain, as a JSON object; empty for any."
    )
    source = models.CharField(
        max_length=256,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Python class that defines it; empty for one without a class.",
    )

    objects = PrimaryManager.from_queryset(WorkflowQuerySet)()

    class Meta:
        db_table = "ms_workflow"
        ordering = ["task_id"]
        constraints = [
            models.CheckConstraint(
                name="ms_workflow_max_active_flows",
                condition=models.Q(max_active_flows__isnull=True) | models.Q(max_active_flows__gte=1),
            )
        ]
        indexes = [
            models.Index(name="ms_workflow_start_event", fields=["start_event"], condition=~models.Q(start_event=""))
        ]

    def __str__(self) -> str:
        return self.task_id


class TaskDefinition(PrimaryModel):
    """One step of a workflow: a row of the original ``ms_task_definition`` with options of ours."""

    task_id = models.CharField(max_length=256, help_text="Name of the workflow.")
    task_seq = models.IntegerField(help_text="Number of the step; without depends_on, steps run in this order.")
    program = models.CharField(max_length=256)
    task_priority = fields.priority_field(db_default=0)
    param1_key = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001 - the original's columns
    param1_value = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param2_key = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param2_value = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param3_key = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param3_value = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param4_key = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param4_value = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param5_key = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    param5_value = models.CharField(max_length=PAIR_LENGTH, null=True, blank=True)  # noqa: DJ001
    parameters = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text="Parameters beyond the five pairs, or that are not text, as a JSON object.",
    )
    required_at_register = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="List of names of parameters that each registration gives, in place of the step.",
    )
    overridable = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="List of names of parameters that users may override although the step holds masked values.",
    )
    depends_on = models.JSONField(
        null=True, blank=True, help_text="List of task_seq; [] for none, empty for the step before."
    )
    queue = models.CharField(
        max_length=256, blank=True, default="", db_default="", help_text="Empty for the program's."
    )
    max_retries = models.PositiveIntegerField(
        null=True, blank=True, help_text="Retries after the first start (3 means 4 starts)."
    )
    retry_delay = models.PositiveIntegerField(null=True, blank=True, help_text="Seconds before each retry.")
    time_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds; it can only tighten the program's."
    )
    name = models.CharField(
        max_length=256,
        blank=True,
        default="",
        db_default="",
        help_text="What ctx.output_of calls it; may be empty.",
    )
    merge = models.BooleanField(
        default=False, db_default=False, help_text="Make one object of the objects that the steps before it return."
    )
    when = models.TextField(
        blank=True, default="", db_default="", help_text="Condition over its input; the step is skipped if false."
    )
    cache_key = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="Expression over input and parameters by which a stored output is taken; empty for the whole input.",
    )
    cache_seconds = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds for which outputs are kept; empty for the program's, 0 for none."
    )
    cache_scope = models.CharField(
        max_length=16,
        default=CacheScope.WORKFLOW,
        db_default=CacheScope.WORKFLOW.value,
        choices=SCOPES,
        help_text="Whether outputs are kept for the workflow's tasks, or for those of all workflows.",
    )
    pool = models.CharField(
        max_length=256, blank=True, default="", db_default="", help_text="Pool whose slots it shares; empty for none."
    )
    child_program = models.CharField(
        max_length=256, blank=True, default="", db_default="", help_text="Runs once for each child that the step adds."
    )
    max_concurrency = models.PositiveIntegerField(
        null=True, blank=True, help_text="Children at once; empty for as many as there are worker processes."
    )
    exit_on_failed = models.BooleanField(
        default=True,
        db_default=True,
        help_text="Whether a failed child fails the step and stops its siblings, or is tolerated.",
    )

    objects = PrimaryManager.from_queryset(DefinitionQuerySet)()

    class Meta:
        db_table = "ms_task_definition"
        ordering = ["task_id", "task_seq"]
        constraints = [
            models.UniqueConstraint(name="ms_task_definition_key", fields=["task_id", "task_seq"]),
            fields.priority_check("ms_task_definition"),
            *fields.not_negative("ms_task_definition", "task_seq"),
            models.CheckConstraint(
                name="ms_task_definition_max_concurrency",
                condition=models.Q(max_concurrency__isnull=True) | models.Q(max_concurrency__gte=1),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} {self.task_seq}: {self.program}"

    @property
    def all_parameters(self) -> dict[str, Any]:
        """Parameters of the step: the pairs, then the JSON object, which wins."""
        return self.pairs | (self.parameters if isinstance(self.parameters, dict) else {})

    @property
    def pairs(self) -> dict[str, str]:
        """The parameters that ``param1_key`` to ``param5_value`` hold."""
        pairs = ((getattr(self, f"param{i}_key"), getattr(self, f"param{i}_value")) for i in PAIRS)
        return {key: value if value is not None else "" for key, value in pairs if key}

    def set_parameters(self, parameters: dict[str, Any]) -> None:
        """Store parameters: text in the pairs while they last, as the original does, the rest in the JSON object."""
        rest = dict(parameters)
        fitting = [
            (key, value)
            for key, value in parameters.items()
            if isinstance(value, str) and 0 < len(key) <= PAIR_LENGTH and len(value) <= PAIR_LENGTH
        ]
        for number, pair in zip(PAIRS, [*fitting[: len(PAIRS)], *[(None, None)] * len(PAIRS)], strict=False):
            key, value = pair
            setattr(self, f"param{number}_key", key)
            setattr(self, f"param{number}_value", value)
            if key is not None:
                del rest[key]
        self.parameters = rest

    def keep_columns(self, earlier: TaskDefinition) -> None:
        """Hold the parameters in the same columns as ``earlier`` does, if they are the same."""
        if equal(self.all_parameters, earlier.all_parameters):
            for name in _PARAMETERS:
                setattr(self, name, getattr(earlier, name))

    def node(self, before: int | None) -> Node:
        """The step as a node of a plan; ``before`` is the ``task_seq`` of the row before it, its default dependency."""
        self._check_columns()
        if self.depends_on is None:
            depends_on = () if before is None else (before,)
        else:
            depends_on = tuple(sorted(set(self.depends_on)))
        return Node(
            seq=self.task_seq,
            program=self.program,
            depends_on=depends_on,
            parameters=self.all_parameters,
            required_at_register=tuple(dict.fromkeys(self.required_at_register)),
            overridable=tuple(dict.fromkeys(self.overridable)),
            priority=self.task_priority,
            queue=self.queue,
            max_retries=self.max_retries,
            retry_delay=self.retry_delay,
            time_limit=self.time_limit,
            name=self.name,
            merge=self.merge,
            when=self.when,
            cache_key=self.cache_key,
            cache_seconds=self.cache_seconds,
            cache_scope=self.cache_scope,
            pool=self.pool,
            child_program=self.child_program,
            max_concurrency=self.max_concurrency,
            exit_on_failed=self.exit_on_failed,
        )

    def _check_columns(self) -> None:
        """Raise InvalidPlanError where SQL wrote JSON of another shape."""
        wrong = []
        depends_on = [] if self.depends_on is None else self.depends_on
        if not isinstance(depends_on, list) or not all(type(seq) is int for seq in depends_on):
            wrong.append(Problem("depends_on must be a list of task_seq, or NULL", self.task_seq, "depends_on"))
        for column in ("required_at_register", "overridable"):
            names = getattr(self, column)
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                wrong.append(Problem(f"{column} must be a list of names", self.task_seq, column))
        if not isinstance(self.parameters or {}, dict):
            wrong.append(Problem("parameters must be a JSON object", self.task_seq, "parameters"))
        if wrong:
            raise InvalidPlanError(wrong, self.task_id)


class Pool(PrimaryModel):
    """A limit that steps of any workflows share: so many of their tasks run at once."""

    name = models.CharField(primary_key=True, max_length=256)
    slots = models.PositiveIntegerField(help_text="Tasks that may run at once; 0 lets none start.")
    description = models.TextField(blank=True, default="", db_default="")

    objects = PrimaryManager.from_queryset(PoolQuerySet)()

    class Meta:
        db_table = "ms_pool"
        ordering = ["name"]
        constraints = [*fields.not_negative("ms_pool", "slots")]

    def __str__(self) -> str:
        return self.name
