"""Flows and tasks as JSON, and the bodies of the verbs on them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from flowerapp import drawing
from flowerapp.api import fields
from flowerapp.api.bounds import OPTIONAL_NAME, PRIORITY, SEQ
from flowerapp.api.fields import ModelSerializer, StatusSerializer, with_status
from flowerapp.core.answers import fitted
from flowerapp.core.names import LONGEST_WHY
from flowerapp.core.passing import TooLarge
from flowerapp.core.task_log import LEVELS, level_name
from flowerapp.models import Flow, HistoryEntry, Log, Task
from flowerapp.models.fields import LONGEST_TEXT
from flowerapp.selectors import counts, flows, history, in_words, task_logs, tasks
from flowerapp.selectors.short import left_out
from flowerapp.selectors.wait_reasons import wait_reasons

LEFT_OUT = {"type": "object", "additionalProperties": {"type": "integer"}}
"""Names of values, each with its size."""
MOST_LOG_LINES = 1000
JSON = "json"
DRAWINGS: dict[str, tuple[Any, str]] = {
    "svg": (drawing.svg, "image/svg+xml"),
    "mermaid": (drawing.mermaid, "text/plain; charset=utf-8"),
    "ascii": (drawing.ascii, "text/plain; charset=utf-8"),
}
"""Forms of a graph beside JSON: the function that draws it, and its content type."""


class FailedSerializer(serializers.Serializer[Any]):
    """The task that failed first."""

    task_exec_seq = serializers.IntegerField()
    task_seq = serializers.IntegerField()
    name = serializers.CharField()
    alias = serializers.CharField(help_text="What people call it, where that is not its name.")
    remote = serializers.CharField(help_text="What does the work of a remote task, or of its children.")
    program = serializers.CharField()
    error = serializers.CharField()


class FlowSerializer(StatusSerializer):
    """A flow in a list."""

    failed = serializers.SerializerMethodField(help_text="The task that failed first, if one is failed now.")

    class Meta:
        model = Flow
        fields = [*with_status(flows.COLUMNS), "failed"]
        read_only_fields = fields

    def in_words(self, row: Flow) -> dict[str, Any]:
        """The flow in words, with the page's counts, or counted now."""
        self.numbers = self.context["counts"][row.pk] if "counts" in self.context else counts.of_flow(row)
        return in_words.flow_in_words(row, self.numbers)

    @extend_schema_field(FailedSerializer(allow_null=True))
    def get_failed(self, flow: Flow) -> Any:
        """The failed task: from the page's, or read now."""
        page = self.context.get("failed")
        task = page.get(flow.pk) if page is not None else flow.failed_task
        return FailedSerializer(task).data if task else None


class FlowDetailSerializer(FlowSerializer):
    """A flow by itself; its values as far as one answer can hold them."""

    values = ("input", "state", "output", "unserved_queues", "source")

    input = fields.AnyField(read_only=True)
    state = fields.AnyField(read_only=True, help_text="The object that its programs share.")
    output = serializers.SerializerMethodField(help_text="What its last steps returned; null until it has ended.")
    left_out = serializers.SerializerMethodField(
        help_text="Values that are null here because they are too large together, with their bytes of JSON; whole=NAME "
        "puts one first. A larger output is in the list of tasks, as the outputs of the last ones."
    )
    tasks = serializers.SerializerMethodField(help_text="Number of tasks in each state.")
    unserved_queues = serializers.SerializerMethodField(help_text="Queues that its tasks wait in and no worker serves.")

    class Meta(FlowSerializer.Meta):
        fields = [
            *FlowSerializer.Meta.fields,
            "admitted",
            "input",
            "state",
            "output",
            "tasks",
            "unserved_queues",
            "source",
        ]
        fields = [*fields, "left_out"]
        read_only_fields = fields

    def to_representation(self, instance: Flow) -> dict[str, Any]:
        """The flow, without the values that are too large together."""
        return fitted(super().to_representation(instance), self.values, self.context.get("whole"))

    @extend_schema_field(OpenApiTypes.ANY)
    def get_output(self, flow: Flow) -> Any:
        """What its last steps returned, with secrets masked."""
        output = flows.output_of(flow)
        self.large = {"output": output.size} if isinstance(output, TooLarge) else {}
        return None if self.large else output

    @extend_schema_field(LEFT_OUT)
    def get_left_out(self, flow: Flow) -> dict[str, int]:
        """The output, if it is too large to be read."""
        return self.large

    def get_tasks(self, flow: Flow) -> dict[str, int]:
        """Number of tasks in each state, children included."""
        return {status.label: count for status, count in sorted(self.numbers.by_status.items())}

    def get_unserved_queues(self, flow: Flow) -> list[str]:
        """Queues that its tasks wait in and no worker serves."""
        return flows.unserved_queues(flow)


