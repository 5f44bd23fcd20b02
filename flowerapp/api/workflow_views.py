"""Workflows as documents: list, read, create, replace, delete."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import exceptions, serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ListSerializer

from flowerapp import conf, engine
from flowerapp.api import errors, fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.bounds import COUNT, NAME, OPTIONAL_NAME, PRIORITY, SEQ, Bounds, of
from flowerapp.api.permissions import DEFINE
from flowerapp.api.queries import Query
from flowerapp.core import answers
from flowerapp.core.caching import CacheScope
from flowerapp.core.expressions.limits import MAX_TEXT
from flowerapp.core.names import name_problems
from flowerapp.core.permissions import VIEW_DEFINITION
from flowerapp.exceptions import MOST_PROBLEMS, InvalidPlanError, UnknownWorkflowError
from flowerapp.models import TaskDefinition
from flowerapp.selectors.workflows import with_descriptions
from flowerapp.workflows import rows

TASK_ID = OpenApiParameter(
    "task_id", {"type": "string", **NAME}, OpenApiParameter.PATH, description="Name of the workflow."
)


MOST_STEPS = 5000
"""Steps of a document."""


class ColumnListField(serializers.ListField):
    """A list that is stored as JSON; rows written by SQL show what their column holds."""

    def to_representation(self, data: Any) -> Any:
        """The column as it is."""
        return data


class StepListSerializer(ListSerializer[Any]):
    """The steps of a workflow; errors are a list with an object for each step."""

    @property
    def bounds(self) -> Bounds:
        """What the document says; the engine checks it."""
        return {"minItems": 1, "maxItems": conf.get().MAX_TASKS}

    def to_internal_value(self, data: Any) -> list[Any]:
        """The checked steps; raises ValidationError."""
        if not isinstance(data, list):
            raise serializers.ValidationError({"non_field_errors": ["must be a list of steps"]})
        if len(data) > MOST_STEPS:
            sentence = f"{len(data):,} steps; a document has at most {MOST_STEPS:,}, rows or a class may have more"
            raise serializers.ValidationError({"non_field_errors": [sentence]})
        checked: list[Any] = []
        errors: list[Any] = []
        faults = 0
        for step in data:
            try:
                checked.append(self.run_child_validation(step))
                errors.append({})
            except serializers.ValidationError as error:
                errors.append(error.detail)
                faults += 1
            if faults == MOST_PROBLEMS:
                break
        if any(errors):
            raise serializers.ValidationError(errors)
        return checked


class StepSerializer(fields.StrictSerializer):
    """One step of a workflow."""

    task_seq = fields.StrictIntegerField(bounds=SEQ)
    name = fields.StrictTextField(
        bounds=OPTIONAL_NAME, default="", help_text="What ctx.output_of calls it; may be empty."
    )
    program = fields.StrictTextField(bounds=NAME)
    task_priority = fields.StrictIntegerField(bounds=PRIORITY, default=0, help_text="−20 (first) to 19 (last).")
    parameters = fields.ParametersField(default=dict)
    required_at_register = ColumnListField(
        child=fields.StrictTextField(),
        default=list,
        help_text="Names of parameters that each registration gives, in place of the step.",
    )
    overridable = ColumnListField(
        child=fields.StrictTextField(),
        default=list,
        help_text="Names of parameters that users who may not edit it may override although it holds masked values.",
    )
    depends_on = ColumnListField(
        child=fields.StrictIntegerField(bounds=SEQ),
        allow_null=True,
        default=None,
        help_text="task_seq of steps; [] for none, null for the row before.",
    )
    queue = fields.StrictTextField(
        bounds=OPTIONAL_NAME, allow_null=True, default=None, help_text="null for the program's."
    )
    pool = fields.StrictTextField(
        bounds=OPTIONAL_NAME, allow_null=True, default=None, help_text="Pool whose slots it shares; null for none."
    )
    max_retries = fields.StrictIntegerField(
        bounds=of("max_retries"), allow_null=True, default=None, help_text="3 means 4 starts."
    )
    retry_delay = fields.StrictIntegerField(
        bounds=of("retry_delay"), allow_null=True, default=None, help_text="Seconds."
    )
    time_limit = fields.StrictIntegerField(bounds=of("time_limit"), allow_null=True, default=None, help_text="Seconds.")
    merge = fields.StrictBooleanField(
        default=False, help_text="Its input is one object, merged from the outputs of the steps before it."
    )
    when = fields.StrictTextField(
        default="",
        max_length=MAX_TEXT,
        help_text="Condition over its input; the step is skipped where it is false.",
    )
    cache_key = fields.StrictTextField(
        default="",
        max_length=MAX_TEXT,
        help_text="Expression over input and parameters by which a stored output is taken; empty for the whole input.",
    )
    cache_seconds = fields.StrictIntegerField(
        bounds=of("cache_seconds"),
        allow_null=True,
        default=None,
        help_text="For how long its outputs are kept; null for as long as the program says, 0 for not at all.",
    )
    cache_scope = fields.StrictTextField(
        default=CacheScope.WORKFLOW.value,
        max_length=16,
        help_text="workflow, or global: whether tasks of its workflow take them, or those of all.",
    )
    child_program = fields.StrictTextField(
        bounds=OPTIONAL_NAME,
        allow_null=True,
        default=None,
        help_text="Runs for each child that the step adds; null if it adds none.",
    )
    max_concurrency = fields.StrictIntegerField(
        bounds=of("max_concurrency"),
        allow_null=True,
        default=None,
        help_text="Children at once; null for as many as there are worker processes.",
    )
    exit_on_failed = fields.StrictBooleanField(
        default=True, help_text="Whether a failed child fails the step and stops its siblings, or is tolerated."
    )

    class Meta:
        list_serializer_class = StepListSerializer


class WorkflowSerializer(fields.NamedSerializer):
    """A workflow."""

    name_field = "task_id"

    ignored = frozenset({"source"})

    task_id = fields.StrictTextField(bounds=NAME)
    description = fields.StrictTextField(default="")
    max_active_flows = fields.StrictIntegerField(
        bounds=COUNT,
        allow_null=True,
        default=None,
        help_text="Most flows that may be active at once; null for no limit.",
    )
    unique = fields.StrictBooleanField(
        default=False, help_text="One flow at a time: registering again returns the open one."
    )
    entrance = fields.StrictIntegerField(
        bounds=SEQ,
        allow_null=True,
        default=None,
        help_text="task_seq of the step to start at, unless register names another.",
    )
    start_event = fields.StrictTextField(
        bounds=OPTIONAL_NAME, default="", help_text="Kind of the events that start a flow each; empty for none."
    )
    start_match = fields.ParametersField(
        allow_null=True, default=None, help_text="Members that such an event must have; null for any of the kind."
    )
    tasks = StepSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        """``source`` is a word of DRF's, so it is added here."""
        source = serializers.CharField(read_only=True, help_text="Python class that defines it; else empty.")
        declared = super().get_fields()
        return {**declared, "source": source, "tasks": declared.pop("tasks")}

    def validate_task_id(self, value: str) -> str:
        """One name."""
        return self.same_name(value)


