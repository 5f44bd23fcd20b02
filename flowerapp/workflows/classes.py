"""The front door of Python classes: a workflow as a class whose methods are its tasks."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from django.db import DatabaseError

from flowerapp import engine, registry, signals
from flowerapp.exceptions import FlowerError, InvalidPlanError, Problem
from flowerapp.models import Flow, TaskDefinition
from flowerapp.models import Workflow as Header
from flowerapp.plan import Node, Plan
from flowerapp.querysets.definitions import HEADER
from flowerapp.registry import Program
from flowerapp.workflows import rows
from flowerapp.workflows.methods import TaskMethod

logger = logging.getLogger(__name__)

END = "all_over"
"""What a task names as its ``next`` to say that none follows."""
LONGEST = 256
"""Characters of a program's name, and of a class's."""

Tasks = Mapping[str, TaskMethod]
Parameters = Mapping[int | str, Mapping[str, Any]]
"""Parameters by the name of a step, or by its ``task_seq``."""


class Workflow:
    """Base of workflow classes: methods with ``@task`` are the tasks, the docstring is the description.

    A class with a ``task_id`` of its own is a workflow; one without is a base for others. Methods named as in
    ``signals.HOOKS`` hear what happens in the workflow's flows.
    """

    task_id: ClassVar[str]
    unique: ClassVar[bool] = False
    """One flow at a time: registering again answers with the one that runs."""
    max_active_flows: ClassVar[int | None] = None
    """Flows that may go on at once; None has no limit."""
    entrance: ClassVar[str | None] = None
    """Name of the task to start at, unless a flow is registered with another."""

    _plan: ClassVar[Plan]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        tasks = _tasks_of(cls)
        if "task_id" in vars(cls):
            _add(cls, tasks)

    @classmethod
    def plan(cls) -> Plan:
        """The workflow as a plan; raises TypeError for a class without a ``task_id`` of its own."""
        if "_plan" not in vars(cls):
            raise TypeError(f"{cls.__qualname__} has no task_id of its own, so it is no workflow; give it one")
        return cls._plan

    @classmethod
    def store(cls) -> Plan:
        """Write the workflow's rows and settings, unless they are there already.

        Raises InvalidPlanError, and StateConflictError where people, or another class, have made the workflow.
        """
        plan, source = cls.plan(), source_of(cls)
        stored = Header.objects.filter(pk=plan.name).values_list("source", flat=True).first()
        if stored == source and _stored_plan(plan.name) == plan:
            return plan
        settings = {name: getattr(plan, name) for name in HEADER}
        return engine.define(plan.name, [_row(plan.name, node) for node in plan.nodes], settings, source=source)

    @classmethod
    def register(
        cls,
        *,
        input: Any = None,
        priority: int = 0,
        parameters: Parameters | None = None,
        entrance: int | str | None = None,
        idempotency_key: str | None = None,
        actor: str = "",
    ) -> Flow:
        """Store the workflow where needed and register a flow of it, as ``engine.register`` does.

        ``parameters`` and ``entrance`` name steps by method or by ``task_seq``. Raises what ``store`` and
        ``engine.register`` raise.
        """
        plan = cls.store()
        return engine.register(
            plan.name,
            input=input,
            priority=priority,
            parameters=_by_seq(plan, parameters or {}),
            entrance=entrance,
            idempotency_key=idempotency_key,
            actor=actor,
        )


_classes: dict[str, type[Workflow]] = {}


def known_classes() -> list[type[Workflow]]:
    """The workflow classes that this process has imported, by ``task_id``."""
    return [_classes[task_id] for task_id in sorted(_classes)]


def store_all() -> None:
    """Store all known classes; one that cannot be stored is logged, and the others are."""
    for each in known_classes():
        try:
            each.store()
        except (FlowerError, DatabaseError) as error:
            logger.error("the class %s was not stored: %s", source_of(each), error)


def source_of(cls: type[Workflow]) -> str:
    """What ``Workflow.source`` of the rows keeps of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


# From a class to its plan


def _tasks_of(cls: type) -> dict[str, TaskMethod]:
    """Tasks by name in the order written, those of bases first; an override keeps its place, None leaves one out."""
    found: dict[str, TaskMethod] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, TaskMethod):
                found[name] = value
            elif name in found and value is None:
                del found[name]
            elif name in found:
                cure = "decorate it with @task, or set it to None to leave the task out"
                raise TypeError(f"{base.__qualname__}.{name} hides a task of a base; {cure}")
    return found


def _add(cls: type[Workflow], tasks: Tasks) -> None:
    """Make the plan of a class, register its programs, and let its hooks hear."""
    _check_class(cls)
    _check_methods(cls, tasks)
    cls._plan = _plan_of(cls, tasks)
    for program in _programs_of(cls, tasks):
        registry.register(program)
    for hook in signals.HOOKS:
        if callable(getattr(cls, hook, None)):
            signals.listen(hook, cls.task_id, getattr(cls(), hook))
    _classes[cls.task_id] = cls


