"""JSON documents of the CLI; the keys are the columns' names, as in the REST API."""

from __future__ import annotations

from typing import Any

from flowerapp import queues, values
from flowerapp.models import Event, Flow, Log, Task
from flowerapp.registry import Program
from flowerapp.states import Status

FLOW_COLUMNS = (
    "task_flow_id",
    "task_id",
    "exec_status",
    "task_priority",
    "held",
    "failed_seq",
    "registered_by",
    "registered_ts",
    "started_ts",
    "finished_ts",
    "suspended_ts",
)
TASK_COLUMNS = (
    "task_exec_seq",
    "depends_task_exec_seq",
    "depends_on",
    "task_id",
    "task_seq",
    "program",
    "exec_status",
    "task_priority",
    "queue",
    "registered_ts",
    "started_ts",
    "finished_ts",
    "suspended_ts",
    "due_ts",
    "max_retries",
    "retry_delay",
    "time_limit",
    "attempt",
    "retries",
    "rescues",
    "run",
    "progress",
    "output",
    "error",
    "traceback",
)
EVENT_COLUMNS = ("ts", "task_exec_seq", "verb", "attempt", "worker", "actor", "reason", "details")
LOG_COLUMNS = ("ts", "task_exec_seq", "attempt", "message")


def _columns(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _stated(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    document = _columns(row, names)
    at = list(document).index("exec_status") + 1
    items = list(document.items())
    return dict([*items[:at], ("status", Status(row.exec_status).label), *items[at:]])


def flow_document(flow: Flow) -> dict[str, Any]:
    """A flow by itself."""
    return _stated(flow, FLOW_COLUMNS) | {"input": values.masked(flow.input)}


def task_document(task: Task) -> dict[str, Any]:
    """A task; secrets among its parameters are masked."""
    return _stated(task, TASK_COLUMNS) | {"parameters": values.masked(task.parameters)}


def whole_document(flow: Flow) -> dict[str, Any]:
    """A flow with its tasks, history, logs, and the queues that it waits in and nobody serves."""
    return flow_document(flow) | {
        "tasks": [task_document(task) for task in flow.tasks.order_by("task_exec_seq")],
        "history": [_columns(event, EVENT_COLUMNS) for event in Event.objects.filter(task_flow=flow).order_by("id")],
        "logs": [_columns(line, LOG_COLUMNS) for line in Log.objects.filter(task_flow=flow).order_by("id")],
        "unserved_queues": queues.unserved(flow.pk),
    }


def program_document(program: Program) -> dict[str, Any]:
    """A program with its parameters and retry policy."""
    return {
        "name": program.name,
        "description": program.description,
        "parameters": parameters_of(program),
        "retry": {
            "autoretry_for": [each.__name__ for each in program.autoretry_for],
            "dont_autoretry_for": [each.__name__ for each in program.dont_autoretry_for],
            "max_retries": program.max_retries,
            "default_retry_delay": program.default_retry_delay,
            "retry_backoff": program.retry_backoff,
            "retry_backoff_max": program.retry_backoff_max,
            "retry_jitter": program.retry_jitter,
        },
        "time_limit": program.time_limit,
        "soft_time_limit": program.soft_time_limit,
        "queue": program.queue,
    }


def parameters_of(program: Program) -> list[dict[str, Any]]:
    """Name, type, whether it is required, and default of each parameter."""
    schema = program.schema
    described = schema.get("properties", {})
    required = set(schema.get("required", ()))
    result = []
    for name in described or program.fields:
        about = described.get(name, {})
        entry: dict[str, Any] = {"name": name, "type": type_of(about), "required": name in required}
        if name not in required:
            entry["default"] = about.get("default")
        result.append(entry)
    return result


def type_of(about: dict[str, Any]) -> str:
    """A parameter's type in a word, from its JSON schema."""
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(type_of(each) for each in about["anyOf"]))
    if "enum" in about:
        return "one of " + ", ".join(map(str, about["enum"]))
    return str(about.get("type") or "any")
