"""From a workflow to a flow."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from django.db import IntegrityError

from flowerapp import registry
from flowerapp.core import executor, graph, overriding, unmasking, values
from flowerapp.core.messages import Message, first_sent
from flowerapp.core.overriding import MayOverride
from flowerapp.core.plan import Node, Plan, missing_problems, priority_problems
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.dispatching import send_deferred, send_on_commit
from flowerapp.engine.readiness import by_seq, recompute
from flowerapp.exceptions import (
    IdempotencyConflictError,
    InvalidPlanError,
    Problem,
    UnknownWorkflowError,
)
from flowerapp.models import Flow, Pool, Task, TaskDefinition, Workflow
from flowerapp.models.flows import NO_DEPENDENCY
from flowerapp.querysets.db import atomic, connection, on_commit
from flowerapp.states import ACTIVE, IgnoredBy, Status, clamp_priority

_stores: list[Callable[[str], Plan | None]] = []


def add_store(store: Callable[[str], Plan | None]) -> None:
    """Call ``store`` with the name of each workflow that has no rows.

    It stores the workflow, and returns its plan, or None if it does not know it.
    """
    _stores.append(store)


def plan_of(task_id: str) -> Plan:
    """The workflow as a plan, stored first if it never was and a class defines it; raises UnknownWorkflowError."""
    plan = None
    if values.storable(task_id):
        plan = TaskDefinition.objects.plan(task_id) or next(filter(None, (store(task_id) for store in _stores)), None)
    if plan is None:
        raise UnknownWorkflowError(f"workflow {task_id!r} has no rows in ms_task_definition")
    return plan


def register(
    task_id: str,
    *,
    input: Any = None,
    priority: int = 0,
    parameters: Mapping[int, Mapping[str, Any]] | None = None,
    entrance: int | str | None = None,
    idempotency_key: str | None = None,
    actor: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> Flow:
    """Write a flow and its tasks from a workflow, send the ready ones on commit, and return the flow.

    ``input`` is JSON (None is ``{}``), ``priority`` is added to each task's, ``parameters`` are over those of the
    definition by ``task_seq``, ``entrance`` is the ``task_seq`` or name of the step to start at: only it and what
    follows it is run. A second call with the same ``idempotency_key``, by the same actor for the same workflow, returns
    the flow of the first, or raises IdempotencyConflictError if it asks for something else. For a unique workflow it is
    the active flow, if there is one. ``flow.created`` says whether the flow is new. ``may_override`` says which
    parameters the caller may override of steps that hold masked values; a value ``••••`` keeps the stored one.
    Raises UnknownWorkflowError, InvalidPlanError, InvalidValueError, IdempotencyConflictError.
    """
    stored = plan_of(task_id)
    plan = _with_overrides(stored, parameters or {}, may_override).check()
    start = plan.entrance if entrance is None else plan.seq_of(entrance)
    _must_not_enter(stored, start, may_override)
    _must_be_registrable(plan, start, priority, idempotency_key)
    flow = _new_flow(plan, input, priority, actor)
    if idempotency_key is not None:
        flow.idempotency_key = idempotency_key
        flow.request_hash = _hash_of(flow, parameters or {}, entrance)
    return _answer(flow, plan) or _write(flow, plan, start)


def _new_flow(plan: Plan, input: Any, priority: int, actor: str) -> Flow:
    return Flow(
        task_flow_id=str(uuid7()),
        task_id=plan.name,
        task_priority=int(priority),
        input=unmasking.checked({} if input is None else input, "input"),
        registered_by=actor,
        limited=plan.most_flows is not None,
        admitted=plan.most_flows is None,
    )


def _answer(flow: Flow, plan: Plan) -> Flow | None:
    """The flow that answers the same request: the one with its idempotency key, or the active one of a unique
    workflow."""
    earlier = _earlier(flow) if flow.idempotency_key is not None else None
    return earlier or (_active(plan.name) if plan.unique else None)


def _write(flow: Flow, plan: Plan, entrance: int | None) -> Flow:
    """Write the flow and its tasks, unless another process has written the one that answers the request."""
    tasks = _tasks_of(flow, plan, entrance)
    try:
        with atomic() if _may_fail(plan, flow) else nullcontext():
            if plan.unique and Workflow.objects.limit(plan.name) and (active := _active(plan.name)):
                return active
            _insert(flow, tasks)
    except IntegrityError:
        if flow.idempotency_key is not None and (earlier := _earlier(flow)):
            return earlier
        raise
    flow.created = True
    return flow


def _may_fail(plan: Plan, flow: Flow) -> bool:
    """Whether more than one statement is made, or one whose failure a caller's transaction has to survive."""
    return plan.unique or flow.idempotency_key is not None or connection().in_atomic_block


