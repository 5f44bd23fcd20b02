"""Changes of tasks that are not running: parameters, priority, queue, or all that the definition says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flowerapp.core import values
from flowerapp.core.plan import Node, node_problems
from flowerapp.engine import children
from flowerapp.engine.readiness import LockedFlow
from flowerapp.engine.register import plan_of, pool_problems, task_columns
from flowerapp.exceptions import InvalidPlanError, StateConflictError
from flowerapp.models import Flow, HistoryEntry, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """What to change of a task; None leaves it as it is."""

    parameters: Mapping[str, Any] | None = None
    """Laid over those that it has."""
    priority: int | None = None
    queue: str | None = None

    def columns_of(self, task: Task) -> dict[str, Any]:
        """The columns that the task then has."""
        own = task.parameters if isinstance(task.parameters, dict) else {}
        return {
            "parameters": own if self.parameters is None else {**own, **self.parameters},
            "task_priority": task.task_priority if self.priority is None else self.priority,
            "queue": task.queue if self.queue is None else self.queue,
        }

    @property
    def details(self) -> dict[str, Any]:
        """For the history, secrets masked."""
        changed = {"parameters": values.masked(dict(self.parameters or {})), "priority": self.priority}
        return {name: value for name, value in (changed | {"queue": self.queue}).items() if value not in (None, {})}


def change(task: Task, wish: TaskChange, actor: str, why: str) -> None:
    """Change a task under the locks of its flow.

    Raises InvalidPlanError, or StateConflictError unless the task is Wait or Suspend.
    """
    columns = wish.columns_of(task)
    _must_fit(task, columns)
    if wish.priority is not None or wish.queue is not None:
        columns |= {"sent_ts": None, "deferred": False}
    if not Task.objects.change(task.ref, **columns):
        place = f"task {task.task_exec_seq} of flow {task.task_flow_id}"
        raise StateConflictError(f"{place} is {task.status.label}; change takes Wait or Suspend")
    HistoryEntry.objects.record(
        "change", *task.ref, attempt=task.attempt, actor=actor, reason=why, details=wish.details
    )


def change_all(flow: Flow, parameters: Mapping[int, Mapping[str, Any]], actor: str, why: str) -> None:
    """Change the parameters of tasks by seq, as the rows are now; raises what ``change`` does, and UnknownTaskError."""
    rows = Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=parameters)
    locked = LockedFlow(flow, {task.task_exec_seq: task for task in rows})
    for seq, changed in parameters.items():
        change(locked.task(seq), TaskChange(parameters=changed), actor, why)


def _must_fit(task: Task, columns: Mapping[str, Any]) -> None:
    """Raise InvalidPlanError unless the task can run with these columns."""
    node = Node(
        seq=task.task_exec_seq,
        program=task.program,
        parameters=columns["parameters"],
        priority=columns["task_priority"],
        queue=columns["queue"],
    )
    if problems := list(node_problems(node)):
        raise InvalidPlanError(problems, task.task_id)


def must_all_fit(flow: Flow, seqs: Collection[int]) -> None:
    """Raise InvalidPlanError unless each of these tasks can run as it is now."""
    for task in Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=seqs).defer("output", "traceback"):
        _must_fit(task, TaskChange().columns_of(task))


def refresh(flow: Flow, seqs: Collection[int]) -> None:
    """Take the definition's present state for these tasks; steps that are gone from it stay as they are.

    Raises UnknownWorkflowError, and InvalidPlanError for a step that cannot be run.
    """
    tasks = Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=seqs)
    plan = plan_of(flow.task_id)
    task_seqs = set(tasks.values_list("task_seq", flat=True))
    nodes = {node.seq: node for node in plan.nodes if node.seq in task_seqs}
    problems = [problem for seq in sorted(nodes) for problem in node_problems(nodes[seq])]
    problems += [problem for problem in pool_problems(plan) if problem.seq in task_seqs]
    if problems:
        raise InvalidPlanError(problems, flow.task_id)
    for task in tasks:
        if node := nodes.get(task.task_seq):
            columns = task_columns(node, flow.task_priority)
            own = columns if task.parent_seq is None else children.child_columns(columns)
            Task.objects.at(task.ref).update(**own, deferred=False)
