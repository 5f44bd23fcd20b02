"""What a flow is registered with, and the flow that it asks for: checked, and not written yet."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import partial
from typing import Any

from flowerapp import conf
from flowerapp.core import graph, overriding, unmasking, values
from flowerapp.core.gates import UNSENT
from flowerapp.core.overriding import MayOverride, Passing
from flowerapp.core.plan import Node, Plan, missing_problems, priority_problems
from flowerapp.engine.planned_tasks import PlannedTasks, kept, planned_tasks
from flowerapp.exceptions import InvalidError, InvalidPlanError, Problem
from flowerapp.models import Flow, Pool

Parameters = Mapping[int, Mapping[str, Any]]
"""Parameters by ``task_seq``, over those of the definition."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What one flow is registered with; the fields are the arguments of ``engine.register``."""

    task_id: str
    """Name of the workflow."""
    _: KW_ONLY
    input: Any = None
    """Input of the flow: JSON; None is ``{}``."""
    priority: int = 0
    """Added to each task's."""
    parameters: Parameters | None = None
    """By ``task_seq``, over those of the definition."""
    entrance: int | str | None = None
    """``task_seq`` or name of the step to start at."""
    idempotency_key: str | None = None
    """The same key of the same caller for the same workflow returns the same flow."""

    @classmethod
    def of(cls, item: Any) -> Registration:
        """A registration, from one, from a mapping with its fields, or from the name of a workflow; raises
        InvalidError."""
        if isinstance(item, cls):
            return item
        if isinstance(item, str):
            return cls(item)
        if not isinstance(item, Mapping):
            raise InvalidError("must be an object with the workflow's name in task_id")
        if unknown := [name for name in item if name not in NAMES]:
            raise InvalidError(f"unknown field {str(unknown[0])[:100]!r}; this takes {', '.join(NAMES)}")
        if not isinstance(item.get("task_id"), str):
            raise InvalidError("task_id, the workflow's name, is missing or not text")
        return cls(**item)


NAMES = tuple(field.name for field in fields(Registration))


def check_number(number: int) -> None:
    """Raise InvalidError for no registration, or for more than one call takes."""
    most = conf.get().MAX_REGISTRATIONS
    if not number:
        raise InvalidError("the list is empty; it needs at least one item")
    if number > most:
        raise InvalidError(f"the list has {number:,} items; the limit is {most:,} (FLOWER['MAX_REGISTRATIONS'])")


@dataclass(frozen=True, slots=True)
class Caller:
    """The user or code that registers flows."""

    actor: str = ""
    """Name for the history."""
    may_override: MayOverride = MayOverride.ANY
    """Which parameters it may override of steps that hold masked values."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A flow that is to be written, unless another answers its request."""

    flow: Flow
    plan: Plan
    """The checked plan, with the parameters of the request."""
    tasks: PlannedTasks


