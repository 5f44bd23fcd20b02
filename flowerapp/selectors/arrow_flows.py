"""Flows as littleflow's routes show them: a state in its words, and vectors over the nodes of the graph.

Node 0 is where a flow starts. Of a flow that was compiled from a text the others are its steps by ``task_seq``; of any
other they are its steps in order of ``task_exec_seq``, and one more where it ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from django.db.models import F, Q, Sum

from flowerapp.core.passing import TooLarge
from flowerapp.exceptions import InvalidValueError
from flowerapp.models import Flow, Task
from flowerapp.querysets import clock
from flowerapp.querysets.sizes import bytes_of
from flowerapp.selectors.flows import output_of
from flowerapp.selectors.short import complete, left_out
from flowerapp.selectors.shown import rows
from flowerapp.states import OPEN, SATISFIED, IgnoredBy, Status

MOST_NODES = 2_000
"""Most nodes of a flow that is shown so: a matrix grows with the square of their number."""
STOP_SECONDS = 2
"""How long after the end of its flow a worker may still be stopping the process of a cancelled task."""
FLOW_START = 0


class State(StrEnum):
    """The state of a flow, as littleflow names it."""

    RUNNING = "RUNNING"
    """Wait or Running, or held by a person."""
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    """Suspend, because a task failed."""
    TERMINATING = "TERMINATING"
    """Cancelled, and a worker may still be stopping a process of it."""
    TERMINATED = "TERMINATED"
    """Cancelled."""


# Lists


def newest(first: int, size: int) -> list[tuple[str, State]]:
    """Id and state of flows, the newest first, from the row ``first`` on."""
    flows = list(Flow.objects.only("task_flow_id", "exec_status", "failed_seq")[first : first + size])
    return list(states(flows).items())


def in_progress(first: int, size: int) -> list[str]:
    """Ids of the flows that are RUNNING, the newest first."""
    failed = Q(exec_status=Status.SUSPEND, failed_seq__isnull=False)
    flows = Flow.objects.filter(exec_status__in=sorted(OPEN)).exclude(failed)
    return list(flows.values_list("task_flow_id", flat=True)[first : first + size])


def states(flows: Iterable[Flow]) -> dict[str, State]:
    """The state of each of these flows, by id; one statement where some are cancelled."""
    listed = list(flows)
    stopping = _stopping([flow.pk for flow in listed if flow.status is Status.IGNORE])
    return {flow.pk: _state(flow, stopping) for flow in listed}


def state_of(flow: Flow) -> State:
    """The state of one."""
    return states([flow])[flow.pk]


def _state(flow: Flow, stopping: Collection[str]) -> State:
    if flow.status is Status.IGNORE:
        return State.TERMINATING if flow.pk in stopping else State.TERMINATED
    if flow.status is Status.FINISH:
        return State.FINISHED
    failed = flow.status is Status.SUSPEND and flow.failed_seq is not None
    return State.FAILED if failed else State.RUNNING


def _stopping(flow_ids: Collection[str]) -> set[str]:
    """Those of these cancelled flows that have a task whose process may still be there."""
    if not flow_ids:
        return set()
    tasks = Task.objects.filter(task_flow_id__in=flow_ids, ignored_by=IgnoredBy.CANCEL, started_ts__isnull=False)
    late = tasks.filter(pid__isnull=False, suspended_ts=None, finished_ts__gt=clock.ago(STOP_SECONDS))
    return set(late.order_by().values_list("task_flow_id", flat=True))


# Nodes


@dataclass(frozen=True, slots=True)
class Node:
    """A step as a node of the graph, with when it was active."""

    index: int
    before: tuple[int, ...]
    """Indexes of the nodes that lead to it."""
    task: Task | None = None
    """None of a flow's start, and of the end of a flow without a text."""
    began: datetime | None = None
    """When it became active; None of one that never was, such as a gate."""
    ended: datetime | None = None
    """When its followers were released."""

    @property
    def failed(self) -> bool:
        """Whether it is Suspend."""
        return self.task is not None and self.task.failed


_COLUMNS = (
    "task_flow_id",
    "task_exec_seq",
    "task_seq",
    "task_id",
    "name",
    "alias",
    "remote",
    "program",
    "exec_status",
    "ignored_by",
    "depends_on",
    "parent_seq",
    "pending",
    "parked",
    "started_ts",
    "finished_ts",
)


def nodes_of(flow: Flow, *more: str) -> list[Node]:
    """The nodes of a flow, by index; ``more`` are further columns of its tasks to read.

    Raises InvalidValueError for a flow with more than ``MOST_NODES``.
    """
    steps = rows(flow.tasks.filter(parent_seq=None).order_by("task_exec_seq").only(*_COLUMNS, *more))
    tasks = list(steps[: MOST_NODES + 1])
    if len(tasks) >= MOST_NODES:
        raise InvalidValueError(
            f"flow {flow.pk} has more than {MOST_NODES - 2:,} steps, too many for a matrix; read its tasks instead"
        )
    indexes = _indexes(flow, tasks)
    ends = {task.task_exec_seq: task.finished_ts for task in tasks}
    made = {indexes[task.task_exec_seq]: _node(flow, task, indexes, ends) for task in tasks}
    made.setdefault(FLOW_START, Node(FLOW_START, (), ended=flow.registered_ts))
    if not flow.source:
        made[len(tasks) + 1] = _end(flow, tasks, indexes)
    return [made.get(index) or Node(index, ()) for index in range(max(made) + 1)]


_Ends = Mapping[int, datetime | None]
"""When each task ended, by ``task_exec_seq``."""


