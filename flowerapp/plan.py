"""A workflow as every front door hands it in: nodes, edges and options, checked once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flowerapp import conf, graph, registry, states, values
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, Problem, UnknownProgramError

_NOT_IN_NAMES = re.compile(r"[/\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LARGEST_SEQ = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a workflow."""

    seq: int
    """``task_seq``, not below 0."""
    program: str
    depends_on: tuple[int, ...] = ()
    """``task_seq`` of the steps it waits for; empty for a root."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    """−20…19, lower first."""
    queue: str = ""
    max_retries: int | None = None
    """Starts again after the first; None takes the program's."""
    retry_delay: int | None = None
    """Seconds before each retry; None takes the program's policy."""
    time_limit: int | None = None
    """Seconds; None takes the program's."""
    name: str = ""
    """What other steps call it; unique in its workflow, or empty."""
    merge: bool = False
    """Whether its input is one object made of the objects that several steps before it returned."""
    pool: str = ""
    """Pool whose slots its tasks share; empty for none."""
    child_program: str = ""
    """Program that runs for each child that the step adds; empty if it adds none."""
    max_concurrency: int | None = None
    """Children at once; None for as many as there are worker processes."""
    exit_on_failed: bool = True
    """Whether a failed child fails the step and stops its siblings, or is passed over."""


@dataclass(frozen=True)
class Plan:
    """A whole workflow."""

    name: str
    """``task_id``."""
    nodes: tuple[Node, ...]
    description: str = ""
    max_active_flows: int | None = None
    """Flows that may go on at once; None has no limit."""
    unique: bool = False
    """Whether registering answers with the flow that runs, if one does."""
    entrance: int | None = None
    """``task_seq`` to start at, unless a flow is registered with another."""

    @property
    def most_flows(self) -> int | None:
        """How many flows may go on at once; None for any number."""
        return most_flows(self.max_active_flows, unique=self.unique)

    @cached_property
    def edges(self) -> dict[int, tuple[int, ...]]:
        """``{task_seq: task_seqs it depends on}``."""
        return {node.seq: node.depends_on for node in self.nodes}

    def problems(self) -> Iterator[Problem]:
        """Everything wrong with the plan, each naming its step and field."""
        yield from (Problem(message, field="task_id") for message in name_problems(self.name))
        if not self.nodes:
            yield Problem(f"workflow {self.name!r} has no steps; add one")
        if len(self.nodes) > conf.get().MAX_TASKS:
            yield Problem(f"{len(self.nodes):,} steps; the limit is {conf.get().MAX_TASKS:,} (FLOWER['MAX_TASKS'])")
        seen: set[int] = set()
        names: dict[str, int] = {}
        for node in self.nodes:
            if node.name and names.setdefault(node.name, node.seq) != node.seq:
                yield Problem(f"step {names[node.name]} is named {node.name!r} too; use another", node.seq, "name")
            if node.seq in seen:
                yield Problem(f"task_seq {node.seq} is used twice; give each step its own", node.seq, "task_seq")
            seen.add(node.seq)
            yield from node_problems(node)
        yield from self._edge_problems(seen)
        yield from self._header_problems(seen)

    def _header_problems(self, known: set[int]) -> Iterator[Problem]:
        most = self.max_active_flows
        if most is not None and not 1 <= most <= _LARGEST_SEQ:
            yield Problem(f"max_active_flows {most} is out of range; use 1 or more", field="max_active_flows")
        if self.entrance is not None and self.entrance not in known:
            yield Problem(f"entrance {self.entrance} is not a step of {self.name!r}", field="entrance")

    def seq_of(self, step: int | str) -> int:
        """``task_seq`` of a step by its number or its name; raises InvalidPlanError."""
        for node in self.nodes:
            if (step == node.seq and step is not True) or (node.name and step == node.name):
                return node.seq
        raise InvalidPlanError(
            [Problem(f"entrance {step!r} is not a step of {self.name!r}", field="entrance")], self.name
        )

    def _edge_problems(self, known: set[int]) -> Iterator[Problem]:
        missing = False
        for node in self.nodes:
            for each in node.depends_on:
                if each not in known:
                    missing = True
                    yield Problem(f"depends on {each}, which is not a step of {self.name!r}", node.seq, "depends_on")
        if not missing and len(known) == len(self.nodes):
            try:
                graph.order(self.edges)
            except graph.CycleError as error:
                yield Problem(f"steps depend on each other in a circle: {error}", error.cycle[0], "depends_on")

    def check(self) -> Plan:
        """The plan itself; raises InvalidPlanError with every problem found."""
        problems = list(self.problems())
        if problems:
            raise InvalidPlanError(problems, self.name)
        return self


