"""The compiled form of littleflow, as its REST answers and archives carry it, from a graph and back.

``{"F": matrix, "T": nodes}``: ``F[i][j]`` is 1 for an edge from node ``i`` to node ``j``, and each node is
``[class, fields]``. Node 0 is the flow's start, the last its end. What littleflow cannot express has fields of its own:
``each``, and ``uri`` and ``parameters`` of a resource, whose classes are ``Source`` and ``Sink``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowerapp.core import graph as graphs
from flowerapp.core import values
from flowerapp.core.expressions import ExpressionError, condition
from flowerapp.core.names import part_problems
from flowerapp.exceptions import InvalidValueError
from flowerapp.workflows.arrow.graph import FLOW_START, Graph, Kind, Step

MAX_NODES = 2_000
"""Most nodes of a compiled form, whose matrix grows with the square of their number."""

Form = dict[str, Any]
Fields = Mapping[str, Any]


def compiled_form(graph: Graph) -> Form:
    """The compiled form of a graph; raises InvalidValueError for one with more than ``MAX_NODES`` nodes."""
    size = len(graph.steps) + 1
    _check_size(size)
    matrix = [[0] * size for _ in range(size)]
    for before, index in graph.edges:
        matrix[before][index] = 1
    nodes: list[list[Any]] = [["StartFlow", {"index": FLOW_START}]]
    nodes += [[CLASSES[step.kind], {"index": step.index, **FIELDS[step.kind](step)}] for step in graph.steps]
    return {"F": matrix, "T": nodes}


def _check_size(size: int) -> None:
    if size > MAX_NODES:
        raise InvalidValueError(f"the compiled form has {size:,} nodes; the limit is {MAX_NODES:,}")


CLASSES = {
    Kind.TASK: "InvokeTask",
    Kind.START: "InvokeFlow",
    Kind.END: "Sink",
    Kind.VALUE: "Source",
    Kind.LOAD: "Source",
    Kind.STORE: "Sink",
}


def _task_fields(step: Step) -> Form:
    return {
        "name": step.name,
        "parameters": step.parameters,
        "base": step.base if step.base != step.name else None,
        "doc": step.doc or None,
        **_input_fields(step),
    }


def _input_fields(step: Step) -> Form:
    return {"merge": step.merge, "guard": step.guard or None, **({"each": True} if step.each else {})}


FIELDS: dict[Kind, Callable[[Step], Form]] = {
    Kind.TASK: _task_fields,
    Kind.START: lambda step: {"end": step.end, **_input_fields(step)},
    Kind.END: lambda step: {"merge": step.merge},
    Kind.VALUE: lambda step: {"value": step.parameters},
    Kind.LOAD: lambda step: {"value": None, "uri": step.name, "parameters": step.parameters},
    Kind.STORE: lambda step: {"merge": step.merge, "uri": step.name, "parameters": step.parameters},
}
"""What each kind of step has in its node, besides the index."""


# Back to a graph


def from_compiled_form(form: Mapping[str, Any]) -> Graph:
    """The graph of a compiled form, without places and names of declared subflows.

    Raises InvalidValueError that names the node, for a form that is none or has edges in a cycle.
    """
    nodes = _nodes(form.get("T"))
    incoming = _incoming(form.get("F"), len(nodes))
    ends = _ends(nodes)
    steps = [_step(index, *nodes[index], incoming[index], ends.get(index)) for index in range(1, len(nodes))]
    _check_order(steps)
    return Graph(steps=tuple(steps))


def _refused(what: str) -> InvalidValueError:
    return InvalidValueError(f"the compiled form cannot be used: {what}")


def _nodes(nodes: Any) -> list[tuple[str, Fields]]:
    if not isinstance(nodes, list) or len(nodes) < 2:
        raise _refused("T must be a list of nodes")
    _check_size(len(nodes))
    for index, node in enumerate(nodes):
        if not (isinstance(node, list) and len(node) == 2 and isinstance(node[1], dict)):
            raise _refused(f"node {index} must be a list of its class and its fields")
        name, fields = node
        if name not in {*CLASSES.values(), "StartFlow"} or (name == "StartFlow") != (index == 0):
            raise _refused(f"node {index} cannot be of the class {name!r}")
        if type(fields.get("index")) is not int or fields["index"] != index:
            raise _refused(f"node {index} has another index")
    return [(name, fields) for name, fields in nodes]


def _incoming(matrix: Any, size: int) -> list[tuple[int, ...]]:
    """The nodes that lead to each node."""
    if not isinstance(matrix, list) or len(matrix) != size:
        raise _refused("F must have a row for each node")
    for index, row in enumerate(matrix):
        if not isinstance(row, list) or len(row) != size or any(cell not in (0, 1) for cell in row):
            raise _refused(f"row {index} of F must have a 0 or 1 for each node")
    incoming = [tuple(before for before in range(size) if matrix[before][index]) for index in range(size)]
    if incoming[0] or any(matrix[-1]):
        raise _refused("no edge may lead to node 0 or from the last")
    for index in range(1, size):
        if not incoming[index]:
            raise _refused(f"no edge leads to node {index}")
    return incoming


def _ends(nodes: Sequence[tuple[str, Fields]]) -> dict[int, int]:
    """``{node where a subflow starts: node where it ends}``, from the order of the nodes."""
    ends: dict[int, int] = {}
    waiting = [FLOW_START]
    for index, (name, fields) in enumerate(nodes):
        if not waiting:
            raise _refused(f"node {index} stands behind the end of the flow")
        if name == "InvokeFlow":
            waiting.append(index)
        elif name == "Sink" and "uri" not in fields:
            ends[waiting.pop()] = index
    if waiting:
        raise _refused(f"what starts at node {waiting[-1]} has no end")
    for start, end in ends.items():
        if nodes[start][1].get("end", end) != end:
            raise _refused(f"the subflow that starts at node {start} ends at node {end}")
    return ends


def _step(index: int, name: str, fields: Fields, incoming: tuple[int, ...], end: int | None) -> Step:
    read = _Reader(index, fields)
    uri = read.text("uri")
    kind = next(kind for kind, other in CLASSES.items() if other == name and (kind in RESOURCES) == bool(uri))
    task_name = read.text("name") if kind is Kind.TASK else uri
    if kind is Kind.TASK and not task_name:
        raise _refused(f"node {index} has no name")
    return Step(
        index=index,
        kind=kind,
        name=task_name,
        base=(read.text("base") or task_name) if kind is Kind.TASK else "",
        parameters=read.value("value" if kind is Kind.VALUE else "parameters"),
        doc=read.text("doc"),
        merge=read.flag("merge"),
        guard=read.guard(),
        each=read.flag("each"),
        depends_on=() if incoming == (FLOW_START,) else incoming,
        end=end,
    )


RESOURCES = {Kind.LOAD, Kind.STORE}


class _Reader:
    """Reads the fields of a node, which may be missing or null."""

    def __init__(self, index: int, fields: Fields) -> None:
        self.index = index
        self.fields = fields

    def text(self, name: str) -> str:
        """A text; empty if there is none."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            raise _refused(f"{name} of node {self.index} must be text")
        for problem in part_problems(value, name) if value and name in {"name", "base"} else ():
            raise _refused(f"node {self.index}: {problem}")
        return value or ""

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.fields.get(name, False)
        if not isinstance(value, bool):
            raise _refused(f"{name} of node {self.index} must be true or false")
        return value

    def value(self, name: str) -> Any:
        """A JSON value, ``{}`` if the field is missing."""
        return values.check(self.fields.get(name, {}), f"{name} of node {self.index}")

    def guard(self) -> str:
        """A condition that can be read, or an empty text."""
        text = self.text("guard")
        try:
            return condition(text).text if text else ""
        except ExpressionError as error:
            raise _refused(f"the guard of node {self.index}: {error.message}") from None


def _check_order(steps: Sequence[Step]) -> None:
    try:
        graphs.order({step.index: step.depends_on for step in steps})
    except graphs.CycleError as error:
        raise _refused(f"the edges form a cycle: {error}") from None
