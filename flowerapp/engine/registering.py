"""From a workflow to a flow."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from django.db import IntegrityError, transaction

from flowerapp import dispatch, graph, registry, values
from flowerapp.dispatch import Message
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.links import relink
from flowerapp.engine.sending import send, send_on_commit, spread
from flowerapp.exceptions import IdempotencyConflictError, InvalidPlanError, Problem, UnknownWorkflowError
from flowerapp.models import Flow, Pool, Task, TaskDefinition, Workflow
from flowerapp.models.flows import NO_DEPENDENCY
from flowerapp.plan import Node, Plan, priority_problems
from flowerapp.states import ACTIVE, Status, clamp_priority


def plan_of(task_id: str) -> Plan:
    """The stored workflow as a plan; raises UnknownWorkflowError."""
    plan = TaskDefinition.objects.plan(task_id) if values.storable(task_id) else None
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
) -> Flow:
    """Write a flow and its tasks from a workflow, send the ready ones on commit, and return the flow.

    ``input`` is JSON (None is ``{}``), ``priority`` is added to each task's, ``parameters`` are over those of the
    definition by ``task_seq``, ``entrance`` is the ``task_seq`` or name of the step to start at: only it and what
    follows it is run. The same ``idempotency_key`` of the same actor returns the same flow, and a unique workflow the
    flow that runs; ``flow.created`` tells whether it is a new one.
    Raises UnknownWorkflowError, InvalidPlanError, InvalidValueError, IdempotencyConflictError.
    """
    plan = _with_overrides(plan_of(task_id), parameters or {}).check()
    start = plan.entrance if entrance is None else plan.seq_of(entrance)
    _must_be_registrable(plan, priority, idempotency_key)
    flow = Flow(
        task_flow_id=str(uuid7()),
        task_id=task_id,
        task_priority=int(priority),
        input=values.check({} if input is None else input, "input"),
        registered_by=actor,
        idempotency_key=idempotency_key,
        limited=plan.most_flows is not None,
        admitted=plan.most_flows is None,
    )
    if idempotency_key is not None:
        flow.request_hash = _hash_of(flow, parameters or {}, entrance)
        if earlier := _earlier(flow):
            return earlier
    if plan.unique and (running := _running(task_id)):
        return running
    tasks = _tasks_of(flow, plan, start)
    try:
        with transaction.atomic() if _may_fail(plan, flow) else nullcontext():
            if plan.unique and Workflow.objects.limit(task_id) and (running := _running(task_id)):
                return running
            _insert(flow, tasks)
    except IntegrityError:
        if idempotency_key is not None and (earlier := _earlier(flow)):
            return earlier
        raise
    flow.created = True
    return flow


def _may_fail(plan: Plan, flow: Flow) -> bool:
    """Whether more than one statement is made, or one that another's transaction has to survive."""
    return plan.unique or flow.idempotency_key is not None or transaction.get_connection().in_atomic_block


def _must_be_registrable(plan: Plan, priority: int, idempotency_key: str | None) -> None:
    """Raise InvalidPlanError for what is wrong beside the plan itself."""
    problems = [Problem(message, field="priority") for message in priority_problems(priority)]
    problems += pool_problems(plan)
    if idempotency_key is not None and (len(idempotency_key) > 256 or not values.storable(idempotency_key)):
        problems.append(Problem("Idempotency-Key is over 256 characters or not text", field="idempotency_key"))
    if problems:
        raise InvalidPlanError(problems, plan.name)