def _indexes(flow: Flow, tasks: Iterable[Task]) -> dict[int, int]:
    """``{task_exec_seq: index}``."""
    if flow.source:
        return {task.task_exec_seq: task.task_seq for task in tasks}
    return {task.task_exec_seq: index for index, task in enumerate(tasks, start=1)}


def _node(flow: Flow, task: Task, indexes: Mapping[int, int], ends: _Ends) -> Node:
    index = indexes[task.task_exec_seq]
    if index == FLOW_START:
        return Node(index, (), task, ended=task.finished_ts)
    before = tuple(sorted(indexes[seq] for seq in task.depends_on if seq in indexes)) or (FLOW_START,)
    return Node(index, before, task, _began(flow, task, ends), task.finished_ts)


def _began(flow: Flow, task: Task, ends: _Ends) -> datetime | None:
    """When a worker started it; of a remote task, when it became ready."""
    if not task.is_remote or task.started_ts or task.ignored_by:
        return task.started_ts
    if not (task.awaits_answer or task.failed or task.status is Status.FINISH):
        return None
    return max((ts for seq in task.depends_on if (ts := ends.get(seq))), default=flow.registered_ts)


def _end(flow: Flow, tasks: Collection[Task], indexes: Mapping[int, int]) -> Node:
    """The end of a flow without a text."""
    followed = {seq for task in tasks for seq in task.depends_on}
    last = tuple(sorted(indexes[task.task_exec_seq] for task in tasks if task.task_exec_seq not in followed))
    return Node(len(tasks) + 1, last or (FLOW_START,), ended=flow.finished_ts)


# Vectors


class Change(NamedTuple):
    """A vector of changes at a time."""

    ts: datetime
    deltas: list[int]


ACTIVE_VECTOR, ACCUMULATED_VECTOR = "S", "A"


def changes(nodes: list[Node], vector: str) -> Iterator[Change]:
    """The changes of ``S`` or ``A``, the newest first; their sum is the present vector."""
    by_time = _active(nodes) if vector == ACTIVE_VECTOR else _accumulated(nodes)
    for ts in sorted(by_time, reverse=True):
        deltas = [by_time[ts].get(index, 0) for index in range(len(nodes))]
        if any(deltas):
            yield Change(ts, deltas)


def present(nodes: list[Node], vector: str) -> list[int]:
    """The vector ``S`` or ``A`` as it is now."""
    total = [0] * len(nodes)
    for deltas in (_active(nodes) if vector == ACTIVE_VECTOR else _accumulated(nodes)).values():
        for index, delta in deltas.items():
            total[index] += delta
    return total


_ByTime = dict[datetime, dict[int, int]]


def _by_time() -> _ByTime:
    return defaultdict(lambda: defaultdict(int))


def _active(nodes: Iterable[Node]) -> _ByTime:
    """1 where a node became active, −1 where it ended; a failed one stays active, as a restart begins with it."""
    by_time = _by_time()
    for node in nodes:
        if node.began is not None:
            by_time[node.began][node.index] += 1
            if node.ended is not None:
                by_time[max(node.began, node.ended)][node.index] -= 1
    return by_time


def _accumulated(nodes: list[Node]) -> _ByTime:
    """1 for each node before it that ended, and as many less where it became active, or ended without."""
    by_time = _by_time()
    ends = {node.index: node.ended for node in nodes}
    for node in nodes:
        arrivals = [ts for before in node.before if (ts := ends[before]) is not None]
        for ts in arrivals:
            by_time[ts][node.index] += 1
        taken = node.began or node.ended
        if taken is not None and arrivals:
            by_time[max(taken, *arrivals)][node.index] -= len(arrivals)
    return by_time


def failures(nodes: Iterable[Node]) -> list[int]:
    """1 for each node that failed."""
    return [int(node.failed) for node in nodes]


# Outputs


def outputs_of(flow: Flow, nodes: list[Node], room: int) -> list[Any]:
    """The output of each node, masked; None of one without, and of the largest where all are over ``room`` bytes."""
    chosen = _fitting(flow, room)
    columns = ("task_flow_id", "task_exec_seq", "parent_seq", "program", "exec_status", "ignored_by", "output")
    tasks = flow.tasks.filter(task_exec_seq__in=chosen, exec_status__in=sorted(SATISFIED))
    page = list(rows(tasks.order_by("task_exec_seq").only(*columns, "parameters", "item")))
    complete(flow.pk, page, room)
    outputs = {task.task_exec_seq: None if "output" in left_out(task) else task.output for task in page}
    result = [node.task and outputs.get(node.task.task_exec_seq) for node in nodes]
    if not flow.source:
        output = output_of(flow)
        result[-1] = None if isinstance(output, TooLarge) else output
    return result


def size_of_parameters(flow: Flow) -> int:
    """Bytes of JSON of the parameters of its steps."""
    steps = flow.tasks.filter(parent_seq=None).order_by()
    return steps.aggregate(size=Sum(bytes_of("parameters", MOST_NODES)))["size"] or 0


def _fitting(flow: Flow, room: int) -> list[int]:
    """Seqs of the steps whose values are read: the small ones first, as long as there is room."""
    size = bytes_of("output", room) + bytes_of("parameters", room)
    steps = flow.tasks.filter(parent_seq=None).annotate(size=size)
    chosen = []
    for seq, number in steps.order_by(F("size").asc(nulls_first=True), "task_exec_seq").values_list(
        "task_exec_seq", "size"
    ):
        room -= number or 0
        if room < 0:
            break
        chosen.append(seq)
    return chosen
