"""What a text declares: the flow's name and bound of loops, and tasks with aliases, defaults, docs and subflows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowerapp.core.names import name_problems, part_problems, text_problems
from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.limits import MAX_ROUNDS
from flowerapp.workflows.arrow.syntax import Declaration, Document, Literal, Task

FLOW, TASK = "flow", "task"
ROUNDS = "max_rounds"
"""The parameter of ``@flow`` that bounds loops."""


@dataclass(slots=True)
class Declarations:
    """The declarations of a text, checked."""

    flow: Declaration | None = None
    """The last ``@flow``."""
    tasks: dict[str, Declaration] = field(default_factory=dict)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the flow."""
        literal = self.flow.parameters if self.flow else None
        return literal.value if literal else {}

    @property
    def max_rounds(self) -> int | None:
        """How often the first step of a loop may run; None if loops are not allowed."""
        rounds: int | None = self.parameters.get(ROUNDS)
        return rounds

    def of(self, task: Task) -> Declaration | None:
        """The declaration of a mentioned task; None without one."""
        return self.tasks.get(task.name)

    def subflow_of(self, task: Task) -> Declaration | None:
        """The declaration whose subflow runs in place of a task, perhaps by an alias; None for an ordinary task."""
        declaration = self.of(task)
        if declaration and declaration.alias:
            declaration = self.tasks.get(declaration.alias)
        return declaration if declaration and declaration.subflow else None


def read(document: Document) -> Declarations:
    """The declarations of a text; raises Failure at one that has no meaning."""
    result = Declarations()
    for item in document.items:
        if not isinstance(item, Declaration):
            continue
        for message in text_problems(item.doc or "", "the doc"):
            raise Failure(message, item.position)
        if item.kind == FLOW:
            _check_flow(item)
            result.flow = item
        elif item.kind == TASK:
            _check_task(item, result.tasks)
            result.tasks[item.name] = item
    return result


def _check_flow(flow: Declaration) -> None:
    for message in name_problems(flow.name, "the name of the flow"):
        raise Failure(message, flow.position)
    if flow.alias is not None:
        raise Failure("@flow takes no alias; only @task does", flow.alias_position)
    if flow.parameters is not None:
        _check_parameters(flow.parameters)


def _check_parameters(literal: Literal) -> None:
    if not isinstance(literal.value, dict):
        raise Failure("the parameters of @flow are an object, as in (- max_rounds: 10 -)", literal.position)
    rounds = literal.value.get(ROUNDS, 1)
    if type(rounds) is not int or not 1 <= rounds <= MAX_ROUNDS:
        raise Failure(f"{ROUNDS} must be a whole number from 1 to {MAX_ROUNDS}", literal.position)


def _check_task(task: Declaration, others: Mapping[str, Declaration]) -> None:
    if task.name in others:
        raise Failure(f"@task {task.name} is declared twice; drop one", task.position)
    for message in part_problems(task.alias or "", "the alias"):
        raise Failure(message, task.alias_position)
    if task.subflow is not None and task.alias is not None:
        raise Failure(f"@task {task.name} has an alias and a subflow; drop one of them", task.alias_position)
    if task.subflow is not None and task.parameters is not None:
        raise Failure(_no_parameters(task.name), task.parameters.position)


def _no_parameters(name: str) -> str:
    return f"{name} is a declared subflow, which takes no parameters; write them at the tasks in it"


def parameters_of(task: Task, declaration: Declaration | None) -> Any:
    """The parameters of a mention over the declared ones; by key for objects, where those of the mention win.

    An empty object changes nothing. Raises Failure for two different types.
    """
    defaults = declaration.parameters if declaration else None
    if defaults is None or task.parameters is None:
        literal = task.parameters or defaults
        return literal.value if literal else {}
    if task.parameters.value == {} and isinstance(task.parameters.value, dict):
        return defaults.value
    first, second = _type(defaults.value), _type(task.parameters.value)
    if first != second:
        sentence = f"the parameters of {task.name} are {second} and the declared ones {first}; use one type"
        raise Failure(sentence, task.parameters.position)
    return defaults.value | task.parameters.value if first == "an object" else task.parameters.value


def size_of(task: Task, declaration: Declaration | None) -> int:
    """About how many characters of JSON these parameters have."""
    literals = (task.parameters, declaration.parameters if declaration else None)
    return sum(literal.size for literal in literals if literal)


def check_no_parameters(task: Task) -> None:
    """Raise Failure if a mention of a declared subflow has parameters."""
    if task.parameters is not None:
        raise Failure(_no_parameters(task.name), task.parameters.position)


TYPES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _type(value: Any) -> str:
    return TYPES[type(value)]