def _hash_of(flow: Flow, parameters: Mapping[int, Mapping[str, Any]], entrance: int | str | None) -> str:
    """What tells whether two requests with the same key are the same."""
    given = values.check({str(seq): dict(each) for seq, each in parameters.items()}, "parameters")
    canonical = json.dumps([flow.task_id, flow.input, flow.task_priority, given, entrance], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _running(task_id: str) -> Flow | None:
    """The flow of a unique workflow that goes on, or waits for its turn to."""
    return Flow.objects.filter(task_id=task_id, exec_status__in=ACTIVE).order_by("-admitted", "registered_ts").first()


def pool_problems(plan: Plan) -> list[Problem]:
    """Steps of a plan that name a pool which does not exist."""
    named = {node.pool for node in plan.nodes if node.pool}
    known = set(Pool.objects.filter(pk__in=named).values_list("pk", flat=True)) if named else set()
    sentence = "there is no pool {!r}; make it first, in the admin or by POST /api/pools/"
    return [
        Problem(sentence.format(node.pool), node.seq, "pool")
        for node in plan.nodes
        if node.pool and node.pool not in known
    ]


def _with_overrides(plan: Plan, parameters: Mapping[int, Mapping[str, Any]]) -> Plan:
    unknown = [seq for seq in parameters if seq not in plan.edges]
    if unknown:
        raise InvalidPlanError([Problem(f"no such step in {plan.name!r}", seq, "parameters") for seq in unknown])
    nodes = (replace(node, parameters={**node.parameters, **parameters.get(node.seq, {})}) for node in plan.nodes)
    return replace(plan, nodes=tuple(nodes))


def _earlier(flow: Flow) -> Flow | None:
    """The flow that was registered with the same idempotency key."""
    found = Flow.objects.filter(
        registered_by=flow.registered_by, task_id=flow.task_id, idempotency_key=flow.idempotency_key
    ).first()
    if found is not None and found.request_hash != flow.request_hash:
        used = f"Idempotency-Key {flow.idempotency_key!r} was used for flow {found.pk}"
        raise IdempotencyConflictError(f"{used} with a different request; use a new key")
    return found


def _tasks_of(flow: Flow, plan: Plan, entrance: int | None) -> list[Task]:
    """Rows of a flow, numbered 1… so that each comes after all it depends on."""
    exec_seqs = {task_seq: number for number, task_seq in enumerate(graph.order(plan.edges), start=1)}
    nodes = {exec_seqs[node.seq]: node for node in plan.nodes}
    edges = {seq: sorted(exec_seqs[each] for each in nodes[seq].depends_on) for seq in sorted(nodes)}
    tasks = [_task_of(flow, seq, node, edges[seq]) for seq, node in sorted(nodes.items())]
    if entrance is not None:
        _pass_over(tasks, edges, exec_seqs[entrance], flow.input)
    flow.open_sinks = relink(tasks)
    return tasks


def _task_of(flow: Flow, seq: int, node: Node, depends_on: list[int]) -> Task:
    return Task(
        task_flow=flow,
        task_exec_seq=seq,
        depends_task_exec_seq=max(depends_on, default=NO_DEPENDENCY),
        depends_on=depends_on,
        task_id=flow.task_id,
        task_seq=node.seq,
        **options_of(node, flow.task_priority),
    )


def options_of(node: Node, flow_priority: int) -> dict[str, Any]:
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
    }


def _pass_over(tasks: list[Task], edges: graph.Edges, entrance: int, flow_input: Any) -> None:
    """Ignore what the entrance and its followers don't run; what lies before it hands the flow's input on."""
    run = graph.reach([entrance], graph.followers(edges))
    before = graph.reach([entrance], edges)
    for task in tasks:
        if task.task_exec_seq not in run:
            task.exec_status = Status.IGNORE
            task.output = flow_input if task.task_exec_seq in before else {}


def _insert(flow: Flow, tasks: list[Task]) -> None:
    wanted = [task for task in tasks if task.status is Status.WAIT and task.pending == 0]
    ready = [task for task in wanted if task.admitted and flow.admitted]
    kinds = [(task.task_exec_seq, task.task_priority, task.program, task.queue) for task in ready]
    first = dispatch.first_of(kinds)
    left_over = {seq for seq, *_ in kinds} - first
    sent = first if dispatch.connected() else set()
    Flow.objects.insert(flow, tasks, sent, left_over)
    send_on_commit([Message.of(flow.pk, task.link, task.canvas) for task in ready if task.task_exec_seq in sent])
    if left_over:
        transaction.on_commit(lambda: send(spread(flow.pk)), robust=True)
    if not flow.admitted:
        transaction.on_commit(lambda: admit_flows(flow.task_id), robust=True)
    elif pools := {task.pool for task in wanted if task.pool}:
        transaction.on_commit(lambda: admit(pools), robust=True)


def uuid7() -> uuid.UUID:
    """A UUID that sorts by time of making (RFC 9562, version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62)
