"""The steps of a flow or subflow with the edges between them: statements joined, and labels resolved.

Labels do not cross braces, so each subflow is a scope of its own, and one element of the scope around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from flowerapp.core.expressions import ExpressionError
from flowerapp.core.expressions.conditions import condition
from flowerapp.core.names import part_problems, text_problems, unseen_problems
from flowerapp.workflows.arrow import declarations
from flowerapp.workflows.arrow.declarations import Declarations
from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.graph import Kind
from flowerapp.workflows.arrow.limits import MAX_EDGES
from flowerapp.workflows.arrow.sizes import Sizes
from flowerapp.workflows.arrow.syntax import (
    END,
    START,
    Destination,
    Guard,
    Label,
    Literal,
    Resource,
    Statement,
    Step,
    Subflow,
    Task,
    TaskList,
)


@dataclass(eq=False, slots=True, kw_only=True)
class Element:
    """A step before it has a number. A subflow is one element, of the kind START."""

    kind: Kind
    position: int
    name: str = ""
    base: str = ""
    parameters: Any = field(default_factory=dict)
    size: int = 0
    """About how many characters of JSON the parameters have."""
    doc: str = ""
    merge: bool = False
    guard: str = ""
    each: bool = False
    scope: Scope | None = field(default=None, repr=False)
    """What is in a subflow."""


Before = dict[Element, dict[Element | None, None]]
"""``{element: elements whose outputs it collects}``; None is where the scope starts. The inner dicts serve as ordered
sets."""


@dataclass(eq=False, slots=True)
class Scope:
    """A flow or subflow."""

    elements: list[Element] = field(default_factory=list)
    """In reading order."""
    before: Before = field(default_factory=dict)
    last: dict[Element, None] = field(default_factory=dict)
    """The elements whose outputs the end collects."""
    merge: bool = False
    """Whether the end merges what it collects."""
    end: int = 0
    """Where the end stands in the text."""

    def add(self, element: Element) -> Element:
        """Append an element without edges."""
        self.elements.append(element)
        self.before[element] = {}
        return element

    def connect(self, before: Element | None, element: Element) -> None:
        """An edge; the same one twice is one."""
        self.before[element][before] = None


@dataclass(slots=True)
class _Labels:
    """The labels of one scope."""

    outputs: dict[str, Element] = field(default_factory=dict)
    inputs: dict[str, Element] = field(default_factory=dict)
    sources: list[tuple[Label, Element]] = field(default_factory=list)
    """Labels that statements begin with, each with the element that they lead to."""
    destinations: list[tuple[Label, bool, Element]] = field(default_factory=list)
    """Labels that statements end with, each with whether it merges and the element that leads to it."""

    def name(self, step: Step, element: Element) -> None:
        """Take the labels of a step."""
        for label, names, what in (
            (step.input_label, self.inputs, "input"),
            (step.output_label, self.outputs, "output"),
        ):
            if label is None:
                continue
            if label.name in {START, END}:
                sentence = f"the label :{label.name} is reserved; it stands alone, as in :start → A or A → :end"
                raise Failure(sentence, label.position)
            if names.setdefault(label.name, element) is not element:
                sentence = f"two steps of the same flow or subflow have the {what} label :{label.name}; rename one"
                raise Failure(sentence, label.position)


class ScopeReader:
    """Makes the scopes of statements; those of declared subflows are shared by all mentions."""

    def __init__(self, declared: Declarations) -> None:
        self.declarations = declared
        self.scopes = {name: Scope(end=task.subflow.end) for name, task in declared.tasks.items() if task.subflow}
        """The scopes of declared subflows, which are filled by ``fill_declared``."""
        self.checked: set[str] = set()
        self.sizes = Sizes()
        self.meetings = 0
        """The edges of labels so far, which can be many more than there are labels."""

    def fill_declared(self) -> Iterator[Scope]:
        """Read the declared subflows; gives each scope and those within it."""
        for name, scope in self.scopes.items():
            subflow = self.declarations.tasks[name].subflow
            if subflow:
                yield from self.fill(scope, subflow.statements)

    def fill(self, scope: Scope, statements: Iterable[Statement]) -> Iterator[Scope]:
        """Read statements into a scope; gives the scopes of its subflows, and then the scope itself."""
        labels = _Labels()
        for statement in statements:
            yield from self._statement(scope, labels, statement)
        self._resolve(scope, labels)
        yield scope

    def _statement(self, scope: Scope, labels: _Labels, statement: Statement) -> Iterator[Scope]:
        elements = []
        if isinstance(statement.source, (Literal, Resource)):
            elements.append(scope.add(_source(statement.source)))
        for step in statement.steps:
            element = scope.add(self._element(step))
            labels.name(step, element)
            elements.append(element)
            yield from self._inner(element, step)
        destination = statement.destination
        if destination and isinstance(destination.target, Resource):
            elements.append(scope.add(_store(destination.target, destination.merge)))
        _begin(scope, labels, statement, elements[0])
        for before, element in pairwise(elements):
            scope.connect(before, element)
        _finish(scope, labels, destination, elements[-1])

    def _inner(self, element: Element, step: Step) -> Iterator[Scope]:
        """Read what is in a step that is a list or subflow."""
        if isinstance(step.body, TaskList) and element.scope:
            statements = [Statement((Step(task, position=task.position),)) for task in step.body.tasks]
            yield from self.fill(element.scope, statements)
        elif isinstance(step.body, Subflow) and element.scope:
            yield from self.fill(element.scope, step.body.statements)

    def _element(self, step: Step) -> Element:
        body = step.body
        element = self._task(body) if isinstance(body, Task) else _group(body)
        element.merge, element.each = step.merge, step.each
        if step.guard is not None:
            element.guard = _checked(step.guard)
        return element

    def _task(self, task: Task) -> Element:
        self._check_name(task.name, task.position)
        declaration, subflow = self.declarations.of(task), self.declarations.subflow_of(task)
        doc = (declaration and declaration.doc) or (subflow and subflow.doc) or ""
        if subflow:
            declarations.check_no_parameters(task)
            return Element(
                kind=Kind.START, position=task.position, name=task.name, doc=doc, scope=self.scopes[subflow.name]
            )
        size = declarations.size_of(task, declaration)
        self.sizes.add(size, task.position)
        return Element(
            kind=Kind.TASK,
            position=task.position,
            name=task.name,
            base=(declaration and declaration.alias) or task.name,
            doc=doc,
            parameters=declarations.parameters_of(task, declaration),
            size=size,
        )

    def _resolve(self, scope: Scope, labels: _Labels) -> None:
        """The edges of the labels of a whole scope, so that the order of its statements does not matter."""
        inputs: dict[str, list[Element]] = {name: [element] for name, element in labels.inputs.items()}
        delivered = {label.name for label, _, _ in labels.destinations}
        for label, element in labels.sources:
            if label.name in labels.outputs:
                scope.connect(labels.outputs[label.name], element)
            elif label.name in delivered:
                inputs.setdefault(label.name, []).append(element)
            else:
                raise _unknown("output", label, labels.inputs, f"a label behind a step, as in A :{label.name}")
        for label, merge, element in labels.destinations:
            if label.name not in inputs:
                raise _unknown("input", label, labels.outputs, f"a label before a step, as in :{label.name} A")
            self._count(len(inputs[label.name]), label)
            for follower in inputs[label.name]:
                scope.connect(element, follower)
                follower.merge = follower.merge or merge
        for name, element in labels.inputs.items():
            if name in labels.outputs:
                scope.connect(labels.outputs[name], element)

    def _count(self, edges: int, label: Label) -> None:
        self.meetings += edges
        if self.meetings > MAX_EDGES:
            raise Failure(f"the labels give more than {MAX_EDGES:,} edges", label.position)

    def _check_name(self, name: str, position: int) -> None:
        if name not in self.checked:
            for message in part_problems(name, "the name"):
                raise Failure(message, position)
            self.checked.add(name)


def _group(body: TaskList | Subflow) -> Element:
    end = body.end if isinstance(body, Subflow) else body.tasks[-1].position
    return Element(kind=Kind.START, position=body.position, scope=Scope(end=end))


def _checked(guard: Guard) -> str:
    """The text of a guard that can be read."""
    for message in text_problems(guard.text, "the guard"):
        raise Failure(message, guard.position)
    try:
        return condition(guard.text).text
    except ExpressionError as error:
        raise Failure(f"the guard cannot be read: {error.message}", guard.position + error.position) from None


def _source(source: Literal | Resource) -> Element:
    if isinstance(source, Literal):
        return Element(kind=Kind.VALUE, position=source.position, parameters=source.value, size=source.size)
    return _resource(Kind.LOAD, source)


def _store(resource: Resource, merge: bool) -> Element:
    element = _resource(Kind.STORE, resource)
    element.merge = merge
    return element


def _resource(kind: Kind, resource: Resource) -> Element:
    for message in unseen_problems(resource.uri, "the address"):
        raise Failure(message, resource.position)
    literal = resource.parameters or Literal({})
    return Element(
        kind=kind, position=resource.position, name=resource.uri, parameters=literal.value, size=literal.size
    )


# Where statements begin and end


def _begin(scope: Scope, labels: _Labels, statement: Statement, first: Element) -> None:
    label = statement.source
    if not isinstance(label, Label) or label.name == START:
        scope.connect(None, first)
    elif label.name == END:
        raise Failure("a statement cannot begin with :end, which is where the others end", label.position)
    else:
        labels.sources.append((label, first))


def _finish(scope: Scope, labels: _Labels, destination: Destination | None, last: Element) -> None:
    target = destination.target if destination else None
    if destination is None or not isinstance(target, Label):
        scope.last[last] = None
    elif target.name == END:
        scope.last[last] = None
        scope.merge = scope.merge or destination.merge
    elif target.name == START:
        sentence = "a statement cannot lead to :start; for a loop, label the first step, as in :a A → ? `…` B → :a"
        raise Failure(sentence, target.position)
    else:
        labels.destinations.append((target, destination.merge, last))


def _unknown(what: str, label: Label, others: dict[str, Element], advice: str) -> Failure:
    other = "an input" if what == "output" else "an output"
    beside = f"; there is {other} of that name, but " if label.name in others else "; "
    sentence = f"no step of this flow or subflow has the {what} label :{label.name}{beside}{advice}, makes one"
    return Failure(sentence, label.position)