def _must_be_registrable(plan: Plan, entrance: int | None, priority: int, idempotency_key: str | None) -> None:
    """Raise InvalidPlanError for what is wrong beside the plan itself."""
    problems = [Problem(message, field="priority") for message in priority_problems(priority)]
    problems += pool_problems(plan)
    problems += _missing(plan, entrance)
    if idempotency_key is not None and (len(idempotency_key) > 256 or not values.storable(idempotency_key)):
        problems.append(Problem("Idempotency-Key is over 256 characters or not text", field="idempotency_key"))
    if problems:
        raise InvalidPlanError(problems, plan.name)


def _missing(plan: Plan, entrance: int | None) -> list[Problem]:
    """Parameters that were to be given; a step that a flow from the entrance does not reach needs none."""
    nodes = [node for node in plan.nodes if node.required_at_register]
    if nodes and entrance is not None:
        reached = graph.reach([entrance], graph.followers(plan.edges))
        nodes = [node for node in nodes if node.seq in reached]
    return [problem for node in nodes for problem in missing_problems(node)]


def _hash_of(flow: Flow, parameters: Mapping[int, Mapping[str, Any]], entrance: int | str | None) -> str:
    """A digest that is equal for equal requests with the same key."""
    overrides = values.check({str(seq): dict(changed) for seq, changed in parameters.items()}, "parameters")
    canonical = json.dumps([flow.task_id, flow.input, flow.task_priority, overrides, entrance], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _active(task_id: str) -> Flow | None:
    """The flow of a unique workflow that is active, or waits to be admitted."""
    return Flow.objects.filter(task_id=task_id, exec_status__in=ACTIVE).order_by("-admitted", "registered_ts").first()


def pool_problems(plan: Plan) -> list[Problem]:
    """Steps of a plan that name a pool which does not exist."""
    named = {node.pool for node in plan.nodes if node.pool}
    existing = set(Pool.objects.filter(pk__in=named).values_list("pk", flat=True)) if named else set()
    sentence = "there is no pool {!r}; make it first, in the admin or by POST /api/pools/"
    return [
        Problem(sentence.format(node.pool), node.seq, "pool")
        for node in plan.nodes
        if node.pool and node.pool not in existing
    ]


def _with_overrides(plan: Plan, parameters: Mapping[int, Mapping[str, Any]], may: MayOverride) -> Plan:
    unknown = [seq for seq in parameters if seq not in plan.edges]
    if unknown:
        raise InvalidPlanError([Problem(f"no such step in {plan.name!r}", seq, "parameters") for seq in unknown])
    refused = [
        problem
        for node in plan.nodes
        if node.seq in parameters
        for problem in overriding.refusals(node.seq, node.parameters, parameters[node.seq], may, node.open_parameters)
    ]
    if refused:
        raise InvalidPlanError(refused, plan.name)
    nodes = [_overridden(node, parameters[node.seq]) if node.seq in parameters else node for node in plan.nodes]
    return replace(plan, nodes=tuple(nodes)) if parameters else plan


def _overridden(node: Node, overrides: Mapping[str, Any]) -> Node:
    return replace(
        node,
        parameters=overriding.laid_over(node.parameters, overrides),
        required_at_register=node.still_requires(overrides),
        overridable=node.open_parameters,
    )


def _must_not_enter(plan: Plan, entrance: int | None, may: MayOverride) -> None:
    """Raise InvalidPlanError if the flow's input would become a parameter that the caller may not override."""
    if may is MayOverride.ANY or entrance in (None, plan.entrance):
        return
    node = next(node for node in plan.nodes if node.seq == entrance)
    listed = node.open_parameters
    refused = overriding.input_refusals(node.seq, node.program, node.parameters, may, listed) if node.depends_on else ()
    if problems := [replace(problem, field="entrance") for problem in refused]:
        raise InvalidPlanError(problems, plan.name)


def _earlier(flow: Flow) -> Flow | None:
    """The flow that was registered with the same idempotency key."""
    earlier = Flow.objects.filter(
        registered_by=flow.registered_by, task_id=flow.task_id, idempotency_key=flow.idempotency_key
    ).first()
    if earlier is not None and earlier.request_hash != flow.request_hash:
        used = f"Idempotency-Key {flow.idempotency_key!r} was used for flow {earlier.pk}"
        raise IdempotencyConflictError(f"{used} with a different request; use a new key")
    return earlier


def _tasks_of(flow: Flow, plan: Plan, entrance: int | None) -> list[Task]:
    """Rows of a flow, numbered 1… so that each comes after all it depends on."""
    exec_seqs = {task_seq: number for number, task_seq in enumerate(graph.order(plan.edges), start=1)}
    nodes = {exec_seqs[node.seq]: node for node in plan.nodes}
    edges = {seq: sorted(exec_seqs[before] for before in nodes[seq].depends_on) for seq in sorted(nodes)}
    tasks = [_task_of(flow, seq, node, edges[seq]) for seq, node in sorted(nodes.items())]
    if entrance is not None:
        _skip_unreached(tasks, edges, exec_seqs[entrance])
    flow.open_sinks = recompute(by_seq(tasks))
    return tasks


def _task_of(flow: Flow, seq: int, node: Node, depends_on: list[int]) -> Task:
    return Task(
        task_flow=flow,
        task_exec_seq=seq,
        depends_task_exec_seq=max(depends_on, default=NO_DEPENDENCY),
        depends_on=depends_on,
        task_id=flow.task_id,
        task_seq=node.seq,
        **task_columns(node, flow.task_priority),
    )


def task_columns(node: Node, flow_priority: int) -> dict[str, Any]:
    """Columns of a task that come from its definition."""
    return {
        "program": node.program,
        "parameters": dict(node.parameters),
        "task_priority": clamp_priority(node.priority + flow_priority),
        "queue": node.queue or registry.get(node.program).queue,
        "max_retries": node.max_retries,
        "retry_delay": node.retry_delay,
        "time_limit": node.time_limit,
        "name": node.name,
        "merge": node.merge,
        "pool": node.pool,
        "admitted": not node.pool,
        "child_program": node.child_program,
        "max_concurrency": node.max_concurrency,
        "exit_on_failed": node.exit_on_failed,
        "overridable": list(node.open_parameters) or None,
    }


def _skip_unreached(tasks: list[Task], edges: graph.Edges, entrance: int) -> None:
    """Ignore what a flow from the entrance does not reach.

    What lies before the entrance passes the flow's input on, so it gets no output of its own.
    """
    run = graph.reach([entrance], graph.followers(edges))
    before = graph.reach([entrance], edges)
    for task in tasks:
        if task.task_exec_seq not in run:
            task.exec_status = Status.IGNORE
            task.ignored_by = IgnoredBy.ENTRANCE.value
            task.output = None if task.task_exec_seq in before else {}


def _insert(flow: Flow, tasks: list[Task]) -> None:
    wanted = [task for task in tasks if task.status is Status.WAIT and task.pending == 0]
    ready = [task for task in wanted if task.admitted and flow.admitted]
    first = first_sent(task.call for task in ready)
    deferred = {task.task_exec_seq for task in ready} - first
    sent = first if executor.current().connected() else set()
    Flow.objects.insert(flow, tasks, sent, deferred)
    send_on_commit([Message.of(flow.pk, task.call, task.canvas) for task in ready if task.task_exec_seq in sent])
    if deferred:
        on_commit(lambda: send_deferred(flow.pk))
    if not flow.admitted:
        on_commit(lambda: admit_flows(flow.task_id))
    elif pools := {task.pool for task in wanted if task.pool}:
        on_commit(lambda: admit(pools))


def uuid7() -> uuid.UUID:
    """A UUID that sorts by time of making (RFC 9562, version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62)
