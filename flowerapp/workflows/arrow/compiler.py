"""From a tree to a checked graph.

The steps of each subflow become a scope with edges (``scopes``), loops are unrolled (``unrolling``), and one walk over
the scopes gives each step its number, in reading order. Nothing here is recursive in the size of a text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flowerapp.workflows.arrow import declarations
from flowerapp.workflows.arrow.errors import TOO_DEEP, ArrowError, Failure
from flowerapp.workflows.arrow.graph import FLOW_START, Graph, Kind, Position, Step
from flowerapp.workflows.arrow.limits import MAX_EDGES, max_steps
from flowerapp.workflows.arrow.loops import SHOWN
from flowerapp.workflows.arrow.parser import parse
from flowerapp.workflows.arrow.scopes import Element, Scope, ScopeReader
from flowerapp.workflows.arrow.sizes import Sizes
from flowerapp.workflows.arrow.syntax import Document, Statement
from flowerapp.workflows.arrow.unrolling import Unroller


def compile_text(text: str) -> Graph:
    """The graph of a text; raises ArrowError with line and column at the first error."""
    return compile_document(parse(text))


def compile_document(document: Document) -> Graph:
    """The graph of a tree; raises ArrowError with line and column at the first error."""
    try:
        return _compiled(document)
    except Failure as failure:
        raise failure.in_text(document.text) from None
    except RecursionError:
        raise ArrowError(TOO_DEEP, document.text) from None


def _compiled(document: Document) -> Graph:
    statements = [item for item in document.items if isinstance(item, Statement)]
    if not statements:
        raise Failure("there are declarations only; write at least one step", len(document.text))
    declared, placed = declarations.read(document), Positions(document.text)
    reader, unroller, root = ScopeReader(declared), Unroller(declared.max_rounds, placed), Scope(end=len(document.text))
    for scope in [*reader.fill_declared(), *reader.fill(root, statements)]:
        unroller.unroll(scope)
    flow = declared.flow
    steps = tuple(Numbering(placed).steps(root))
    return Graph(
        steps=steps, name=flow.name if flow else "", doc=(flow and flow.doc) or "", parameters=declared.parameters
    )


class Positions:
    """Lines and columns of positions in a text."""

    def __init__(self, text: str) -> None:
        self.starts = [0, *(index + 1 for index, char in enumerate(text) if char == "\n")]

    def __call__(self, position: int) -> Position:
        line = bisect_right(self.starts, position)
        return Position(line, position - self.starts[line - 1] + 1)


@dataclass(slots=True)
class Frame:
    """A scope whose elements are being numbered."""

    scope: Scope
    start: int
    owner: Element
    """The element of the scope around it, or one that stands for the flow."""
    remaining: Iterator[Element]
    first: dict[Element, int] = field(default_factory=dict)
    """The number of each element; of a subflow that of its start."""
    last: dict[Element, int] = field(default_factory=dict)
    """The number whose output is that of an element; of a subflow that of its end."""

    def incoming(self, elements: Iterable[Element | None]) -> tuple[int, ...]:
        """The numbers of these elements' outputs, without the flow's start where it stands alone."""
        numbers = sorted(self.last[element] if element else self.start for element in elements)
        return () if numbers == [FLOW_START] else tuple(numbers)


@dataclass(slots=True)
class Numbering:
    """Numbers the steps of a flow in one walk."""

    placed: Positions
    numbered: list[tuple[Element, Kind]] = field(default_factory=list)
    """The element of each number, from 1; the end of a subflow has that of its start."""
    depends_on: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    """``{number of a subflow's start: number of its end}``."""
    frames: list[Frame] = field(default_factory=list)
    open: set[Scope] = field(default_factory=set)
    """The scopes of ``frames``."""
    sizes: Sizes = field(default_factory=Sizes)
    edges: int = 0

    def steps(self, root: Scope) -> Iterator[Step]:
        """The steps, in order of their numbers."""
        self._enter(Element(kind=Kind.START, position=root.end, scope=root), root, FLOW_START)
        while self.frames:
            element = next(self.frames[-1].remaining, None)
            if element is None:
                self._close()
            else:
                self._number(element)
        return (self._step(index, *item) for index, item in enumerate(self.numbered, 1))

    def _enter(self, owner: Element, scope: Scope, start: int) -> None:
        if scope in self.open:
            raise _recursion(self.frames, owner, scope)
        self.open.add(scope)
        self.frames.append(Frame(scope, start, owner, iter(scope.elements)))

    def _number(self, element: Element) -> None:
        frame, index = self.frames[-1], self._next(element, element.kind)
        self.sizes.add(element.size, element.position)
        frame.first[element] = index
        if element.scope is None:
            frame.last[element] = index
        else:
            self._enter(element, element.scope, index)

    def _next(self, element: Element, kind: Kind) -> int:
        self.numbered.append((element, kind))
        if len(self.numbered) > max_steps():
            sentence = f"the flow has more than {max_steps():,} steps (FLOWER['MAX_TASKS'])"
            raise Failure(sentence, element.position)
        return len(self.numbered)

    def _close(self) -> None:
        """The end of a scope: all numbers in it are assigned."""
        frame = self.frames.pop()
        self.open.remove(frame.scope)
        end = self._next(frame.owner, Kind.END)
        for element in frame.scope.elements:
            self._connect(frame.first[element], frame.incoming(frame.scope.before[element]), element)
        self._connect(end, frame.incoming(frame.scope.last), frame.owner)
        if self.frames:
            self.ends[frame.start] = end
            self.frames[-1].last[frame.owner] = end

    def _connect(self, index: int, incoming: tuple[int, ...], element: Element) -> None:
        self.depends_on[index] = incoming
        self.edges += len(incoming)
        if self.edges > MAX_EDGES:
            raise Failure(f"the flow has more than {MAX_EDGES:,} edges", element.position)

    def _step(self, index: int, element: Element, kind: Kind) -> Step:
        if kind is Kind.END and element.scope:
            merge, place, depends_on = element.scope.merge, self.placed(element.scope.end), self.depends_on[index]
            return Step(index=index, kind=kind, name=element.name, merge=merge, depends_on=depends_on, place=place)
        return Step(
            index=index,
            kind=kind,
            name=element.name,
            base=element.base,
            parameters=element.parameters,
            doc=element.doc,
            merge=element.merge,
            guard=element.guard,
            each=element.each,
            depends_on=self.depends_on[index],
            end=self.ends.get(index),
            place=self.placed(element.position),
        )


def _recursion(frames: list[Frame], element: Element, scope: Scope) -> Failure:
    """The failure of a declared subflow that contains itself, with its path."""
    depth = next(number for number, frame in enumerate(frames) if frame.scope is scope)
    names = [frame.owner.name for frame in frames[depth:] if frame.owner.name]
    path = " → ".join([*names[:SHOWN], *(["…"] if len(names) > SHOWN else []), element.name])
    return Failure(f"the declared subflow contains itself: {path}; take one of these mentions out", element.position)
