"""Rows that others put straight into ``kr_task_stat``."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction

from flowerapp.core import graph
from flowerapp.core.plan import Node, node_problems
from flowerapp.engine import readiness
from flowerapp.engine.register import task_columns
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition, Workflow
from flowerapp.querysets.db import database_now, each_isolated
from flowerapp.states import SATISFIED, Status

PAGE = 100
"""New flows, and flows that could not be adopted before, that one call looks at."""


def adopt() -> int:
    """Adopt rows that others put straight into ``kr_task_stat``; the number of rows adopted."""
    flow_ids = Task.objects.inserted().order_by("task_flow_id").values_list("task_flow_id", flat=True).distinct()
    stuck = list(flow_ids.exclude(error=""))
    again = random.sample(stuck, min(PAGE, len(stuck)))
    return each_isolated(dict.fromkeys([*flow_ids.filter(error="")[:PAGE], *again]), _adopt)


@transaction.atomic
def _adopt(flow_id: str) -> int:
    tasks = Task.objects.for_update(flow_id)
    inserted = [task for task in tasks if not task.program]
    if not inserted:
        return 0
    flow = _header(flow_id, inserted[0].task_id)
    if Task.objects.filter(task_flow_id=flow_id).count() != len(tasks):  # more came while we waited for the locks
        transaction.set_rollback(True)
        return 0
    errors = _errors(tasks, inserted)
    changed = [_adopt_one(task, node, error) for task, node, error in errors]
    adopted = sum(not error for _, _, error in errors)
    if adopted:
        HistoryEntry.objects.record("adopt", flow_id, actor="watcher", details={"tasks": adopted})
    if any(changed):
        readiness.save(flow)
    return adopted


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
    flow, _ = Flow.objects.get_or_create(task_flow_id=flow_id, defaults=defaults)
    Flow.objects.for_update(flow_id)
    return flow


def _errors(tasks: Iterable[Task], inserted: Iterable[Task]) -> list[tuple[Task, Node | None, str]]:
    """The inserted rows of a flow, each with its node and why it cannot run yet."""
    edges = {task.task_exec_seq: task.depends_on or _depends_on(task) for task in tasks}
    reachable = set(edges) - graph.unreachable(edges)
    nodes = {task_id: _nodes(task_id) for task_id in {task.task_id for task in inserted}}
    pairs = [(task, nodes[task.task_id].get(task.task_seq)) for task in inserted]
    return [(task, node, _error(task, node, reachable)) for task, node in pairs]


def _nodes(task_id: str) -> Mapping[int, Node]:
    try:
        plan = TaskDefinition.objects.plan(task_id)
    except InvalidPlanError:
        return {}
    return {node.seq: node for node in plan.nodes} if plan else {}


def _depends_on(task: Task) -> list[int]:
    """The original's one dependency; −1, and in old rows 0, stands for none."""
    return [task.depends_task_exec_seq] if task.depends_task_exec_seq > 0 else []


def _error(task: Task, node: Node | None, reachable: set[int]) -> str:
    """Why an inserted row cannot run yet; empty if it can."""
    if node is None:
        return f"ms_task_definition has no usable row {task.task_id!r}, {task.task_seq}; add or fix it"
    if not {task.task_exec_seq, *_depends_on(task)} <= reachable:
        depends = f"depends_task_exec_seq is {task.depends_task_exec_seq}"
        return f"{depends}, which flow {task.task_flow_id} does not have, or which waits for this task; fix the row"
    node = replace(node, parameters=task.parameters or {}, priority=task.task_priority)
    return "; ".join(map(str, node_problems(node)))


def _adopt_one(task: Task, node: Node | None, error: str) -> bool:
    """Give an inserted row its program and dependency; with an ``error`` it is suspended. Whether the row changed."""
    if error and error == task.error and task.status is not Status.WAIT:
        return False
    columns: dict[str, Any] = {"depends_on": [] if error else _depends_on(task)}
    if task.registered_ts is None:
        columns["registered_ts"] = database_now()
    if not error and node is not None:
        own = {"parameters": task.parameters or {}, "task_priority": task.task_priority}
        columns |= task_columns(node, 0) | own
    if task.status in SATISFIED:
        return bool(Task.objects.adopt_ended(task.pk, columns, error))
    if error:
        return bool(Task.objects.refuse_adoption(task.pk, columns, error))
    return bool(Task.objects.adopt(task.pk, columns))
