"""Flows and tasks as JSON, and the bodies of the verbs on them."""

from __future__ import annotations

from typing import Any

from django.db.models import Count
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from flowerapp.api import fields
from flowerapp.api.fields import ModelSerializer, StatusSerializer, with_status
from flowerapp.core import values
from flowerapp.models import Flow, HistoryEntry, Log, Task
from flowerapp.selectors import flows, history, tasks
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status

MOST_LOG_LINES = 1000


class FailedSerializer(serializers.Serializer[Any]):
    """The task that failed first."""

    task_exec_seq = serializers.IntegerField()
    task_seq = serializers.IntegerField()
    program = serializers.CharField()
    error = serializers.CharField()


class FlowSerializer(StatusSerializer):
    """A flow in a list."""

    failed = serializers.SerializerMethodField(help_text="The task that failed first, if one is failed now.")

    class Meta:
        model = Flow
        fields = [*with_status(flows.COLUMNS), "failed"]
        read_only_fields = fields

    @extend_schema_field(FailedSerializer(allow_null=True))
    def get_failed(self, flow: Flow) -> Any:
        """The failed task: from the page's, or read now."""
        page = self.context.get("failed")
        task = page.get(flow.pk) if page is not None else flow.failed_task
        return FailedSerializer(task).data if task else None


class FlowDetailSerializer(FlowSerializer):
    """A flow by itself."""

    input = fields.MaskedField(read_only=True)
    state = fields.MaskedField(read_only=True, help_text="The object that its programs share.")
    output = serializers.SerializerMethodField(help_text="What its last steps returned; null until it has ended.")
    tasks = serializers.SerializerMethodField(help_text="Number of tasks in each state.")
    unserved_queues = serializers.SerializerMethodField(help_text="Queues that its tasks wait in and no worker serves.")

    class Meta(FlowSerializer.Meta):
        fields = [*FlowSerializer.Meta.fields, "admitted", "input", "state", "output", "tasks", "unserved_queues"]
        read_only_fields = fields

    @extend_schema_field(OpenApiTypes.ANY)
    def get_output(self, flow: Flow) -> Any:
        """What its last steps returned, with secrets masked."""
        return flows.output_of(flow)

    def get_tasks(self, flow: Flow) -> dict[str, int]:
        """Number of tasks in each state, children included."""
        counts = flow.tasks.order_by("exec_status").values_list("exec_status").annotate(Count("pk"))
        return {Status(status).label: count for status, count in counts}

    def get_unserved_queues(self, flow: Flow) -> list[str]:
        """Queues that its tasks wait in and no worker serves."""
        return flows.unserved_queues(flow)


class TaskSerializer(StatusSerializer):
    """A task in a list."""

    task_flow_id = serializers.CharField(read_only=True)
    parameters = fields.ParametersField(read_only=True)
    depends_on = serializers.ListField(child=serializers.IntegerField(), read_only=True)
    queue = serializers.SerializerMethodField(help_text="Where it runs: its own queue, the program's, or Celery's.")
    child_id = fields.AnyField(read_only=True, help_text="What its parent calls it.")
    output = fields.AnyField(read_only=True)
    progress = serializers.SerializerMethodField(
        help_text="{done, total} of its children, where done ones have ended; else what its program reports."
    )
    waits = serializers.SerializerMethodField(help_text="Why it does not run now; empty if it does, or has ended.")

    class Meta:
        model = Task
        fields = [*with_status(tasks.COLUMNS), "parameters", "progress", "queue", "waits"]
        read_only_fields = fields

    def get_queue(self, task: Task) -> str:
        """Name of the queue that it goes to."""
        return tasks.queue_of(task)

    @extend_schema_field(OpenApiTypes.ANY)
    def get_progress(self, task: Task) -> Any:
        """How many of its children have ended, or what its program reports."""
        return tasks.progress(task)

    def get_waits(self, task: Task) -> str:
        """The reason: from the page's, or read now."""
        page = self.context.get("waits")
        return (wait_reasons([task]) if page is None else page).get(task.pk, "")


class LogSerializer(ModelSerializer):
    """A line of a task's log."""

    class Meta:
        model = Log
        fields = ["ts", "attempt", "message"]
        read_only_fields = fields


class TaskDetailSerializer(TaskSerializer):
    """A task by itself."""

    item = fields.MaskedField(read_only=True, help_text="Input of a child.")
    log = serializers.SerializerMethodField(help_text=f"The last {MOST_LOG_LINES:,} lines of its log.")

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "item", "log"]
        read_only_fields = fields

    @extend_schema_field(LogSerializer(many=True))
    def get_log(self, task: Task) -> Any:
        """The last lines of its log, the oldest first."""
        lines = history.latest_lines(MOST_LOG_LINES, task_flow_id=task.task_flow_id, task_exec_seq=task.task_exec_seq)
        return LogSerializer(lines, many=True).data