def most_flows(max_active_flows: int | None, *, unique: bool) -> int | None:
    """How many flows of a workflow with these settings may go on at once; None for any number."""
    return 1 if unique else max_active_flows


def name_problems(name: str, what: str = "task_id") -> Iterator[str]:
    """What is wrong with a name that goes into URLs and varchar(256) columns."""
    if not name or not name.strip():
        yield f"{what} is empty; give a name"
    if len(name) > 256:
        yield f"{what} has {len(name)} characters; 256 is the most"
    if _NOT_IN_NAMES.search(name):
        yield f"{what} holds a slash or a control character; use other characters"
    if name in {".", ".."}:
        yield f"{what} {name!r} cannot be part of a URL; use another name"


def node_problems(node: Node) -> Iterator[Problem]:
    """What is wrong with a step by itself."""
    if not 0 <= node.seq <= _LARGEST_SEQ:
        yield Problem(f"task_seq {node.seq} is out of range; use 0…{_LARGEST_SEQ}", node.seq, "task_seq")
    yield from (Problem(message, node.seq, "task_priority") for message in priority_problems(node.priority))
    for name in ("max_retries", "retry_delay"):
        number = getattr(node, name)
        if number is not None and not 0 <= number <= _LARGEST_SEQ:
            yield Problem(f"{name} {number} is out of range; use 0 or more", node.seq, name)
    if node.time_limit is not None and not 1 <= node.time_limit <= _LARGEST_SEQ:
        yield Problem(f"time_limit {node.time_limit} is out of range; use seconds, 1 or more", node.seq, "time_limit")
    if len(node.queue) > 256 or _NOT_IN_NAMES.search(node.queue):
        yield Problem("queue has over 256 characters, a slash or a control character", node.seq, "queue")
    if len(node.name) > 256 or _NOT_IN_NAMES.search(node.name):
        yield Problem("name has over 256 characters, a slash or a control character", node.seq, "name")
    if len(node.pool) > 256 or _NOT_IN_NAMES.search(node.pool):
        yield Problem("pool has over 256 characters, a slash or a control character", node.seq, "pool")
    most = node.max_concurrency
    if most is not None and not 1 <= most <= _LARGEST_SEQ:
        yield Problem(f"max_concurrency {most} is out of range; use 1 or more", node.seq, "max_concurrency")
    yield from program_problems(node)
    if node.child_program:
        yield from child_problems(node)


def child_problems(node: Node) -> Iterator[Problem]:
    """What is wrong with the program of a step's children: it is called with nothing but the context."""
    try:
        program = registry.get(node.child_program)
    except UnknownProgramError as error:
        yield Problem(str(error), node.seq, "child_program")
        return
    for key, message in program.parameter_problems({}):
        sentence = f"parameter {key}: {message}; a child gets its item as ctx.input, so give it a default"
        yield Problem(sentence, node.seq, "child_program")


def priority_problems(priority: int) -> Iterator[str]:
    """What is wrong with a priority."""
    if not states.HIGHEST_PRIORITY <= priority <= states.LOWEST_PRIORITY:
        yield f"priority {priority} is out of range; use −20 (first) to 19 (last)"


def program_problems(node: Node) -> Iterator[Problem]:
    """What is wrong with a step's program and parameters."""
    try:
        program = registry.get(node.program)
    except UnknownProgramError as error:
        yield Problem(str(error), node.seq, "program")
        return
    if not isinstance(node.parameters, Mapping):
        yield Problem("parameters must be a JSON object", node.seq, "parameters")
        return
    try:
        values.dumps(dict(node.parameters), "parameters")
    except InvalidValueError as error:
        yield Problem(str(error), node.seq, "parameters")
        return
    for key, message in program.parameter_problems(node.parameters):
        yield Problem(f"parameter {key}: {message}" if key else message, node.seq, f"parameters.{key}")
