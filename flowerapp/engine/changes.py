"""Changes of tasks that are not running: parameters, priority, queue, or all that the definition says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flowerapp.core import masking, overriding
from flowerapp.core.gates import EACH
from flowerapp.core.names import checked_why
from flowerapp.core.overriding import MayOverride, Passing
from flowerapp.core.plan import Node, node_problems
from flowerapp.core.unmasking import equal
from flowerapp.engine import children
from flowerapp.engine.planned_tasks import task_columns
from flowerapp.engine.readiness import LockedFlow
from flowerapp.engine.register import plan_of
from flowerapp.engine.registration import pool_problems
from flowerapp.exceptions import InvalidPlanError, Problem, StateConflictError
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.querysets import NOT_REFUSED
from flowerapp.selectors.status_style import task_style


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """What to change of a task; None leaves it as it is."""

    parameters: Mapping[str, Any] | None = None
    """Laid over those that it has."""
    priority: int | None = None
    queue: str | None = None
    may_override: MayOverride = MayOverride.ANY
    """Which parameters the caller may change of a task that holds masked values."""

    def columns_of(self, task: Task) -> dict[str, Any]:
        """The columns that the task then has."""
        own = _own(task)
        return {
            "parameters": own if self.parameters is None else overriding.laid_over(own, self.parameters),
            "task_priority": task.task_priority if self.priority is None else self.priority,
            "queue": task.queue if self.queue is None else self.queue,
        }

    def refusals(self, task: Task) -> list[Problem]:
        """The changes that the caller may not make."""
        overrides = self.parameters or {}
        return list(overriding.refusals(task.task_exec_seq, _own(task), overrides, self.may_override, _listed(task)))

    def details(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        """For the history: what changes in the parameters, secrets masked, and the rest of the wish."""
        named, shown = self.parameters or {}, masking.masked(after)
        new = [name for name in named if name not in before or not equal(before[name], after[name])]
        parameters = {name: shown.get(name, masking.MASKED) for name in new}
        changed = {"parameters": parameters, "priority": self.priority}
        return {name: value for name, value in (changed | {"queue": self.queue}).items() if value not in (None, {})}


def change(task: Task, wish: TaskChange, actor: str, why: str) -> None:
    """Change a task under the locks of its flow.

    Raises InvalidPlanError, or StateConflictError unless the task is Wait or Suspend.
    """
    facts: dict[str, Any] = {"actor": actor, "reason": checked_why(why), "attempt": task.attempt}
    if refused := wish.refusals(task):
        raise InvalidPlanError(refused, task.task_id)
    columns = wish.columns_of(task)
    _must_fit(task, columns)
    details = wish.details(_own(task), columns["parameters"])
    if task.is_remote or wish.priority is not None or wish.queue is not None:
        columns |= {"sent_ts": None, "deferred": False, **NOT_REFUSED}
    if not Task.objects.change(task.ref, **columns):
        raise StateConflictError(refusal(task, "changed"))
    HistoryEntry.objects.record("change", *task.ref, **facts, details=details)


def refusal(task: Task, done: str) -> str:
    """Why a task cannot be ``done``, such as skipped: in its status no task can."""
    word = task_style(task.exec_status, task.ignored_by).word
    return f"{task.mention} of flow {task.task_flow_id} is {word}; only a Waiting or Failed task can be {done}"


def _own(task: Task) -> dict[str, Any]:
    return task.parameters if isinstance(task.parameters, dict) else {}


def _listed(task: Task) -> list[str]:
    return task.overridable if isinstance(task.overridable, list) else []


def must_not_give_input(locked: LockedFlow, task: Task, may: MayOverride) -> None:
    """Raise InvalidPlanError if an output of the task would become a parameter that the caller may not override.

    The output of a child is part of its parent's.
    """
    seq = task.task_exec_seq if task.parent_seq is None else task.parent_seq
    steps = {at: step for at, step in locked.tasks.items() if step.parent_seq is None}
    receivers = overriding.receivers(seq, {at: _passing(step) for at, step in steps.items()})
    refused = [
        problem
        for step in map(steps.__getitem__, receivers)
        for problem in overriding.input_refusals(step.task_exec_seq, _taker(step), _own(step), may, _listed(step))
    ]
    if refused:
        raise InvalidPlanError(refused, locked.flow.task_id)


def _passing(task: Task) -> Passing:
    may_pass = task.is_gate or bool(task.when) or task.passes_on
    return Passing(task.depends_on, may_pass, task.end_seq if task.when else None)


def _taker(task: Task) -> str:
    return overriding.input_program(task.program, task.child_program)


def change_all(flow: Flow, wishes: Mapping[int, TaskChange], actor: str, why: str) -> None:
    """Change tasks by seq, as the rows are now; raises what ``change`` does, and UnknownTaskError."""
    rows = Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=wishes)
    locked = LockedFlow(flow, {task.task_exec_seq: task for task in rows})
    for seq, wish in wishes.items():
        change(locked.task(seq), wish, actor, why)


def _must_fit(task: Task, columns: Mapping[str, Any]) -> None:
    """Raise InvalidPlanError unless the task can run with these columns."""
    node = Node(
        seq=task.task_exec_seq,
        program=task.program,
        depends_on=tuple(task.depends_on) if task.parent_seq is None else (task.parent_seq,),
        parameters=columns["parameters"],
        priority=columns["task_priority"],
        queue=columns["queue"],
        remote=task.remote,
        child_program=task.child_program if task.program == EACH else "",
    )
    problems = list(node_problems(node))
    if (
        not task.program and not task.is_remote
    ):  # a row of another system gets its program when the watcher adopts it, and is checked then
        problems = [problem for problem in problems if problem.field != "program"]
    if problems:
        raise InvalidPlanError(problems, task.task_id)


def must_all_fit(flow: Flow, seqs: Collection[int]) -> None:
    """Raise InvalidPlanError unless each of these tasks can run as it is now."""
    for task in Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=seqs).defer("output", "traceback"):
        _must_fit(task, TaskChange().columns_of(task))


def refresh(flow: Flow, seqs: Collection[int]) -> None:
    """Take what the definition says now for these tasks; steps that are gone from it stay as they are.

    Rows that are not adopted yet stay as they are too: their adoption takes the definition.

    Raises UnknownWorkflowError, StateConflictError for a flow of a text, which has no definition, and InvalidPlanError
    for a step that cannot be run.
    """
    if flow.source:
        raise StateConflictError(f"flow {flow.pk} is of a text and has no stored workflow; rerun it without refresh")
    tasks = Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=seqs).exclude(program="")
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
            columns["parameters"] = {**_given_at_register(task, node), **columns["parameters"]}
            own = columns if task.parent_seq is None else children.refreshed_columns(task, columns)
            Task.objects.at(task.ref).update(**own, deferred=False)


def _given_at_register(task: Task, node: Node) -> dict[str, Any]:
    """The task's values of the parameters that its step does not give."""
    own = _own(task)
    return {name: own[name] for name in node.required_at_register if name in own}
