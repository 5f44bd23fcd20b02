"""JSON documents of the CLI; the keys are the columns' names, as in the REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowerapp import engine, queues, values
from flowerapp.management.cli.children import progress
from flowerapp.models import Event, Flow, Log, Pool, Task
from flowerapp.registry import Program
from flowerapp.states import Status

FLOW_COLUMNS = (
    "task_flow_id",
    "task_id",
    "exec_status",
    "held",
    "task_priority",
    "registered_by",
    "registered_ts",
    "started_ts",
    "finished_ts",
    "suspended_ts",
)
FAILED_COLUMNS = ("task_exec_seq", "task_seq", "program", "error")
TASK_COLUMNS = (
    "task_flow_id",
    "task_exec_seq",
    "depends_task_exec_seq",
    "depends_on",
    "task_id",
    "task_seq",
    "name",
    "program",
    "exec_status",
    "error",
    "traceback",
    "task_priority",
    "output",
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
)
EVENT_COLUMNS = ("id", "ts", "verb", "task_exec_seq", "attempt", "worker", "actor", "reason", "details")
LOG_COLUMNS = ("ts", "task_exec_seq", "attempt", "message")
POOL_COLUMNS = ("name", "slots", "description")
PROGRAM_COLUMNS = (
    "name",
    "description",
    "schema",
    "max_retries",
    "default_retry_delay",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
    "time_limit",
    "soft_time_limit",
)


def _columns(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _stated(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    document = _columns(row, names)
    at = list(document).index("exec_status")
    items = list(document.items())
    return dict([*items[:at], ("status", Status(row.exec_status).label), *items[at:]])


def flow_document(flow: Flow) -> dict[str, Any]:
    """A flow by itself, with the task that failed first if one is failed now."""
    failed = flow.failed_task
    return _stated(flow, FLOW_COLUMNS) | {
        "failed": _columns(failed, FAILED_COLUMNS) if failed else None,
        "input": values.masked(flow.input),
    }


def output_of(flow: Flow) -> Any:
    """What an ended flow's last steps returned, with secrets masked; None of one that goes on."""
    return values.masked(flow.output) if flow.ended else None


def task_documents(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Tasks, each with the queue that it goes to and why it waits; secrets among their parameters are masked."""
    waits = engine.why_wait(tasks)
    return [_task_document(task, waits.get(task.pk, "")) for task in tasks]


def _task_document(task: Task, waits: str) -> dict[str, Any]:
    return _stated(task, TASK_COLUMNS) | {
        "progress": progress(task),
        "waits": waits,
        "parameters": values.masked(task.parameters),
        "queue": queues.queue_of(task.program, task.queue),
    }


def whole_document(flow: Flow) -> dict[str, Any]:
    """A flow with its tasks, history, logs, and the queues that it waits in and nobody serves."""
    return flow_document(flow) | {
        "admitted": flow.admitted,
        "state": values.masked(flow.state),
        "output": output_of(flow),
        "tasks": task_documents(list(flow.tasks.order_by("task_exec_seq"))),
        "history": [_columns(event, EVENT_COLUMNS) for event in Event.objects.filter(task_flow=flow).order_by("id")],
        "logs": [_columns(line, LOG_COLUMNS) for line in Log.objects.filter(task_flow=flow).order_by("id")],
        "unserved_queues": [] if flow.ended else queues.unserved(flow.pk),
    }


def pool_document(pool: Pool) -> dict[str, Any]:
    """A pool with how many of its slots are held, and how many tasks wait for one."""
    use = engine.PoolUse(pool)
    return _columns(pool, POOL_COLUMNS) | {"held": use.held, "waiting": use.waiting}


def program_document(program: Program) -> dict[str, Any]:
    """A program with the schema of its parameters, its retry policy and limits."""
    return _columns(program, PROGRAM_COLUMNS) | {
        "queue": queues.queue_of(program.name, program.queue),
        "autoretry_for": [each.__name__ for each in program.autoretry_for],
        "dont_autoretry_for": [each.__name__ for each in program.dont_autoretry_for],
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