class ReplacedWorkflowSerializer(WorkflowSerializer):
    """A workflow, whose name may be left out because the URL has it."""

    task_id = fields.StrictTextField(bounds=NAME, required=False)


class ListedListSerializer(ListSerializer[Any]):
    """A page of workflows, with the descriptions that the page's headers give."""

    def to_representation(self, data: Any) -> list[Any]:
        """The page; two statements in all."""
        return super().to_representation(with_descriptions(data))


class ListedSerializer(serializers.Serializer[Any]):
    """A workflow in a list."""

    task_id = serializers.CharField()
    description = serializers.CharField()
    steps = serializers.IntegerField(help_text="Number of tasks.")

    class Meta:
        list_serializer_class = ListedListSerializer


def located(error: InvalidPlanError, document: dict[str, Any]) -> dict[str, Any]:
    """Problems at the steps of the document that they are about."""
    steps: list[dict[str, Any]] = [{} for _ in document["tasks"]]
    places = {step["task_seq"]: number for number, step in enumerate(document["tasks"])}
    whole: dict[str, Any] = {}
    for problem in error.problems:
        number = places.get(problem.seq) if problem.seq is not None else None
        place = whole if number is None else steps[number]
        errors.add(place, problem.field or "non_field_errors", problem.message)
    return {**whole, "tasks": steps} if any(steps) else whole


