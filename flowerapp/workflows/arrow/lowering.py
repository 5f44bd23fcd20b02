"""From the numbered steps of a text to the plan that the engine runs: each step keeps its number as ``task_seq``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Any

from flowerapp import conf
from flowerapp.core import programs
from flowerapp.core.gates import EACH, GATE, REMOTE, VALUE
from flowerapp.core.plan import Node, Plan
from flowerapp.core.programs import Program
from flowerapp.exceptions import MOST_PROBLEMS, InvalidPlanError, Problem
from flowerapp.programs.redis_commands import PREFIX
from flowerapp.programs.resources import LOAD, STORE
from flowerapp.workflows.arrow.compiler import compile_text
from flowerapp.workflows.arrow.graph import FLOW_START, Graph, Kind, Step

UNNAMED = "arrow"
"""The name of a flow whose text has no ``@flow``."""
ARGUMENTS = "arguments"
"""The parameter of a remote task that has its parameters where they are a list and not an object."""
BUILT_IN = ("flow:", "resource:", "wait:", "request:", "redis:")
"""A name that begins so is never that of a remote task."""


def plan_of_text(text: str) -> Plan:
    """The checked plan of a text.

    A name that is registered runs as that program, any other is a remote task. Raises ArrowError for what is wrong with
    the text, InvalidPlanError for what its programs do not take; its problems name line and column.
    """
    return plan_of_graph(compile_text(text))


def plan_of_graph(graph: Graph) -> Plan:
    """The checked plan of a graph; raises InvalidPlanError as ``plan_of_text`` does."""
    plan = _Lowering(graph).plan()
    if problems := [_placed(graph, problem) for problem in islice(plan.problems(), MOST_PROBLEMS)]:
        raise InvalidPlanError(problems, plan.name)
    return plan


def _placed(graph: Graph, problem: Problem) -> Problem:
    """A problem that says where in the text its step stands."""
    step = graph.steps[problem.seq - 1] if problem.seq else None
    place = step.place if step is not None else None
    return (
        problem
        if place is None
        else replace(problem, message=f"line {place.line}, column {place.column}: {problem.message}")
    )


def no_program(name: str) -> str:
    """The sentence about a name that only a program of flowerapp's may have, and none has, with the cure."""
    if cure := _cure(name):
        return f"there is no program {name!r}{cure}"
    names = [program.name for program in programs.registered() if program.name.startswith(BUILT_IN)]
    kind = [one for one in names if one.partition(":")[0] == name.partition(":")[0]]
    near = get_close_matches(name, kind or names, 1, 0.0)
    return f"there is no program {name!r}" + "".join(f"; the nearest is {one}" for one in near)


class _Lowering:
    """Makes the nodes of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.refused: list[Problem] = []

    def plan(self) -> Plan:
        """The plan, which is not checked yet; raises InvalidPlanError for steps that cannot be one of its nodes."""
        start = self._start()
        nodes = [*start, *(self._node(step, rooted=bool(start)) for step in self.graph.steps)]
        if self.refused:
            raise InvalidPlanError([_placed(self.graph, problem) for problem in self.refused], self.name)
        return Plan(self.name, tuple(nodes), description=self.graph.doc)

    @property
    def name(self) -> str:
        """That of the text."""
        return self.graph.name or UNNAMED

    def _start(self) -> list[Node]:
        """A gate for the flow's start, where a step collects the flow's input beside outputs."""
        mixed = any(FLOW_START in step.depends_on for step in self.graph.steps)
        return [Node(seq=FLOW_START, program=GATE)] if mixed else []

    def _node(self, step: Step, *, rooted: bool) -> Node:
        depends_on = step.incoming if rooted else step.depends_on
        node = Node(seq=step.index, program=GATE, depends_on=depends_on, merge=step.merge, when=step.guard)
        return _MAKERS[step.kind](self, step, node)

    def _task(self, step: Step, node: Node) -> Node:
        alias = step.name if step.name != step.base else ""
        program = programs.find(step.base)
        if program is None and step.base.startswith(BUILT_IN):
            self._refuse(step, no_program(step.base))
        if program is None:
            return replace(self._remote(step, node), alias=alias)
        node = replace(node, program=program.name, parameters=self._parameters(step, program), alias=alias)
        return replace(node, program=EACH, child_program=program.name) if step.each else node

    def _remote(self, step: Step, node: Node) -> Node:
        parameters = step.parameters if isinstance(step.parameters, dict) else {ARGUMENTS: step.parameters}
        node = replace(node, program="", remote=step.base, parameters=parameters)
        return replace(node, program=EACH, child_program=REMOTE) if step.each else node

    def _parameters(self, step: Step, program: Program) -> Mapping[str, Any]:
        """A list gives the program's parameters in their order."""
        if isinstance(step.parameters, dict):
            return step.parameters
        names = list(program.fields)
        values = step.parameters if isinstance(step.parameters, list) else [step.parameters]
        if len(values) > len(names):
            self._refuse(step, f"{program.name} takes {len(names)} parameters, and {len(values)} are given")
        return dict(zip(names, values, strict=False))

    def _gate(self, step: Step, node: Node) -> Node:
        if step.each:
            self._refuse(step, "* before a subflow is not possible; name what runs for each item as a task")
        return replace(node, end=step.end)

    def _value(self, step: Step, node: Node) -> Node:
        return replace(node, program=VALUE, parameters={"value": step.parameters})

    def _load(self, step: Step, node: Node) -> Node:
        return replace(node, program=LOAD, parameters=self._addressed(step))

    def _store(self, step: Step, node: Node) -> Node:
        return replace(node, program=STORE, parameters=self._addressed(step))

    def _addressed(self, step: Step) -> Mapping[str, Any]:
        """The parameters of a resource with its address."""
        if isinstance(step.parameters, dict):
            return {**step.parameters, "uri": step.name}
        self._refuse(step, "the parameters of an address are an object, as in (- method: PUT -)")
        return {"uri": step.name}

    def _refuse(self, step: Step, message: str) -> None:
        self.refused.append(Problem(message, step.index))


def _cure(name: str) -> str:
    """What would make a program of a name."""
    if programs.find(name.lower()) is not None:
        return f"; write {name.lower()!r}"
    is_off = name.startswith(PREFIX) and not conf.get().REDIS_TASKS
    return "; FLOWER['REDIS_TASKS'] names no server for it" if is_off else ""


_MAKERS: Mapping[Kind, Callable[[_Lowering, Step, Node], Node]] = {
    Kind.TASK: _Lowering._task,
    Kind.START: _Lowering._gate,
    Kind.END: _Lowering._gate,
    Kind.VALUE: _Lowering._value,
    Kind.LOAD: _Lowering._load,
    Kind.STORE: _Lowering._store,
}
