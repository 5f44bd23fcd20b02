"""The front door for Python: a workflow is a class, and its methods with ``@task`` are the tasks."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from django.db import DatabaseError

from flowerapp import engine, registry, signals
from flowerapp.core import logs
from flowerapp.core.plan import Node, Plan
from flowerapp.engine.register import add_store
from flowerapp.exceptions import FlowerError, InvalidPlanError, Problem
from flowerapp.models import Flow, TaskDefinition
from flowerapp.models import Workflow as Header
from flowerapp.querysets.definitions import HEADER
from flowerapp.registry import Program
from flowerapp.workflows import rows
from flowerapp.workflows.methods import TaskMethod

logger = logs.logger(__name__)

END = "all_over"
"""A task whose ``next`` is this name has no followers."""
LONGEST = 256
"""Most characters of a program's name, and of a class's dotted path."""

Tasks = Mapping[str, TaskMethod]
Parameters = Mapping[int | str, Mapping[str, Any]]
"""``{name or task_seq of a step: {parameter: value}}``."""


class Workflow:
    """Base class of workflows: methods with ``@task`` are the tasks, the docstring is the description.

    A subclass that sets ``task_id`` is a workflow; a subclass that does not is a base class for others. A method named
    after a hook (``signals.HOOKS``) is called with each event of that hook in the workflow's flows.
    """

    task_id: ClassVar[str]
    """The workflow's name."""
    unique: ClassVar[bool] = False
    """Whether the workflow has one active flow at most: registering returns that flow if there is one."""
    max_active_flows: ClassVar[int | None] = None
    """Most flows that are active at once; None means no limit."""
    entrance: ClassVar[str | None] = None
    """Name of the task where a flow starts, unless it is registered with another; None means the tasks without
    dependencies."""
    start_event: ClassVar[str] = ""
    """Kind of the events that start a flow each, with their data as its input; empty for none."""
    start_match: ClassVar[dict[str, Any] | None] = None
    """Members that such an event must have, JSON; None for any event of the kind."""

    _plan: ClassVar[Plan]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        tasks = _tasks_of(cls)
        if "task_id" in vars(cls):
            _add(cls, tasks)

    @classmethod
    def plan(cls) -> Plan:
        """The plan of the workflow; raises TypeError for a class that does not set ``task_id`` itself."""
        if "_plan" not in vars(cls):
            raise TypeError(f"{cls.__qualname__} has no task_id of its own, so it is not a workflow; set one")
        return cls._plan

    @classmethod
    def store(cls) -> Plan:
        """Store the workflow's rows and settings unless the stored ones are the same; returns the plan.

        Raises InvalidPlanError, and StateConflictError if the workflow was stored by a user or by another class.
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
        may_override: engine.MayOverride = engine.MayOverride.ANY,
    ) -> Flow:
        """Store the workflow if needed, and register and return a flow of it.

        The arguments are those of ``engine.register``; ``parameters`` may name a step by its method too. Raises what
        ``store`` and ``engine.register`` raise.
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
            may_override=may_override,
        )


_classes: dict[str, type[Workflow]] = {}


def known_classes() -> list[type[Workflow]]:
    """The workflow classes that this process has imported, sorted by ``task_id``."""
    return [_classes[task_id] for task_id in sorted(_classes)]


def store_named(task_id: str) -> Plan | None:
    """Store the imported class of that ``task_id``, and return its plan; None if there is none."""
    cls = _classes.get(task_id)
    return cls.store() if cls else None


add_store(store_named)


def store_all() -> None:
    """Store all imported workflow classes; a class that cannot be stored is logged and does not stop the others."""
    for cls in known_classes():
        try:
            cls.store()
        except (FlowerError, DatabaseError) as error:
            logger.error("the class %s was not stored: %s", source_of(cls), error)


def source_of(cls: type[Workflow]) -> str:
    """The dotted path of a class, which the column ``source`` of its ``ms_workflow`` row holds."""
    return f"{cls.__module__}.{cls.__qualname__}"


# From a class to its plan


def _tasks_of(cls: type) -> dict[str, TaskMethod]:
    """``{name: task}`` in the order of definition, base classes first.

    A subclass that overrides a task keeps its position; one that sets it to None removes it. Raises TypeError if a task
    is overridden with anything else.
    """
    tasks: dict[str, TaskMethod] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, TaskMethod):
                tasks[name] = value
            elif name in tasks and value is None:
                del tasks[name]
            elif name in tasks:
                remedy = "decorate it with @task, or set it to None to leave the task out"
                raise TypeError(f"{base.__qualname__}.{name} hides a task of a base class; {remedy}")
    return tasks


def _add(cls: type[Workflow], tasks: Tasks) -> None:
    """Check a class, make its plan, register its programs, and connect its hook methods."""
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
            depends_on=tuple(sorted(seqs[dependency] for dependency in edges[name])),
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
        start_event=cls.start_event,
        start_match=cls.start_match,
    )