class WorkflowQuery(Query):
    """Which part of a large workflow is wanted."""

    after = serializers.IntegerField(
        default=None, min_value=0, max_value=SEQ["maximum"], help_text="task_seq: the steps that come after this one."
    )


class GivenWorkflowSerializer(WorkflowSerializer):
    """A workflow, or the steps of a large one that fit into an answer."""

    left_out = serializers.DictField(
        child=serializers.IntegerField(),
        required=False,
        help_text="Of a workflow that is too large for one answer: how many tasks follow the last one here; "
        "after=task_seq gives them. A document with it cannot be stored.",
    )


def given(task_id: str, after: int | None = None) -> dict[str, Any]:
    """A workflow's document, without the steps up to ``after`` and those that are too large for one answer."""
    stored = rows.document(task_id)
    steps = [step for step in stored["tasks"] if after is None or step["task_seq"] > after]
    document = dict(WorkflowSerializer(stored | {"tasks": steps[:MOST_STEPS]}).data)
    room = answers.MOST_BYTES - answers.size_of(document | {"tasks": []})
    number = answers.fitting(document["tasks"], room)
    left = len(steps) - number
    partly = {"left_out": {"tasks": left}} if left or after is not None else {}
    return document | {"tasks": document["tasks"][:number]} | partly


class WorkflowBase(ApiView):
    """Readers and writers of workflows."""

    permission = VIEW_DEFINITION
    permissions = DEFINE

    def store(self, document: dict[str, Any], *, new: bool) -> Response:
        """Store a document; raises ValidationError at the step at fault."""
        try:
            rows.store(document, new=new)
        except InvalidPlanError as error:
            raise exceptions.ValidationError(located(error, document)) from None
        code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
        return Response(given(document["task_id"]), status=code)


@documented(tags=["workflows"])
class WorkflowListView(WorkflowBase, ListAPIView[Any]):
    """Workflows by name, those written by SQL included."""

    serializer_class = ListedSerializer
    queryset = TaskDefinition.objects.none()
    cursor_ordering = ("task_id",)

    def get_queryset(self) -> Any:
        """Names with the number of steps."""
        return TaskDefinition.objects.workflows()

    @documented(request=WorkflowSerializer, responses={201: GivenWorkflowSerializer})
    def post(self, request: Request) -> Response:
        """Create a workflow."""
        return self.store(self.valid(WorkflowSerializer), new=True)


@documented(tags=["workflows"], parameters=[TASK_ID])
class WorkflowView(WorkflowBase):
    """One workflow."""

    serializer_class = WorkflowSerializer
    query = WorkflowQuery

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a name that no workflow can have."""
        super().initial(request, *args, **kwargs)
        if any(name_problems(kwargs["task_id"])):
            raise UnknownWorkflowError(f"there is no workflow {kwargs['task_id'][:256]!r}")

    def get_serializer_context(self) -> dict[str, Any]:
        """With the name in the URL."""
        return {**super().get_serializer_context(), **self.kwargs}

    @documented(responses=GivenWorkflowSerializer)
    def get(self, request: Request, task_id: str) -> Response:
        """A workflow's document."""
        return Response(given(task_id, self.wanted["after"]))

    @documented(request=ReplacedWorkflowSerializer, responses=GivenWorkflowSerializer)
    def put(self, request: Request, task_id: str) -> Response:
        """Replace a workflow; flows that were registered keep what they have."""
        rows.known(task_id)
        return self.store(self.valid(ReplacedWorkflowSerializer), new=False)

    @documented(responses={204: None})
    def delete(self, request: Request, task_id: str) -> Response:
        """Delete a workflow; its flows remain."""
        engine.undefine(task_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