class Drafts:
    """Makes the drafts of one call, and computes once what several of them share."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._with_pools: dict[int, Plan] = {}

    def draft(self, registration: Registration, stored: Plan, source: str | None = None) -> Draft:
        """The flow of the stored plan that a registration asks for; of one that is not stored, with its ``source``.

        Raises InvalidPlanError, InvalidValueError.
        """
        if registration.parameters:
            plan = _with_overrides(stored, registration.parameters, self._caller.may_override).check()
            tasks_of = partial(planned_tasks, plan)
        else:
            plan, tasks_of = stored, partial(kept(stored).tasks_of, stored)
        self._check_pools(plan)
        start = plan.entrance if registration.entrance is None else plan.seq_of(registration.entrance)
        _must_not_enter(stored, start, self._caller.may_override)
        _must_be_registrable(plan, start, registration)
        tasks = tasks_of(int(registration.priority), start)
        flow = _new_flow(plan, registration, self._caller.actor, source)
        flow.open_sinks = tasks.open_sinks
        return Draft(flow, plan, tasks)

    def _check_pools(self, plan: Plan) -> None:
        """Raise InvalidPlanError if a pool of the plan does not exist; a plan that was looked at is kept, so that no
        other has its identity."""
        if id(plan) not in self._with_pools:
            if problems := pool_problems(plan):
                raise InvalidPlanError(problems, plan.name)
            self._with_pools[id(plan)] = plan


def _new_flow(plan: Plan, registration: Registration, actor: str, source: str | None) -> Flow:
    value = {} if registration.input is None else registration.input
    flow = Flow(
        task_flow_id=str(uuid7()),
        task_id=plan.name,
        task_priority=int(registration.priority),
        input=unmasking.checked(value, "input"),
        registered_by=actor,
        limited=plan.most_flows is not None,
        admitted=plan.most_flows is None,
        source=_checked_source(source or "", plan.name),
    )
    if registration.idempotency_key is not None:
        flow.idempotency_key = registration.idempotency_key
        flow.request_hash = _hash_of(flow, registration, None if source is None else source or repr(plan.nodes))
    return flow


def _checked_source(source: str, name: str) -> str:
    most = conf.get().MAX_JSON_BYTES
    if len(source.encode("utf-8", "replace")) > most or not values.storable(source):
        problem = f"the text is over {most:,} bytes (FLOWER['MAX_JSON_BYTES']), or holds what is no text"
        raise InvalidPlanError([Problem(problem, field="source")], name)
    return source


def _must_be_registrable(plan: Plan, entrance: int | None, registration: Registration) -> None:
    """Raise InvalidPlanError for what is wrong beside the plan itself."""
    key = registration.idempotency_key
    problems = [Problem(message, field="priority") for message in priority_problems(registration.priority)]
    problems += _missing(plan, entrance)
    if key is not None and (len(key) > 256 or not values.storable(key)):
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


def _hash_of(flow: Flow, registration: Registration, plan: str | None) -> str:
    """A digest that is equal for equal requests with the same key; ``plan`` is the text of one that is not stored."""
    parameters = {str(seq): dict(changed) for seq, changed in (registration.parameters or {}).items()}
    overrides = values.check(parameters, "parameters")
    request = [flow.task_id, flow.input, flow.task_priority, overrides, registration.entrance]
    request += [] if plan is None else [plan]
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


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


def _with_overrides(plan: Plan, parameters: Parameters, may: MayOverride) -> Plan:
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
    return replace(plan, nodes=tuple(nodes))


def _overridden(node: Node, overrides: Mapping[str, Any]) -> Node:
    return replace(
        node,
        parameters=overriding.laid_over(node.parameters, overrides),
        required_at_register=node.still_requires(overrides),
        overridable=node.open_parameters,
    )


def _must_not_enter(plan: Plan, entrance: int | None, may: MayOverride) -> None:
    """Raise InvalidPlanError if the flow's input would become a parameter that the caller may not override."""
    if may is MayOverride.ANY or entrance is None or entrance == plan.entrance:
        return
    nodes = {node.seq: node for node in plan.nodes}
    if not nodes[entrance].depends_on:
        return
    receivers = overriding.receivers(entrance, {seq: _passing(node) for seq, node in nodes.items()}, entered=True)
    refused = [problem for seq in receivers for problem in _input_refusals(nodes[seq], may)]
    if problems := [replace(problem, field="entrance") for problem in refused]:
        raise InvalidPlanError(problems, plan.name)


def _passing(node: Node) -> Passing:
    return Passing(node.depends_on, node.program in UNSENT or bool(node.when), node.end if node.when else None)


def _input_refusals(node: Node, may: MayOverride) -> Iterator[Problem]:
    program = overriding.input_program(node.program, node.child_program)
    return overriding.input_refusals(node.seq, program, node.parameters, may, node.open_parameters)


_last_id = 0
"""The time and random bits of the last id that this process made."""


def uuid7() -> uuid.UUID:
    """A UUID that sorts by time of making (RFC 9562, version 7); those of one thread sort as they were made."""
    global _last_id
    made = time.time_ns() // 1_000_000 << 74 | secrets.randbits(74)
    _last_id = made = max(made, _last_id + 1 + secrets.randbits(32))
    high, low = made >> 62, made & (1 << 62) - 1
    return uuid.UUID(int=(high >> 12) << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0x2 << 62 | low)