class TaskSerializer(StatusSerializer):
    """A task in a list."""

    task_flow_id = serializers.CharField(read_only=True)
    parameters = fields.ParametersField(read_only=True)
    depends_on = serializers.ListField(child=serializers.IntegerField(), read_only=True)
    queue = serializers.SerializerMethodField(help_text="Where it runs: its own queue, the program's, or Celery's.")
    parked = serializers.SerializerMethodField(
        help_text="Whether it waits for a time, an event, a person or its children."
    )
    child_id = fields.AnyField(read_only=True, help_text="What its parent calls it.")
    cached_from = fields.SourceSerializer(read_only=True, allow_null=True, help_text="Whose stored output it took.")
    output = fields.AnyField(read_only=True)
    progress = serializers.SerializerMethodField(
        help_text="{done, total} of its children, where done ones are Finish; else what its program reports."
    )
    waits = serializers.SerializerMethodField(help_text="Why it does not run now; empty if it does, or has ended.")
    left_out = serializers.SerializerMethodField(
        help_text="Values that are null here because they are too large, with their bytes of JSON, and texts that are "
        "cut, with their characters. The task by itself has them; there whole=NAME puts one of several first."
    )

    class Meta:
        model = Task
        fields = [*with_status(tasks.COLUMNS), "parameters", "progress", "queue", "waits", "left_out"]
        read_only_fields = fields

    def in_words(self, row: Task) -> dict[str, Any]:
        """The task in words, with the page's counts of children, or counted now."""
        page = self.context.get("children")
        self.children = (tasks.children_of([row]) if page is None else page).get(row.task_exec_seq)
        return in_words.task_in_words(row, self.children)

    @extend_schema_field(LEFT_OUT)
    def get_left_out(self, task: Task) -> dict[str, int]:
        """What is too large for a list."""
        return left_out(task)

    def get_parked(self, task: Task) -> bool:
        """Not of a gate, which only waits for the tasks before it."""
        return tasks.is_parked(task)

    def get_queue(self, task: Task) -> str:
        """Name of the queue that it goes to."""
        return tasks.queue_of(task)

    @extend_schema_field(OpenApiTypes.ANY)
    def get_progress(self, task: Task) -> Any:
        """How many of its children are done, or what its program reports."""
        return tasks.progress(task, self.children)

    def get_waits(self, task: Task) -> str:
        """The reason: from the page's, or read now."""
        page = self.context.get("waits")
        return (wait_reasons([task]) if page is None else page).get(task.pk, "")


class LogSerializer(ModelSerializer):
    """A line of a task's log."""

    level = serializers.SerializerMethodField(help_text=f"One of {', '.join(LEVELS)}.")

    class Meta:
        model = Log
        fields = list(task_logs.COLUMNS)
        read_only_fields = fields

    def get_level(self, line: Log) -> str:
        """Its level as a word."""
        return level_name(line.level)


class TaskDetailSerializer(TaskSerializer):
    """A task by itself; its values as far as one answer can hold them."""

    values = ("error", "traceback", "depends_on", "progress", "child_id", "output", "parameters", "item", "log")

    item = fields.AnyField(read_only=True, help_text="Input of a child.")
    log = serializers.SerializerMethodField(help_text=f"The last {MOST_LOG_LINES:,} lines of its log.")

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "item", "log"]
        read_only_fields = fields

    def to_representation(self, instance: Task) -> dict[str, Any]:
        """The task, without the values that are too large together."""
        return fitted(super().to_representation(instance), self.values, self.context.get("whole"))

    @extend_schema_field(LogSerializer(many=True))
    def get_log(self, task: Task) -> Any:
        """The last lines of its log, the oldest first."""
        lines = task_logs.latest(MOST_LOG_LINES, task_logs.lines(task.task_flow_id, task.task_exec_seq))
        return LogSerializer(lines, many=True).data