def _plan_of(cls: type[Workflow], tasks: Tasks) -> Plan:
    seqs = {name: seq for seq, name in enumerate(tasks, start=1)}
    edges = _edges_of(cls, tasks)
    nodes = [
        Node(
            seq=seqs[name],
            program=f"{cls.task_id}.{name}",
            depends_on=tuple(sorted(seqs[each] for each in edges[name])),
            name=name,
            child_program=f"{cls.task_id}.{method.child_method.name}" if method.child_method else "",
            **method.options.of_step,
        )
        for name, method in tasks.items()
    ]
    return Plan(
        cls.task_id,
        tuple(nodes),
        description=inspect.cleandoc(cls.__doc__ or ""),
        max_active_flows=cls.max_active_flows,
        unique=cls.unique,
        entrance=None if cls.entrance is None else seqs[cls.entrance],
    )


def _edges_of(cls: type[Workflow], tasks: Tasks) -> dict[str, set[str]]:
    """``{name: names it depends on}``: as the tasks say; where none says anything, in the order written."""
    if all(each.options.next is None and each.options.depends_on is None for each in tasks.values()):
        names = list(tasks)
        return {name: set(names[max(0, index - 1) : index]) for index, name in enumerate(names)}
    edges: dict[str, set[str]] = {name: set() for name in tasks}
    for name, method in tasks.items():
        for follower in method.options.next or ():
            if follower != END:
                _check_known(cls, tasks, follower, f"{name}: next")
                edges[follower].add(name)
        for needed in method.options.depends_on or ():
            _check_known(cls, tasks, needed, f"{name}: depends_on")
            edges[name].add(needed)
    return edges


def _programs_of(cls: type[Workflow], tasks: Tasks) -> Iterator[Program]:
    """A program for each task and each child method, bound to an instance of its own."""
    for name, method in tasks.items():
        for each in (name, method.child_method and method.child_method.name):
            if each:
                function: Callable[..., Any] = getattr(cls(), each)
                yield Program(name=f"{cls.task_id}.{each}", function=function, **method.options.of_program)


# What can be wrong with a class

_SETTINGS: dict[str, tuple[tuple[type, ...], str]] = {
    "task_id": ((str,), "text"),
    "unique": ((bool,), "True or False"),
    "max_active_flows": ((int, type(None)), "a whole number or None"),
    "entrance": ((str, type(None)), "the name of a task or None"),
}


def _check_class(cls: type[Workflow]) -> None:
    where, source = cls.__qualname__, source_of(cls)
    for name, (kinds, words) in _SETTINGS.items():
        if type(value := getattr(cls, name)) not in kinds:
            raise TypeError(f"{where}.{name} must be {words}, not {value!r}")
    if len(source) > LONGEST:
        raise ValueError(f"{source}: the name of a workflow class has at most {LONGEST} characters with its module's")
    other = _classes.get(cls.task_id)
    if other is not None and source_of(other) != source:
        both = f"{source_of(other)} and {source}"
        raise ValueError(f"task_id {cls.task_id!r} belongs to two classes, {both}; give one of them another")


def _check_methods(cls: type[Workflow], tasks: Tasks) -> None:
    where = cls.__qualname__
    if not tasks:
        raise ValueError(f"{where} has no tasks; decorate its methods with @task")
    for name in [*tasks, *(each.child_method.name for each in tasks.values() if each.child_method)]:
        if name in signals.HOOKS or hasattr(Workflow, name):
            raise ValueError(
                f"{where}.{name}: {name} has a meaning of its own in a workflow; give the task another name"
            )
        if len(f"{cls.task_id}.{name}") > LONGEST:
            raise ValueError(f"{where}.{name}: task_id and method name have over {LONGEST} characters; shorten one")
    if cls.entrance is not None:
        _check_known(cls, tasks, cls.entrance, "entrance")


def _check_known(cls: type[Workflow], tasks: Tasks, name: str, what: str) -> None:
    if name not in tasks:
        dot = "." if ":" in what else ": "
        raise ValueError(
            f"{cls.__qualname__}{dot}{what} names {name!r}, which is no task of the class; it has {', '.join(tasks)}"
        )


# From a plan to rows


def _row(task_id: str, node: Node) -> TaskDefinition:
    step = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    names = {"task_seq": node.seq, "task_priority": node.priority, "depends_on": list(node.depends_on)}
    return rows.row(task_id, {**step, **names})


def _stored_plan(task_id: str) -> Plan | None:
    """The plan of the rows; None where there are none, or SQL has made them unreadable."""
    try:
        return TaskDefinition.objects.plan(task_id)
    except InvalidPlanError:
        return None


def _by_seq(plan: Plan, parameters: Parameters) -> dict[int, dict[str, Any]]:
    seqs = {node.name: node.seq for node in plan.nodes}
    found: dict[int, dict[str, Any]] = {}
    for step, given in parameters.items():
        seq = seqs.get(step) if isinstance(step, str) else step
        if seq is None:
            sentence = f"parameters name {step!r}, which is no step of {plan.name!r}; it has {', '.join(seqs)}"
            raise InvalidPlanError([Problem(sentence, field="parameters")], plan.name)
        found[seq] = {**found.get(seq, {}), **given}
    return found
