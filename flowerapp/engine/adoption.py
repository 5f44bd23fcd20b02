"""Rows that others put straight into ``kr_task_stat``."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flowerapp.core import graph
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node, missing_problems, node_problems
from flowerapp.engine import hooks, propagation
from flowerapp.engine.planned_tasks import task_columns
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition, Workflow
from flowerapp.querysets import TaskQuerySet, clock
from flowerapp.querysets.db import atomic, connection, each_isolated
from flowerapp.states import OPEN, SATISFIED, Status

PAGE = 100
"""New flows, and flows that could not be adopted before, that one call looks at."""


def adopt() -> int:
    """Adopt rows that others put straight into ``kr_task_stat``; the number of rows adopted.

    A row that another system runs, or has suspended, stays that system's until its UPDATE ends it.
    """
    refused = list(_flows_of(Task.objects.not_adoptable()))
    again = random.sample(refused, min(PAGE, len(refused)))
    return each_isolated(dict.fromkeys([*_flows_of(Task.objects.unobserved())[:PAGE], *again]), _adopt)


def _flows_of(tasks: TaskQuerySet) -> Any:
    return tasks.order_by("task_flow_id").values_list("task_flow_id", flat=True).distinct()


@atomic()
def _adopt(flow_id: str) -> int:
    tasks = Task.objects.for_update(flow_id)
    inserted = [task for task in tasks if not task.program and not task.remote]
    if not inserted:
        return 0
    flow = _header(flow_id, inserted[0].task_id)
    if Task.objects.filter(task_flow_id=flow_id).count() != len(tasks):  # more came while we waited for the locks
        connection().set_rollback(True)
        return 0
    looks = _look_at(tasks, inserted)
    changed = [_adopt_one(look) for look in looks]
    adopted = sum(look.adoptable for look in looks)
    if adopted:
        HistoryEntry.objects.record("adopt", flow_id, actor="watcher", details={"tasks": adopted})
    if any(changed):
        _save(flow, tasks)
    return adopted


def _save(flow: Flow, tasks: Iterable[Task]) -> None:
    """Continue the flow as its tasks are now; one that has ended stays so unless some of them are open."""
    running = any(task.status is Status.RUNNING for task in tasks if not task.program)
    if running and Flow.objects.begin_elsewhere(flow.pk) and hooks.record(flow.task_id, _whole(flow), ["start_flow"]):
        hooks.deliver_on_commit(flow.pk)
    if not flow.ended or Task.objects.filter(task_flow_id=flow.pk, exec_status__in=OPEN).exists():
        propagation.save(flow)


def _whole(flow: Flow) -> TaskRef:
    return TaskRef(flow.pk, 0)


def _header(flow_id: str, task_id: str) -> Flow:
    """The flow of inserted rows, made where there is none, and locked."""
    limited = Workflow.objects.limit(task_id) is not None
    defaults = {
        "task_id": task_id,
        "task_priority": 0,
        "registered_by": "",
        "exec_status": Status.WAIT,
        "limited": limited,
        "admitted": not limited,
    }
    made, _ = Flow.objects.get_or_create(task_flow_id=flow_id, defaults=defaults)
    return Flow.objects.for_update(flow_id) or made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """An inserted row, and what can be done with it."""

    task: Task
    node: Node | None
    """Its step; None if there is no usable one."""
    depends_on: list[int]
    """The seq that it waits for, if the flow has that and it does not wait for this row."""
    error: str
    """Why it cannot run as it is; empty if it can."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether another system runs it, or has suspended it; not one that was refused here."""
        is_refused = self.task.status is Status.SUSPEND and self.task.observed_status == Status.WAIT
        return self.task.status in {Status.RUNNING, Status.SUSPEND} and not is_refused

    @property
    def is_known(self) -> bool:
        """Whether it was looked at in this status before; one in Wait is adopted or refused each time."""
        return self.task.status is not Status.WAIT and self.task.observed_status == self.task.exec_status

    @property
    def adoptable(self) -> bool:
        """Whether it gets its program now; one that was skipped or cancelled here does not need any."""
        return not (self.error or self.is_elsewhere or self.task.ignored_by)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that it gets."""
        task = self.task
        is_refused = bool(self.error) and not self.is_elsewhere and task.status not in SATISFIED
        columns: dict[str, Any] = {"depends_on": [] if is_refused else self.depends_on}
        if task.registered_ts is None:
            columns["registered_ts"] = clock.now()
        if self.adoptable and self.node is not None:
            own = {"parameters": task.parameters or {}, "task_priority": task.task_priority}
            columns |= task_columns(self.node, 0) | own
        return columns


def _look_at(tasks: Iterable[Task], inserted: Iterable[Task]) -> list[_Look]:
    """The inserted rows of a flow, each with its step and why it cannot run yet."""
    edges = {task.task_exec_seq: task.depends_on or _depends_on(task) for task in tasks}
    reachable = set(edges) - graph.unreachable(edges)
    nodes = {task_id: _nodes(task_id) for task_id in {task.task_id for task in inserted}}
    return [_look(task, nodes[task.task_id].get(task.task_seq), reachable) for task in inserted]


def _look(task: Task, node: Node | None, reachable: set[int]) -> _Look:
    is_reachable = {task.task_exec_seq, *_depends_on(task)} <= reachable
    depends_on = _depends_on(task) if is_reachable else []
    return _Look(task=task, node=node, depends_on=depends_on, error=_error(task, node, is_reachable=is_reachable))


def _nodes(task_id: str) -> Mapping[int, Node]:
    try:
        plan = TaskDefinition.objects.plan(task_id)
    except InvalidPlanError:
        return {}
    return {node.seq: node for node in plan.nodes} if plan else {}


def _depends_on(task: Task) -> list[int]:
    """The original's one dependency; −1, and in old rows 0, stands for none."""
    return [task.depends_task_exec_seq] if task.depends_task_exec_seq > 0 else []


def _error(task: Task, node: Node | None, *, is_reachable: bool) -> str:
    """Why an inserted row cannot run yet; empty if it can."""
    if node is None:
        return f"ms_task_definition has no usable row {task.task_id!r}, {task.task_seq}; add or fix it"
    if not is_reachable:
        depends = f"depends_task_exec_seq is {task.depends_task_exec_seq}"
        return f"{depends}, which flow {task.task_flow_id} does not have, or which waits for this task; fix the row"
    own: Any = task.parameters or {}
    node = replace(node, parameters=own, priority=task.task_priority, required_at_register=node.still_requires(own))
    return "; ".join(map(str, [*node_problems(node), *missing_problems(node)]))


def _adopt_one(look: _Look) -> bool:
    """Adopt an inserted row, refuse it, or note that it is another system's. Whether the row changed."""
    task = look.task
    if look.is_known and not look.adoptable:
        return False
    if look.is_elsewhere:
        return bool(Task.objects.observe(task.pk, look.columns))
    if task.status in SATISFIED:
        return bool(Task.objects.adopt_ended(task.pk, look.columns))
    if look.adoptable:
        return bool(Task.objects.adopt(task.pk, look.columns))
    if look.error == task.error and task.status is Status.SUSPEND:
        return False
    return bool(Task.objects.refuse_adoption(task.pk, look.columns, look.error))
