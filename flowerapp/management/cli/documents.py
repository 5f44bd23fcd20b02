"""JSON documents of the CLI; the keys are the columns' names, as in the REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowerapp.core import values
from flowerapp.models import Flow, HistoryEntry, Log, Pool, Task
from flowerapp.selectors import flows, history, pools, tasks
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status


def _columns(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Columns of a row, with the state's word in front of its number."""
    document: dict[str, Any] = {}
    for name in names:
        if name == "exec_status":
            document["status"] = Status(row.exec_status).label
        document[name] = getattr(row, name)
    return document


def flow_documents(listed: Sequence[Flow]) -> list[dict[str, Any]]:
    """Flows, each with the task that failed first if one is failed now."""
    failed = flows.first_failures(listed)
    return [_flow_document(flow, failed.get(flow.pk)) for flow in listed]


def flow_document(flow: Flow) -> dict[str, Any]:
    """A flow by itself."""
    return _flow_document(flow, flow.failed_task)


def _flow_document(flow: Flow, failed: Task | None) -> dict[str, Any]:
    return _columns(flow, flows.COLUMNS) | {
        "failed": _columns(failed, flows.FAILED_COLUMNS) if failed else None,
        "input": values.masked(flow.input),
    }


def task_documents(listed: Sequence[Task]) -> list[dict[str, Any]]:
    """Tasks, each with the queue that it goes to and why it waits; secrets among their parameters are masked."""
    waits = wait_reasons(listed)
    return [_task_document(task, waits.get(task.pk, "")) for task in listed]


def _task_document(task: Task, waits: str) -> dict[str, Any]:
    return _columns(task, tasks.COLUMNS) | {
        "progress": tasks.progress(task),
        "waits": waits,
        "parameters": values.masked(task.parameters),
        "queue": tasks.queue_of(task),
    }


def whole_document(flow: Flow) -> dict[str, Any]:
    """A flow with its tasks, history, logs, and the queues that it waits in and no worker serves."""
    entries = HistoryEntry.objects.filter(task_flow=flow).order_by("id")
    lines = Log.objects.filter(task_flow=flow).order_by("id")
    return flow_document(flow) | {
        "admitted": flow.admitted,
        "state": values.masked(flow.state),
        "output": flows.output_of(flow),
        "tasks": task_documents(list(flow.tasks.order_by("task_exec_seq"))),
        "history": [_columns(entry, history.COLUMNS) for entry in entries],
        "logs": [_columns(line, history.LOG_COLUMNS) for line in lines],
        "unserved_queues": flows.unserved_queues(flow),
    }


def pool_document(pool: Pool) -> dict[str, Any]:
    """A pool as ``pools.with_use`` has it."""
    return _columns(pool, (*pools.COLUMNS, "held", "waiting"))
