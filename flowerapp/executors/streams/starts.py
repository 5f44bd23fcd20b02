"""What the stream says about a task that is ready: its ``start-task``, and the keys that littleflow keeps beside it.

Secrets are masked in all of it: who reads the Redis reads the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flowerapp import conf
from flowerapp.core import stream_events
from flowerapp.core.stream_events import FLOW_INPUT, START_TASK, flow_key, output_key
from flowerapp.engine import context
from flowerapp.models import Flow, Task
from flowerapp.querysets.sizes import bytes_of
from flowerapp.selectors.node_indexes import index_of
from flowerapp.selectors.short import complete
from flowerapp.selectors.shown import rows, shown
from flowerapp.states import SATISFIED

KEPT_SECONDS = 7 * 86_400
"""Seconds for which the keys beside the stream are kept."""
MOST_KEPT = 64 * 1024
"""Bytes of JSON above which an output or an input gets no key."""
MOST_BEFORE = 50
"""Tasks before a task whose outputs get keys."""


class TooLargeError(Exception):
    """The event is too large for the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is written for a task that is ready."""

    entry: dict[str, str]
    """Fields of the ``start-task``."""
    forget: str
    """The key of its output, which an earlier attempt may have written."""
    keys: dict[str, str] = field(default_factory=dict)
    """Keys and their JSON."""

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return sum(len(text) for texts in (self.entry, self.keys) for text in texts.values())


def start_of(task: Task) -> Start:
    """The ``start-task`` of a remote task that is ready, and what is kept beside it.

    Raises TooLargeError, and InvalidValueError for an input that cannot be put together.
    """
    readable, workflow, index = shown(task), flow_key(task.task_flow_id), index_of(task)
    task_input = context.shown_input(readable)
    values = {"parameters": readable.parameters, "input": task_input.value}
    data = {
        "workflow": workflow,
        "name": task.alias or task.remote,
        "base": task.remote,
        "index": index,
        "attempt": task.attempt + 1,
        **{name: value for name, value in values.items() if value != {} and value is not None},
    }
    entry = stream_events.entry(START_TASK, data)
    size, most = task_input.size or sum(map(len, entry.values())), conf.get().MAX_JSON_BYTES
    if size > most:
        raise TooLargeError(f"{task.mention} of flow {task.task_flow_id}: {size:,} bytes; the limit is {most:,}")
    keys = {output_key(workflow, at): text for at, text in _kept(task)}
    return Start(entry=entry, forget=output_key(workflow, index), keys=keys)


def _kept(task: Task) -> Iterator[tuple[int, str]]:
    """Nodes and JSON of the outputs that littleflow's listeners may look up: the flow's input, and of those before."""
    flow: Flow = task.task_flow
    yield from _small(FLOW_INPUT, shown(flow).input)
    for before in _before(task):
        yield from _small(index_of(before), before.output)


def _small(index: int, value: Any) -> Iterator[tuple[int, str]]:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= MOST_KEPT:
        yield index, text


def _before(task: Task) -> list[Task]:
    """The tasks before a step whose outputs are small, as people may see them."""
    if task.parent_seq is not None or not task.depends_on:
        return []
    size = bytes_of("output", MOST_KEPT) + bytes_of("parameters", MOST_KEPT)
    columns = ("task_exec_seq", "task_seq", "parent_seq", "program", "ignored_by", "output", "parameters", "item")
    of_flow = Task.objects.filter(task_flow_id=task.task_flow_id, parent_seq=None, exec_status__in=sorted(SATISFIED))
    steps = of_flow.filter(task_exec_seq__in=task.depends_on[:MOST_BEFORE]).annotate(size=size)
    small = steps.exclude(size__gt=MOST_KEPT).select_related("task_flow")
    page = list(rows(small.only(*columns, "task_flow__source", "task_flow__input", "task_flow__state")))
    complete(task.task_flow_id, page, MOST_KEPT)
    return page
