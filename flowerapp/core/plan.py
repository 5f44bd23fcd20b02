"""The plan of a workflow, into which every front door translates its input: nodes, edges and options, checked once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from flowerapp import conf, states
from flowerapp.core import graph, problems
from flowerapp.core.approval_options import option_problems
from flowerapp.core.cached_steps import cache_problems
from flowerapp.core.caching import CacheScope
from flowerapp.core.conditions import condition_problems
from flowerapp.core.gates import APPROVAL, EACH, GATE, REMOTE, UNSENT, WAITS
from flowerapp.core.names import name_problems, part_problems, text_problems
from flowerapp.core.waits import start_problems
from flowerapp.exceptions import MOST_PROBLEMS, InvalidPlanError, Problem

LARGEST = 2**31 - 1
"""The largest number of a step, and of its options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a workflow."""

    seq: int
    """``task_seq``, 0 or more."""
    program: str
    """Name of a registered program; empty for a remote task."""
    depends_on: tuple[int, ...] = ()
    """``task_seq`` of the steps that this step waits for; empty for a root."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the program, as JSON values."""
    required_at_register: tuple[str, ...] = ()
    """Names of parameters that the step does not give, so that each registration has to."""
    overridable: tuple[str, ...] = ()
    """Names of parameters that a caller who may not edit the workflow may override although the step holds masked
    values."""
    priority: int = 0
    """−20…19; lower runs first."""
    queue: str = ""
    """Name of the queue; empty means the program's."""
    max_retries: int | None = None
    """Retries after the first start (3 means 4 starts); None means the program's."""
    retry_delay: int | None = None
    """Seconds before each retry; None means the program's policy."""
    time_limit: int | None = None
    """Seconds after which an attempt is killed; None means the program's."""
    name: str = ""
    """The name that other steps and programs use for this step; unique in its workflow, or empty."""
    merge: bool = False
    """Whether the step's input is one object that merges the outputs of its dependencies, all of them objects."""
    when: str = ""
    """Condition over the step's input; where it is false, the task is skipped. Empty means that it always runs."""
    cache_key: str = ""
    """Expression over the step's input and parameters: where it has the same value, a stored output is taken. Empty or
    ``*`` means the whole input."""
    cache_seconds: int | None = None
    """Seconds for which an output is kept for other tasks; None means the program's, 0 means that none is kept."""
    cache_scope: str = CacheScope.WORKFLOW.value
    """Whether an output is kept for the tasks of its workflow, or for those of all."""
    remote: str = ""
    """Of a remote task, the name by which the system knows it that does its work; its ``program`` is empty. Or that of
    the children of a step whose ``child_program`` is ``flow:remote``."""
    alias: str = ""
    """What people call the step, where that is not its name, program or remote name; several may have the same."""
    end: int | None = None
    """Of a gate that begins a subflow, ``task_seq`` of the gate that ends it: its condition holds for the whole."""
    pool: str = ""
    """Name of the pool whose slots its tasks occupy; empty for none."""
    child_program: str = ""
    """Program that runs the children that the step adds; empty if it adds none."""
    max_concurrency: int | None = None
    """Most children that run at once; None means one for each worker process."""
    exit_on_failed: bool = True
    """Whether a failed child fails the task and stops its siblings; if not, the task continues without it."""

    @property
    def is_remote(self) -> bool:
        """Whether another system does its work, and not that of its children."""
        return bool(self.remote) and self.program != EACH

    @property
    def open_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the step leaves to its callers: the overridable ones, and those that it requires
        at register."""
        return tuple(dict.fromkeys([*self.overridable, *self.required_at_register]))

    def still_requires(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the parameters that are required at register and not among these ``parameters``."""
        return tuple(name for name in self.required_at_register if name not in parameters)


