"""What the statuses of a flow's tasks lead to: how many each waits for, which wait for it, what travels together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowerapp import conf
from flowerapp.core import graph, values
from flowerapp.core.messages import carried_json
from flowerapp.engine import children
from flowerapp.exceptions import UnknownFlowError, UnknownTaskError
from flowerapp.models import Flow, Task
from flowerapp.querysets.db import connection
from flowerapp.states import OPEN, Status


@dataclass(frozen=True)
class LockedFlow:
    """A flow and all its tasks, under locks until the end of the transaction."""

    flow: Flow
    tasks: dict[int, Task]
    """By ``task_exec_seq``."""

    def task(self, seq: int) -> Task:
        """One of the tasks; raises UnknownTaskError."""
        if seq not in self.tasks:
            raise UnknownTaskError(f"flow {self.flow.pk} has no task {seq}")
        return self.tasks[seq]

    @property
    def edges(self) -> dict[int, list[int]]:
        """``{seq: seqs it waits for}``."""
        return edges_of(self.tasks)


def lock(flow_id: str) -> LockedFlow:
    """Lock all rows of a flow in the one order, tasks then flow. In a transaction; raises UnknownFlowError.

    If children were added while this waited for the locks, it frees them all and locks again. With the flow locked, no
    process adds any.
    """
    while values.storable(flow_id):
        before = connection().savepoint()
        tasks = Task.objects.for_update(flow_id)
        flow = Flow.objects.for_update(flow_id)
        if flow is None:
            break
        if Task.objects.filter(task_flow_id=flow_id).count() == len(tasks):
            connection().savepoint_commit(before)
            return LockedFlow(flow, by_seq(tasks))
        connection().savepoint_rollback(before)
    raise UnknownFlowError(f"there is no flow {flow_id!r}")


def by_seq(tasks: Iterable[Task]) -> dict[int, Task]:
    """Tasks of one flow by their ``task_exec_seq``."""
    return {task.task_exec_seq: task for task in tasks}


def edges_of(tasks: Mapping[int, Task]) -> dict[int, list[int]]:
    """``{seq: seqs it waits for}``: the steps before it, as far as there are such tasks, and its children."""
    edges = {seq: [before for before in task.depends_on if before in tasks] for seq, task in tasks.items()}
    for seq, task in tasks.items():
        if task.parent_seq is not None:
            edges[task.parent_seq].append(seq)
    return edges


def recompute(tasks: Mapping[int, Task]) -> int:
    """Set what follows from the statuses of all tasks of a flow: pending, dependents and canvas of the open ones.

    Returns the number of open sinks.
    """
    edges = edges_of(tasks)
    unfinished = {seq: task for seq, task in tasks.items() if task.exec_status in OPEN}
    waits = graph.waits(edges, unfinished)
    for seq, task in unfinished.items():
        task.pending = waits.pending[seq]
        task.dependents = waits.dependents[seq]
        task.canvas = None
    _hold_children_back(unfinished.values(), tasks)
    _set_canvas({seq: task for seq, task in unfinished.items() if task.parent_seq is None}, edges)
    return waits.sinks


def _hold_children_back(unfinished: Iterable[Task], tasks: Mapping[int, Task]) -> None:
    """Of the open children of a task only so many may run; those that do, or were about to, come first."""
    siblings: dict[int, list[Task]] = {}
    for task in unfinished:
        if task.parent_seq is not None and not task.failed:
            siblings.setdefault(task.parent_seq, []).append(task)
    for parent_seq, family in siblings.items():
        room = children.concurrency_of(tasks[parent_seq])
        family.sort(key=lambda task: (task.status is not Status.RUNNING, task.sent_ts is None, task.child_index))
        for task in family[room:]:
            task.pending = 1


def _set_canvas(steps: Mapping[int, Task], edges: graph.Edges) -> None:
    """Set which tasks share a message.

    A step travels alone if it has children, as it ends later than its message, if it has a pool, as it has no slot yet,
    or if no worker runs it.
    """
    inner = {seq: [before for before in edges[seq] if before in steps] for seq in steps}
    alone = {seq for seq, task in steps.items() if _travels_alone(task)}
    for seq, run in graph.runs(inner, conf.get().CHAIN_LENGTH, alone).items():
        join = steps[run.join].call if run.join is not None else None
        steps[seq].canvas = carried_json([steps[then].call for then in run.then], join)


_COLUMNS = ("pending", "dependents", "canvas")


def _travels_alone(task: Task) -> bool:
    return bool(task.pool or task.child_program or task.is_gate or not task.program)


def store(flow: Flow) -> dict[int, Task]:
    """After statuses have changed: store what follows from them, and return the tasks as they are then.

    The caller holds the locks of ``lock``; the rows are read anew under them.
    """
    tasks = by_seq(Task.objects.for_update(flow.pk))
    before = {seq: _columns(task) for seq, task in tasks.items()}
    open_sinks = recompute(tasks)
    changed = [task for seq, task in tasks.items() if before[seq] != _columns(task)]
    Task.objects.bulk_update(changed, _COLUMNS, batch_size=500)
    Task.objects.filter(task_flow_id=flow.pk).forget_sent()
    Flow.objects.save_readiness(flow.pk, open_sinks, _first_failure(tasks.values()))
    return tasks


def _columns(task: Task) -> Sequence[object]:
    return [getattr(task, name) for name in _COLUMNS]


def _first_failure(tasks: Iterable[Task]) -> int | None:
    """Seq of the step, or else the child, that failed first."""
    failures = [(task.parent_seq is None, str(task.suspended_ts), task.task_exec_seq) for task in tasks if task.failed]
    return min(failures)[2] if failures else None