def _edges_of(cls: type[Workflow], tasks: Tasks) -> dict[str, set[str]]:
    """``{name: names it depends on}``, from the tasks' ``next`` and ``depends_on``; if no task has either, a chain in
    the order of definition."""
    if all(method.options.next is None and method.options.depends_on is None for method in tasks.values()):
        names = list(tasks)
        return {name: set(names[max(0, index - 1) : index]) for index, name in enumerate(names)}
    edges: dict[str, set[str]] = {name: set() for name in tasks}
    for name, method in tasks.items():
        for follower in method.options.next or ():
            if follower != END:
                _check_is_task(cls, tasks, follower, f"{name}: next")
                edges[follower].add(name)
        for dependency in method.options.depends_on or ():
            _check_is_task(cls, tasks, dependency, f"{name}: depends_on")
            edges[name].add(dependency)
    return edges


def _programs_of(cls: type[Workflow], tasks: Tasks) -> Iterator[Program]:
    """A program for each task and each child method, each bound to a new instance of the class."""
    for name, method in tasks.items():
        for method_name in (name, method.child_method and method.child_method.name):
            if method_name:
                function: Callable[..., Any] = getattr(cls(), method_name)
                yield Program(name=f"{cls.task_id}.{method_name}", function=function, **method.options.of_program)


# Checks of a class

_SETTINGS: dict[str, tuple[tuple[type, ...], str]] = {
    "task_id": ((str,), "text"),
    "unique": ((bool,), "True or False"),
    "max_active_flows": ((int, type(None)), "a whole number or None"),
    "entrance": ((str, type(None)), "the name of a task or None"),
    "start_event": ((str,), "text"),
    "start_match": ((dict, type(None)), "a dict or None"),
}


def _check_class(cls: type[Workflow]) -> None:
    where, source = cls.__qualname__, source_of(cls)
    for name, (kinds, words) in _SETTINGS.items():
        if type(value := getattr(cls, name)) not in kinds:
            raise TypeError(f"{where}.{name} must be {words}, not {value!r}")
    if len(source) > LONGEST:
        raise ValueError(f"{source}: the dotted path of a workflow class has at most {LONGEST} characters")
    other = _classes.get(cls.task_id)
    if other is not None and source_of(other) != source:
        both = f"{source_of(other)} and {source}"
        raise ValueError(f"task_id {cls.task_id!r} belongs to two classes, {both}; change one of them")


def _check_methods(cls: type[Workflow], tasks: Tasks) -> None:
    where = cls.__qualname__
    if not tasks:
        raise ValueError(f"{where} has no tasks; decorate its methods with @task")
    for name in [*tasks, *(method.child_method.name for method in tasks.values() if method.child_method)]:
        if name in signals.HOOKS or hasattr(Workflow, name):
            raise ValueError(f"{where}.{name}: {name} is reserved in a workflow class; give the task another name")
        if len(f"{cls.task_id}.{name}") > LONGEST:
            raise ValueError(f"{where}.{name}: task_id and method name have over {LONGEST} characters; shorten one")
    if cls.entrance is not None:
        _check_is_task(cls, tasks, cls.entrance, "entrance")


def _check_is_task(cls: type[Workflow], tasks: Tasks, name: str, what: str) -> None:
    if name not in tasks:
        dot = "." if ":" in what else ": "
        raise ValueError(
            f"{cls.__qualname__}{dot}{what} names {name!r}, which is not a task of the class; it has {', '.join(tasks)}"
        )


# From a plan to rows


def _row(task_id: str, node: Node) -> TaskDefinition:
    step = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    names = {"task_seq": node.seq, "task_priority": node.priority, "depends_on": list(node.depends_on)}
    return rows.row(task_id, {**step, **names})


def _stored_plan(task_id: str) -> Plan | None:
    """The plan of the stored rows; None if there are none, or if rows written by SQL cannot be read."""
    try:
        return TaskDefinition.objects.plan(task_id)
    except InvalidPlanError:
        return None


def _by_seq(plan: Plan, parameters: Parameters) -> dict[int, dict[str, Any]]:
    """``{task_seq: parameters}``; raises InvalidPlanError for a name that is not a step's."""
    seqs = {node.name: node.seq for node in plan.nodes}
    result: dict[int, dict[str, Any]] = {}
    for step, overrides in parameters.items():
        seq = seqs.get(step) if isinstance(step, str) else step
        if seq is None:
            sentence = f"parameters name {step!r}, which is not a step of {plan.name!r}; it has {', '.join(seqs)}"
            raise InvalidPlanError([Problem(sentence, field="parameters")], plan.name)
        result[seq] = {**result.get(seq, {}), **overrides}
    return result
