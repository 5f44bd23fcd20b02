"""JSON documents of the CLI; the keys are the columns' names, as in the REST API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flowerapp.core.passing import TooLarge
from flowerapp.engine import context
from flowerapp.models import CachedOutput, Event, Flow, Latch, Pool, Task, Worker
from flowerapp.selectors import (
    counts,
    events,
    flows,
    history,
    latches,
    output_cache,
    pools,
    queues,
    task_logs,
    tasks,
    workers,
)
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.in_words import flow_in_words, task_in_words
from flowerapp.selectors.short import complete, left_out
from flowerapp.selectors.shown import shown
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status

MOST_ROWS = 1000
"""Tasks, entries and lines of a flow that its document has."""


def _columns(row: Any, names: tuple[str, ...], in_words: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Columns of a row, with the state's name in front of its number, and behind it what people read."""
    document: dict[str, Any] = {}
    row = shown(row)
    for name in names:
        if name == "exec_status":
            document |= {"status": Status(row.exec_status).label, "exec_status": row.exec_status, **in_words}
        else:
            document[name] = getattr(row, name)
    return document


def flow_documents(listed: Sequence[Flow]) -> list[dict[str, Any]]:
    """Flows, each with the task that failed first if one is failed now."""
    failed, numbers = flows.first_failures(listed), counts.of_flows(listed)
    return [_flow_document(flow, failed.get(flow.pk), numbers[flow.pk]) for flow in listed]


def flow_document(flow: Flow) -> dict[str, Any]:
    """A flow by itself."""
    return _flow_document(flow, flow.failed_task, counts.of_flow(flow))


def _flow_document(flow: Flow, failed: Task | None, numbers: Counts) -> dict[str, Any]:
    return _columns(flow, flows.COLUMNS, flow_in_words(flow, numbers)) | {
        "failed": _columns(failed, flows.FAILED_COLUMNS) if failed else None,
        "input": shown(flow).input,
        **({"left_out": left_out(flow)} if left_out(flow) else {}),
    }


def result_document(flow: Flow) -> dict[str, Any]:
    """The outcome of a verb on one of several flows; of one that was refused, ``error`` says why."""
    return _columns(flow, flows.COLUMNS, flow_in_words(flow, counts.of_flow(flow))) | {"error": ""}


def task_documents(listed: Sequence[Task]) -> list[dict[str, Any]]:
    """Tasks, each with the queue that it goes to and why it waits."""
    waits, children = wait_reasons(listed), tasks.children_of(listed)
    return [_task_document(task, waits.get(task.pk, ""), children.get(task.task_exec_seq)) for task in listed]


def _task_document(task: Task, waits: str, children: Counts | None) -> dict[str, Any]:
    task = shown(task)
    return _columns(task, tasks.COLUMNS, task_in_words(task, children)) | {
        "parked": tasks.is_parked(task),
        "progress": tasks.progress(task, children),
        "waits": waits,
        "parameters": task.parameters,
        "queue": tasks.queue_of(task),
        "left_out": left_out(task),
    }


def whole_document(flow: Flow) -> dict[str, Any]:
    """A flow with its tasks, history, logs, and the queues that it waits in and no worker serves.

    Large values of its tasks are left out, as in the API's lists, and so is what follows the first ``MOST_ROWS`` tasks,
    entries and lines: ``left_out`` has how much that is.
    """
    output = flows.output_of(flow)
    rows = {"tasks": _tasks(flow), "history": _history(flow), "logs": _logs(flow)}
    left_out = {name: count for name, (_, count) in rows.items() if count}
    if isinstance(output, TooLarge):
        left_out["output"] = output.size
    return flow_document(flow) | {
        "admitted": flow.admitted,
        "state": shown(flow).state,
        "source": shown(flow).source,
        "output": None if isinstance(output, TooLarge) else output,
        **{name: documents for name, (documents, _) in rows.items()},
        "unserved_queues": flows.unserved_queues(flow),
        "left_out": left_out,
    }


_Rows = tuple[list[dict[str, Any]], int]
"""Documents, and how many more there are."""


def _tasks(flow: Flow) -> _Rows:
    listed = tasks.short_tasks(flow.pk).order_by("task_exec_seq")
    page = list(listed[:MOST_ROWS])
    complete(flow.pk, page)
    return task_documents(page), _rest(listed, page)


def _history(flow: Flow) -> _Rows:
    listed = history.entries(flow.pk)
    page = list(listed[:MOST_ROWS])
    titles = history.task_titles(page)
    documents = [_columns(entry, history.COLUMNS) | {"task": titles[entry.task_exec_seq]} for entry in page]
    return documents, _rest(listed, page)


def _logs(flow: Flow) -> _Rows:
    listed = task_logs.lines(flow.pk)
    page = list(listed[:MOST_ROWS])
    return [task_logs.document(line) for line in page], _rest(listed, page)


def _rest(listed: Any, page: Sequence[Any]) -> int:
    """How many rows of a list are not on its first page."""
    return 0 if len(page) < MOST_ROWS else int(listed.count()) - len(page)


def pool_document(pool: Pool) -> dict[str, Any]:
    """A pool as ``pools.with_use`` has it."""
    return _columns(pool, (*pools.COLUMNS, "held", "waiting"))


def cache_document(entry: CachedOutput) -> dict[str, Any]:
    """An entry of the output cache."""
    return _columns(entry, output_cache.COLUMNS)


def whole_task_document(task: Task) -> dict[str, Any]:
    """A task as ``tasks.whole_task`` has it, with its input, its children's numbers and its history.

    A value that is too large, or not known yet, is null; ``left_out`` has the bytes of the large ones.
    """
    (document,) = task_documents([task])
    task_input = context.shown_input(task)
    entries = history.latest_entries(MOST_ROWS, task_flow_id=task.task_flow_id, task_exec_seq=task.task_exec_seq)
    children = counts.of_children(task.task_flow_id, [task.task_exec_seq] if task.children else [])
    return document | {
        "item": task.item,
        "input": task_input.value,
        "children_by_status": {
            status.label: number for of in children.values() for status, number in sorted(of.by_status.items())
        },
        "history": [_columns(entry, history.COLUMNS) for entry, _ in reversed(entries)],
        "left_out": document["left_out"] | ({"input": task_input.size} if task_input.size else {}),
    }


def event_document(event: Event) -> dict[str, Any]:
    """An event of a list, without large data."""
    return _columns(event, events.COLUMNS) | {"left_out": left_out(event)}


def latch_document(latch: Latch) -> dict[str, Any]:
    """A latch as ``latches.with_use`` has it."""
    return _columns(latch, latches.COLUMNS)


def worker_document(worker: Worker, *, alive: bool) -> dict[str, Any]:
    """A worker, and whether its heartbeats arrive."""
    return _columns(worker, workers.COLUMNS) | {"alive": alive}


def queue_document(queue: queues.Queue) -> dict[str, Any]:
    """A queue as database and broker see it."""
    return asdict(queue) | {"unserved": queue.unserved}
