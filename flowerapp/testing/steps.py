"""A program and the step that runs it, as far as the program says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowerapp import registry
from flowerapp.core.plan import Node
from flowerapp.workflows import Workflow, known_classes
from flowerapp.workflows.methods import Method, TaskMethod

ANY_CHILD = "any"
"""Child program of a program that is no method: its step, which is not known, may have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStep:
    """A program and the step that runs it."""

    program: str
    task_id: str = "test"
    """Name of the workflow."""
    task_seq: int = 1
    parent_seq: int | None = None
    """The step that added it, for a child."""
    child_program: str = ANY_CHILD


def step_of(program: Any, *, is_child: bool = False) -> ProgramStep:
    """The step of a function with ``@program``, of a method of a workflow class, of a Celery task, or of a name.

    Raises UnknownProgramError for a name that is not registered, and TypeError for anything else.
    """
    if isinstance(program, Method):
        return _of_method(program, *_owner_of(program))
    owner = type(getattr(program, "__self__", None))
    if issubclass(owner, Workflow):
        return _of_method(getattr(owner, program.__name__), owner)
    name = _name_of(program)
    in_class = _in_class(name)
    return in_class or ProgramStep(program=name, parent_seq=1 if is_child else None)


def _owner_of(method: Method) -> list[type[Workflow]]:
    """The workflow class that has the method; none for a class without ``task_id``."""
    return [cls for cls in known_classes() if getattr(cls, method.name, None) is method][:1]


def _of_method(method: Method, owner: type[Workflow] | None = None) -> ProgramStep:
    if owner is None or "task_id" not in vars(owner):
        own_child = isinstance(method, TaskMethod) and method.child_method is not None
        child_program = ANY_CHILD if own_child else ""
        parent_seq = None if isinstance(method, TaskMethod) else 1
        return ProgramStep(program=method.name, parent_seq=parent_seq, child_program=child_program)
    return _in_class(f"{owner.task_id}.{method.name}") or ProgramStep(program=method.name)


def _in_class(name: str) -> ProgramStep | None:
    """The step of a program of a workflow class; None for any other."""
    for cls in known_classes():
        for node in cls.plan().nodes:
            if name in (node.program, node.child_program):
                return _of_node(cls.task_id, node, name)
    return None


def _of_node(task_id: str, node: Node, name: str) -> ProgramStep:
    is_child = name == node.child_program
    return ProgramStep(
        program=name,
        task_id=task_id,
        task_seq=node.seq,
        parent_seq=node.seq if is_child else None,
        child_program="" if is_child else node.child_program,
    )


def _name_of(program: Any) -> str:
    if isinstance(program, str):
        return registry.get(program).name
    for entry in registry.registered():
        if program in (entry, entry.function):
            return entry.name
    name = getattr(program, "name", None)
    if isinstance(name, str):  # a Celery task
        return registry.get(name).name
    raise TypeError(f"{program!r} is no program: decorate it with @program or @task, or give the name of a program")