@dataclass(frozen=True)
class Plan:
    """A whole workflow."""

    name: str
    """``task_id``."""
    nodes: tuple[Node, ...]
    """The steps, in the order of their definition."""
    description: str = ""
    """For people; plain text."""
    max_active_flows: int | None = None
    """Most flows of the workflow that are active at once; None means no limit."""
    unique: bool = False
    """Whether the workflow has one active flow at most: registering returns that flow if there is one."""
    entrance: int | None = None
    """``task_seq`` of the step where a flow starts, unless it is registered with another; None means the roots."""
    start_event: str = ""
    """Kind of the events that start a flow each; empty for none."""
    start_match: Mapping[str, Any] | None = None
    """Members that such an event must have; None for any event of the kind."""

    @property
    def most_flows(self) -> int | None:
        """Most flows that are active at once; None means no limit."""
        return most_flows(self.max_active_flows, unique=self.unique)

    @cached_property
    def edges(self) -> dict[int, tuple[int, ...]]:
        """``{task_seq: task_seqs it depends on}``."""
        return {node.seq: node.depends_on for node in self.nodes}

    @cached_property
    def programs(self) -> frozenset[str]:
        """Names of the programs that its steps and their children run."""
        return frozenset(name for node in self.nodes for name in (node.program, node.child_program) if name)

    @cached_property
    def derived(self) -> dict[str, Any]:
        """What others have computed from the plan and keep as long as it."""
        return {}

    def problems(self) -> Iterator[Problem]:
        """All problems of the plan; each names its step and field."""
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

    def _header_problems(self, seqs: set[int]) -> Iterator[Problem]:
        most = self.max_active_flows
        if most is not None and not 1 <= most <= LARGEST:
            yield Problem(f"max_active_flows {most} is out of range; use 1 or more", field="max_active_flows")
        for message in text_problems(self.description, "description"):
            yield Problem(message, field="description")
        if self.entrance is not None and self.entrance not in seqs:
            yield Problem(f"entrance {self.entrance} is not a step of {self.name!r}", field="entrance")
        for place, message in start_problems(self.start_event, self.start_match):
            yield Problem(message, field=place)
        if self.start_event and (later := next((node for node in self.nodes if node.required_at_register), None)):
            sentence = f"an event gives no parameters, and step {later.seq} requires some at register"
            yield Problem(sentence, field="start_event")

    def seq_of(self, step: int | str) -> int:
        """The ``task_seq`` of a step, by its ``task_seq`` or its name; raises InvalidPlanError."""
        for node in self.nodes:
            if (step == node.seq and step is not True) or (node.name and step == node.name):
                return node.seq
        raise InvalidPlanError(
            [Problem(f"entrance {step!r} is not a step of {self.name!r}", field="entrance")], self.name
        )

    def _edge_problems(self, seqs: set[int]) -> Iterator[Problem]:
        missing = [(node.seq, seq) for node in self.nodes for seq in node.depends_on if seq not in seqs]
        gates = {node.seq for node in self.nodes if node.program == GATE}
        for node in self.nodes:
            if node.end is not None and not {node.seq, node.end} <= gates:
                yield Problem(
                    f"a subflow begins and ends with a step of {GATE}, and not at {node.end}", node.seq, "end"
                )
        for step, seq in missing:
            yield Problem(f"depends on {seq}, which is not a step of {self.name!r}", step, "depends_on")
        if not missing and len(seqs) == len(self.nodes):
            try:
                graph.order(self.edges)
            except graph.CycleError as error:
                yield Problem(f"steps depend on each other in a cycle: {error}", error.cycle[0], "depends_on")

    def check(self) -> Plan:
        """Return the plan if it has no problems; raises InvalidPlanError with the first of them."""
        problems = list(islice(self.problems(), MOST_PROBLEMS + 1))
        if problems:
            raise InvalidPlanError(problems, self.name)
        return self


def most_flows(max_active_flows: int | None, *, unique: bool) -> int | None:
    """Most flows of a workflow with these settings that are active at once; None means no limit."""
    return 1 if unique else max_active_flows


SMALLEST = {"max_retries": 0, "retry_delay": 0, "time_limit": 1, "max_concurrency": 1, "cache_seconds": 0}
"""Options of a node that are whole numbers, each with its smallest value."""


def node_problems(node: Node) -> Iterator[Problem]:
    """The problems of a step by itself, its program and parameters included."""
    if not 0 <= node.seq <= LARGEST:
        yield Problem(f"task_seq {node.seq} is out of range; use 0…{LARGEST}", node.seq, "task_seq")
    yield from (Problem(message, node.seq, "task_priority") for message in priority_problems(node.priority))
    for option, smallest in SMALLEST.items():
        number = getattr(node, option)
        if number is not None and not smallest <= number <= LARGEST:
            yield Problem(f"{option} {number} is out of range; use {smallest} or more", node.seq, option)
    for option in ("queue", "name", "pool", "remote", "alias"):
        yield from (Problem(message, node.seq, option) for message in part_problems(getattr(node, option), option))
    for option in ("pool", "child_program") if node.is_remote or node.program in UNSENT else ():
        if getattr(node, option):
            yield Problem(f"no worker runs this step, so it needs no {option}; leave it out", node.seq, option)
    if node.child_program in WAITS:
        yield Problem(
            f"{node.child_program} is a step by itself and cannot run for each item", node.seq, "child_program"
        )
    of_children = node.child_program == REMOTE and not (node.remote and node.program == EACH)
    if node.program == REMOTE or of_children:
        place = "child_program" if of_children else "program"
        yield Problem(f"{REMOTE} is no program by itself; name one that is registered", node.seq, place)
    yield from (Problem(message, node.seq, "when") for message in condition_problems(node.when))
    yield from cache_problems(node)
    later, follows = node.required_at_register, bool(node.depends_on)
    yield from (Problem(message, node.seq, place) for place, message in _call_problems(node, follows, later))
    for message in problems.unknown_parameters(node.program, node.overridable):
        yield Problem(message, node.seq, "overridable")
    for name in [name for name in later if name in node.parameters]:
        yield Problem(f"{name} has a value and is required at register; drop one", node.seq, "required_at_register")
    of_child = node.parameters if node.program == EACH else {}
    for message in problems.problems_of_child(node.child_program, of_child) if node.child_program else ():
        yield Problem(message, node.seq, "child_program")


def _call_problems(node: Node, follows: bool, later: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Fields and sentences about the program and its parameters; those of a remote task only have to be JSON."""
    if not node.is_remote:
        wrong = list(problems.problems_of(node.program, node.parameters, follows=follows, later=later))
        yield from wrong or (option_problems(node.parameters) if node.program == APPROVAL else ())
        return
    if node.program:
        yield "remote", f"a remote task has no program; drop {node.remote!r} or {node.program!r}"
    yield from problems.json_problems(node.parameters)


def missing_problems(node: Node) -> Iterator[Problem]:
    """The parameters that a registration, or an inserted row, has to give to this step and did not."""
    for name in node.required_at_register:
        example = f'{{"{node.seq}": {{"{name}": …}}}}'
        yield Problem(
            f"parameter {name} is required at register and was not given; pass the parameters {example}",
            node.seq,
            f"parameters.{name}",
        )


def priority_problems(priority: int) -> Iterator[str]:
    """The problems of a priority."""
    if not states.HIGHEST_PRIORITY <= priority <= states.LOWEST_PRIORITY:
        yield f"priority {priority} is out of range; use −20 (first) to 19 (last)"
