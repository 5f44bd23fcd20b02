"""Flows and tasks as JSON, and the bodies of the verbs on them."""

from __future__ import annotations

from typing import Any

from django.db.models import Count
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from flowerapp import engine, queues, values
from flowerapp.api import fields
from flowerapp.drawing import children_done
from flowerapp.models import Event, Flow, Log, Task
from flowerapp.states import Status

MOST_LOG_LINES = 1000


class ModelSerializer(serializers.ModelSerializer[Any]):
    """Rows with times in UTC and JSON columns as they are."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        **{
            field: fields.UtcField
            for field, mapped in serializers.ModelSerializer.serializer_field_mapping.items()
            if mapped is serializers.DateTimeField
        },
    }


class FailedSerializer(serializers.Serializer[Any]):
    """The task that failed first."""

    task_exec_seq = serializers.IntegerField()
    task_seq = serializers.IntegerField()
    program = serializers.CharField()
    error = serializers.CharField()


class FlowSerializer(ModelSerializer):
    """A flow in a list."""

    status = serializers.SerializerMethodField(help_text="The state in a word.")
    failed = serializers.SerializerMethodField(help_text="The task that failed first, if one is failed now.")

    class Meta:
        model = Flow
        fields = [
            "task_flow_id",
            "task_id",
            "status",
            "exec_status",
            "failed",
            "held",
            "task_priority",
            "registered_by",
            "registered_ts",
            "started_ts",
            "finished_ts",
            "suspended_ts",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=[status.label for status in Status]))
    def get_status(self, flow: Flow) -> str:
        """The state in a word."""
        return flow.status.label

    @extend_schema_field(FailedSerializer(allow_null=True))
    def get_failed(self, flow: Flow) -> Any:
        """The failed task: from the page's, or asked for."""
        known = self.context.get("failed")
        task = known.get(flow.pk) if known is not None else flow.failed_task
        return FailedSerializer(task).data if task else None


class FlowDetailSerializer(FlowSerializer):
    """A flow by itself."""

    input = fields.MaskedField(read_only=True)
    state = fields.MaskedField(read_only=True, help_text="The object that its programs share.")
    output = serializers.SerializerMethodField(help_text="What its last steps returned; null until it has ended.")
    tasks = serializers.SerializerMethodField(help_text="Number of tasks in each state.")
    unserved_queues = serializers.SerializerMethodField(help_text="Queues that its tasks wait in and nobody serves.")

    class Meta(FlowSerializer.Meta):
        fields = [
            *FlowSerializer.Meta.fields,
            "admitted",
            "input",
            "state",
            "output",
            "tasks",
            "unserved_queues",
        ]
        read_only_fields = fields

    @extend_schema_field(OpenApiTypes.ANY)
    def get_output(self, flow: Flow) -> Any:
        """What its last steps returned, with secrets masked."""
        return values.masked(flow.output) if flow.ended else None

    def get_tasks(self, flow: Flow) -> dict[str, int]:
        """Number of tasks in each state."""
        counts = flow.tasks.order_by("exec_status").values_list("exec_status").annotate(Count("pk"))
        return {Status(status).label: count for status, count in counts}

    def get_unserved_queues(self, flow: Flow) -> list[str]:
        """Queues that its tasks wait in and nobody serves."""
        return [] if flow.ended else queues.unserved(flow.pk)