class HistorySerializer(ModelSerializer):
    """An entry of the history."""

    details = fields.AnyField(read_only=True)

    class Meta:
        model = HistoryEntry
        fields = list(history.COLUMNS)
        read_only_fields = fields


class DoneSerializer(serializers.Serializer[Any]):
    """How many children of a task have ended."""

    done = serializers.IntegerField(help_text="Children that have ended.")
    total = serializers.IntegerField()


class NodeSerializer(serializers.Serializer[Any]):
    """A step in the graph."""

    seq = serializers.IntegerField()
    program = serializers.CharField()
    exec_status = serializers.IntegerField()
    status = serializers.CharField()
    level = serializers.IntegerField(help_text="Steps on the longest path to it.")
    children = DoneSerializer(required=False, help_text="Of a step that has added some.")


class GraphSerializer(serializers.Serializer[Any]):
    """A flow's graph."""

    nodes = NodeSerializer(many=True)
    edges = serializers.ListField(child=serializers.DictField(child=serializers.IntegerField()), help_text="from, to")


class WhySerializer(fields.StrictSerializer):
    """Body of a verb."""

    why = fields.StrictTextField(default="", max_length=2000, help_text="For the history.")


class RerunSerializer(WhySerializer):
    """Body of rerun: at most one of failed (the default), from and all."""

    failed = fields.StrictBooleanField(default=False, help_text="The failed tasks.")
    all = fields.StrictBooleanField(default=False, help_text="Every task.")
    parameters = fields.StepParametersField(default=dict, help_text="Changed first, by task_exec_seq.")
    refresh = fields.StrictBooleanField(default=False, help_text="Take the definition's present state.")

    def get_fields(self) -> dict[str, Any]:
        """``from`` is a word of Python, so it is added here."""
        seq = fields.StrictIntegerField(default=None, allow_null=True, help_text="This task and all that follows it.")
        return {**super().get_fields(), "from": seq}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """At most one of the three."""
        if sum((attrs["failed"], attrs["all"], attrs["from"] is not None)) > 1:
            raise serializers.ValidationError("give one of failed, from and all")
        return attrs


class ChangeSerializer(WhySerializer):
    """Body of a PATCH on a task; columns that are left out keep their values."""

    parameters = fields.ParametersField(required=False, help_text="Replace those of the same names.")
    priority = fields.StrictIntegerField(required=False, help_text="−20 (first) to 19 (last).")
    task_priority = fields.StrictIntegerField(required=False, help_text="The same under the column's name.")
    queue = fields.StrictTextField(required=False, allow_null=True, help_text="null for the program's.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One priority, and something to change."""
        if "priority" in attrs and "task_priority" in attrs:
            raise serializers.ValidationError("give one of priority and task_priority")
        if not set(attrs) - {"why"}:
            raise serializers.ValidationError("nothing to change; give parameters, priority or queue")
        if "parameters" in attrs:
            changed = {key: value for key, value in attrs["parameters"].items() if value != values.MASKED}
            attrs["parameters"] = changed
        return attrs


class TaskFilterSerializer(serializers.Serializer[Any]):
    """Filters of the list of tasks."""

    def get_fields(self) -> dict[str, Any]:
        """``parent`` is a word of DRF's, so it is added here."""
        meaning = "task_exec_seq: the children of that task; none: the steps alone."
        return {**super().get_fields(), "parent": serializers.CharField(required=False, help_text=meaning)}

    def validate_parent(self, value: str) -> int | None:
        """Seq of the parent, or None for the steps."""
        if value != "none" and not fields.is_seq(value):
            raise serializers.ValidationError("must be the task_exec_seq of a task, or none")
        return None if value == "none" else int(value)


class FlowFilterSerializer(serializers.Serializer[Any]):
    """Filters of the list of flows."""

    task_id = serializers.CharField(required=False, trim_whitespace=False, help_text="Name of the workflow.")
    status = serializers.CharField(required=False, help_text="Words or numbers, joined by commas.")
    registered_after = fields.UtcField(required=False, help_text="ISO 8601.")
    registered_before = fields.UtcField(required=False, help_text="ISO 8601.")

    def validate_status(self, value: str) -> list[int]:
        """Numbers of the states."""
        numbers = {word: int(status) for status in Status for word in (status.label.lower(), str(int(status)))}
        words = [word.strip().lower() for word in value.split(",")]
        if unknown := [word for word in words if word not in numbers]:
            states = ", ".join(f"{status.label} ({int(status)})" for status in Status)
            raise serializers.ValidationError(f"no status {unknown[0][:40]!r}; there are {states}")
        return [numbers[word] for word in words]