class HistorySerializer(ModelSerializer):
    """An entry of the history."""

    task = serializers.SerializerMethodField(help_text="Number and name of the task; empty for the flow as a whole.")
    details = fields.AnyField(read_only=True)

    class Meta:
        model = HistoryEntry
        fields = [*history.COLUMNS, "task"]
        read_only_fields = fields

    def get_task(self, entry: HistoryEntry) -> str:
        """Number and name."""
        titles: dict[int | None, str] = self.context["titles"]
        return titles[entry.task_exec_seq]


class DoneSerializer(serializers.Serializer[Any]):
    """How many children of a task are done."""

    done = serializers.IntegerField(help_text="Children that are Finish.")
    total = serializers.IntegerField()


class NodeSerializer(serializers.Serializer[Any]):
    """A step in the graph."""

    seq = serializers.IntegerField()
    name = serializers.CharField()
    program = serializers.CharField()
    exec_status = serializers.IntegerField()
    status = serializers.CharField()
    level = serializers.IntegerField(help_text="Steps on the longest path to it, of those here.")
    waits = serializers.CharField(required=False, help_text="What a step waits for, of a wait that has begun.")
    children = DoneSerializer(required=False, help_text="Of a step that has added some.")
    cached = serializers.BooleanField(required=False, help_text="true where it took the output that a task stored.")


class LeftOutOfGraphSerializer(serializers.Serializer[Any]):
    """How much of a graph was left out."""

    nodes = serializers.IntegerField()
    edges = serializers.IntegerField()


class GraphSerializer(serializers.Serializer[Any]):
    """A flow's graph, or the part of it around one step where it has over 5,000 steps or 20,000 edges."""

    nodes = NodeSerializer(many=True)
    edges = serializers.ListField(child=serializers.DictField(child=serializers.IntegerField()), help_text="from, to")
    around = serializers.IntegerField(required=False, help_text="Of a part: the step that it is about.")
    left_out = LeftOutOfGraphSerializer(required=False, help_text="Of a part: what was left out.")


class WhySerializer(fields.StrictSerializer):
    """Body of a verb."""

    why = fields.StrictTextField(default="", max_length=LONGEST_WHY, help_text="For the history.")


class RerunSerializer(WhySerializer):
    """Body of rerun: at most one of failed (the default), from and all."""

    failed = fields.StrictBooleanField(default=False, help_text="The failed tasks.")
    all = fields.StrictBooleanField(default=False, help_text="Every task.")
    parameters = fields.StepParametersField(default=dict, help_text="Changed first, by task_exec_seq.")
    refresh = fields.StrictBooleanField(default=False, help_text="Take the definition's present state.")

    def get_fields(self) -> dict[str, Any]:
        """``from`` is a word of Python, so it is added here."""
        seq = fields.StrictIntegerField(
            bounds=SEQ, default=None, allow_null=True, help_text="This task and all that follows it."
        )
        return {**super().get_fields(), "from": seq}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """At most one of the three."""
        if sum((attrs["failed"], attrs["all"], attrs["from"] is not None)) > 1:
            raise serializers.ValidationError("give one of failed, from and all")
        return attrs


class EndSerializer(WhySerializer):
    """Body of the end of a remote task."""

    output = fields.AnyField(default=None, help_text="What the other system made: JSON; null is {}.")


class WakeSerializer(WhySerializer):
    """Body of the end of a wait."""

    output = fields.AnyField(
        default=None, help_text="Its output: JSON; null lets a wait pass its input on, and starts another task again."
    )


class FailSerializer(WhySerializer):
    """Body of the failure of a remote task."""

    reason = fields.StrictTextField(max_length=LONGEST_TEXT, help_text="Why the other system could not do it.")


class ChangeSerializer(WhySerializer):
    """Body of a PATCH on a task; columns that are left out keep their values."""

    parameters = fields.ParametersField(
        required=False, help_text="Replace those of the same names; •••• keeps what is stored."
    )
    priority = fields.StrictIntegerField(bounds=PRIORITY, required=False, help_text="−20 (first) to 19 (last).")
    task_priority = fields.StrictIntegerField(
        bounds=PRIORITY, required=False, help_text="The same under the column's name."
    )
    queue = fields.StrictTextField(
        bounds=OPTIONAL_NAME, required=False, allow_null=True, help_text="null for the program's."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One priority, and something to change."""
        if "priority" in attrs and "task_priority" in attrs:
            raise serializers.ValidationError("give one of priority and task_priority")
        if not set(attrs) - {"why"}:
            raise serializers.ValidationError("nothing to change; give parameters, priority or queue")
        return attrs
