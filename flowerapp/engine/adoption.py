"""Rows that others put straight into ``kr_task_stat``."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from django.db import transaction

from flowerapp import graph
from flowerapp.engine.clock import database_now
from flowerapp.engine.links import by_seq, store_links
from flowerapp.engine.registering import options_of
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Event, Flow, Task, TaskDefinition, Workflow
from flowerapp.plan import Node, node_problems
from flowerapp.querysets.steady import one_by_one
from flowerapp.states import SATISFIED, Status

PAGE = 100
"""New flows, and flows that could not be adopted before, that one call looks at."""


def adopt() -> int:
    """Take over rows that others put straight into ``kr_task_stat``; the number of rows adopted."""
    flow_ids = Task.objects.inserted().order_by("task_flow_id").values_list("task_flow_id", flat=True).distinct()
    stuck = list(flow_ids.exclude(error=""))
    some = random.sample(stuck, min(PAGE, len(stuck)))
    return one_by_one(dict.fromkeys([*flow_ids.filter(error="")[:PAGE], *some]), _adopt)


@transaction.atomic
def _adopt(flow_id: str) -> int:
    tasks = Task.objects.for_update(flow_id)
    new = [task for task in tasks if not task.program]
    if not new:
        return 0
    flow, _ = Flow.objects.get_or_create(
        task_flow_id=flow_id,
        defaults={
            "task_id": new[0].task_id,
            "task_priority": 0,
            "registered_by": "",
            "exec_status": Status.WAIT,
            **_limits(new[0].task_id),
        },
    )
    Flow.objects.for_update(flow_id)
    if Task.objects.filter(task_flow_id=flow_id).count() != len(tasks):  # some came while we waited for the locks
        transaction.set_rollback(True)
        return 0
    stuck = graph.unreachable({task.task_exec_seq: task.depends_on or _waits_for(task) for task in tasks})
    known = set(by_seq(tasks)) - stuck
    plans = {task_id: _nodes(task_id) for task_id in {task.task_id for task in new}}
    adopted, changed = 0, False
    for task in new:
        error = _error(task, plans[task.task_id].get(task.task_seq), known)
        changed |= _take_over(task, plans[task.task_id].get(task.task_seq), error)
        adopted += not error
    if adopted:
        Event.objects.record("adopt", flow_id, actor="watcher", details={"tasks": adopted})
    if changed:
        store_links(flow, tasks)
    return adopted


def _limits(task_id: str) -> dict[str, bool]:
    limited = Workflow.objects.limit(task_id) is not None
    return {"limited": limited, "admitted": not limited}


def _nodes(task_id: str) -> dict[int, Node]:
    try:
        plan = TaskDefinition.objects.plan(task_id)
    except InvalidPlanError:
        return {}
    return {node.seq: node for node in plan.nodes} if plan else {}


def _waits_for(task: Task) -> list[int]:
    """The original's one dependency; −1, and in old rows 0, stands for none."""
    return [task.depends_task_exec_seq] if task.depends_task_exec_seq > 0 else []


def _error(task: Task, node: Node | None, known: set[int]) -> str:
    """Why an inserted row cannot run yet; empty if it can."""
    if node is None:
        return f"ms_task_definition has no usable row {task.task_id!r}, {task.task_seq}; add or mend it"
    if not {task.task_exec_seq, *_waits_for(task)} <= known:
        waits = f"depends_task_exec_seq is {task.depends_task_exec_seq}"
        return f"{waits}, which flow {task.task_flow_id} does not have, or which waits for this task; mend the row"
    node = replace(node, parameters=task.parameters or {}, priority=task.task_priority)
    return "; ".join(map(str, node_problems(node)))


def _take_over(task: Task, node: Node | None, error: str) -> bool:
    """Give an inserted row its program and dependency; with an ``error`` suspend it. Whether the row changed."""
    moved: dict[str, Any] = {"depends_on": [] if error else _waits_for(task), "error": error}
    if task.registered_ts is None:
        moved["registered_ts"] = database_now()
    if not error and node is not None:
        moved |= options_of(node, 0) | {
            "parameters": task.parameters or {},
            "task_priority": task.task_priority,
        }
    if task.exec_status not in SATISFIED:
        moved["exec_status"] = Status.SUSPEND if error else Status.WAIT
        moved["suspended_ts"] = (task.suspended_ts or database_now()) if error else None
    changed = any(getattr(task, name) != value for name, value in moved.items())
    if changed:
        for name, value in moved.items():
            setattr(task, name, value)
        task.save(update_fields=list(moved))
    return changed