class TaskSerializer(ModelSerializer):
    """A task in a list."""

    task_flow_id = serializers.CharField(read_only=True)
    status = serializers.SerializerMethodField(help_text="The state in a word.")
    parameters = fields.ParametersField(read_only=True)
    depends_on = serializers.ListField(child=serializers.IntegerField(), read_only=True)
    queue = serializers.SerializerMethodField(help_text="Where it runs: its own queue, the program's, or Celery's.")
    child_id = fields.AnyField(read_only=True, help_text="What its parent calls it.")
    output = fields.AnyField(read_only=True)
    progress = serializers.SerializerMethodField(help_text="Of its children, or as its program told.")
    waits = serializers.SerializerMethodField(help_text="Why it does not run now; empty if it does, or has ended.")

    class Meta:
        model = Task
        fields = [
            "task_flow_id",
            "task_exec_seq",
            "depends_task_exec_seq",
            "depends_on",
            "task_id",
            "task_seq",
            "name",
            "program",
            "status",
            "exec_status",
            "error",
            "traceback",
            "task_priority",
            "parameters",
            "output",
            "progress",
            "queue",
            "max_retries",
            "retry_delay",
            "time_limit",
            "merge",
            "pool",
            "child_program",
            "max_concurrency",
            "exit_on_failed",
            "parent_seq",
            "child_index",
            "child_id",
            "children",
            "pending",
            "admitted",
            "waits",
            "attempt",
            "retries",
            "rescues",
            "run",
            "worker",
            "pid",
            "parked",
            "due_ts",
            "registered_ts",
            "started_ts",
            "finished_ts",
            "suspended_ts",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=[status.label for status in Status]))
    def get_status(self, task: Task) -> str:
        """The state in a word."""
        return task.status.label

    def get_queue(self, task: Task) -> str:
        """Name of the queue that it goes to."""
        return queues.queue_of(task.program, task.queue)

    @extend_schema_field(OpenApiTypes.ANY)
    def get_progress(self, task: Task) -> Any:
        """How many of its children have ended, or what its program told."""
        if not task.children:
            return task.progress
        return {"done": children_done(task.status, task.children, task.pending), "total": task.children}

    def get_waits(self, task: Task) -> str:
        """The reason: from the page's, or asked for."""
        known = self.context.get("waits")
        return (engine.why_wait([task]) if known is None else known).get(task.pk, "")


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
        lines = Log.objects.filter(task_flow_id=task.task_flow_id, task_exec_seq=task.task_exec_seq)
        return LogSerializer(reversed(lines.order_by("-id")[:MOST_LOG_LINES]), many=True).data


class EventSerializer(ModelSerializer):
    """An entry of the history."""

    details = fields.AnyField(read_only=True)

    class Meta:
        model = Event
        fields = ["id", "ts", "verb", "task_exec_seq", "attempt", "worker", "actor", "reason", "details"]
        read_only_fields = fields


class DoneSerializer(serializers.Serializer[Any]):
    """How far the children of a task are."""

    done = serializers.IntegerField(help_text="Children that have ended.")
    total = serializers.IntegerField()


class NodeSerializer(serializers.Serializer[Any]):
    """A step in the graph."""

    seq = serializers.IntegerField()
    program = serializers.CharField()
    exec_status = serializers.IntegerField()
    status = serializers.CharField()
    level = serializers.IntegerField(help_text="Length of the longest way to it.")
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
        after = fields.StrictIntegerField(default=None, allow_null=True, help_text="This task and all that follows it.")
        return {**super().get_fields(), "from": after}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """At most one way."""
        if sum((attrs["failed"], attrs["all"], attrs["from"] is not None)) > 1:
            raise serializers.ValidationError("give one of failed, from and all")
        return attrs


class ChangeSerializer(WhySerializer):
    """Body of a PATCH on a task; what is left out stays."""

    parameters = fields.ParametersField(required=False, help_text="Laid over those that it has.")
    priority = fields.StrictIntegerField(required=False, help_text="−20 (first) to 19 (last).")
    task_priority = fields.StrictIntegerField(required=False, help_text="The same, as it reads.")
    queue = fields.StrictTextField(required=False, allow_null=True, help_text="null for the program's.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One priority, and something to change."""
        if "priority" in attrs and "task_priority" in attrs:
            raise serializers.ValidationError("give one of priority and task_priority")
        if not set(attrs) - {"why"}:
            raise serializers.ValidationError("nothing to change; give parameters, priority or queue")
        given = attrs.get("parameters", {})
        if "parameters" in attrs:
            attrs["parameters"] = {key: value for key, value in given.items() if value != values.MASKED}
        return attrs


class TaskFilterSerializer(serializers.Serializer[Any]):
    """Filters of the list of tasks."""

    def get_fields(self) -> dict[str, Any]:
        """``parent`` is a word of DRF's, so it is added here."""
        what = "task_exec_seq: the children of that task; none: the steps alone."
        return {**super().get_fields(), "parent": serializers.CharField(required=False, help_text=what)}

    def validate_parent(self, value: str) -> int | None:
        """The parent of all that is asked for."""
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
        words = {word: int(each) for each in Status for word in (each.label.lower(), str(int(each)))}
        asked = [each.strip().lower() for each in value.split(",")]
        if unknown := [each for each in asked if each not in words]:
            known = ", ".join(f"{status.label} ({int(status)})" for status in Status)
            raise serializers.ValidationError(f"no status {unknown[0][:40]!r}; there are {known}")
        return [words[each] for each in asked]
