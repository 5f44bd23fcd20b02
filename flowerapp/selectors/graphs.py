"""The graph of a flow, for drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from django.db.models import Case, Count, Func, IntegerField, Sum, When, Window

from flowerapp.drawing.parts import MOST_EDGES, MOST_STEPS, View
from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Task
from flowerapp.selectors import counts
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.naming import LABEL
from flowerapp.selectors.status_style import waited_for
from flowerapp.states import Status

MOST_READ = 500
"""Steps that are read of a graph that is too large to be read as a whole."""


class Step(NamedTuple):
    """A step with what it depends on."""

    seq: int
    name: str
    program: str
    status: Status
    ignored_by: str
    depends_on: list[int]
    children: Counts | None = None
    """Of those that it has added; None without any."""
    cached: bool = False
    """Whether it took the output that another task had stored."""
    waits: str = ""
    """What it waits for, of a wait that has begun."""


class _Length(Func):
    """Number of entries of a list that is stored as JSON."""

    output_field = IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """As PostgreSQL names it."""
        return self.as_sql(compiler, connection, function="JSONB_ARRAY_LENGTH", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """As SQLite names it."""
        return self.as_sql(compiler, connection, function="JSON_ARRAY_LENGTH", **context)


_EDGES = Sum(_Length("depends_on"))
_SIZES = {
    "total": Window(Count("pk")),
    "total_edges": Window(_EDGES),
    "edges_before": Window(_EDGES, order_by="task_exec_seq"),
}
"""Of each step: how many steps and edges there are, and how many edges up to it."""


class Graph(NamedTuple):
    """The steps of a flow, or of a part of it that is small enough to be read, and how to draw them."""

    steps: list[Step]
    view: View


_COLUMNS = (
    "task_exec_seq",
    "label",
    "program",
    "exec_status",
    "ignored_by",
    "depends_on",
    "children",
    "cached_from",
    "parked",
    "started_ts",
)


def graph_of(flow_id: str, around: int | None = None) -> Graph:
    """The steps of a flow in order of seq, without its children.

    Of a graph that is too large to be read, the steps around one: ``around``, or the first that failed, or runs, or the
    first of all. Raises UnknownTaskError for a step that the flow does not have.
    """
    steps = Task.objects.filter(task_flow_id=flow_id, parent_seq=None).order_by("task_exec_seq").annotate(label=LABEL)
    if around is not None and not steps.filter(task_exec_seq=around).exists():
        raise UnknownTaskError(f"flow {flow_id} has no step {around}")
    rows = list(
        steps.annotate(**_SIZES).filter(edges_before__lte=MOST_EDGES).values_list(*_COLUMNS, *_SIZES)[:MOST_STEPS]
    )
    *_, total, total_edges, _ = rows[0] if rows else (0, 0, 0)
    if len(rows) == total:
        return Graph(_steps(flow_id, [row[: len(_COLUMNS)] for row in rows]), View(around=around))
    around = _focus(steps) if around is None else around
    read = _steps(flow_id, steps.filter(task_exec_seq__in=_seqs_around(steps, around)).values_list(*_COLUMNS))
    unread_edges = total_edges - sum(len(step.depends_on) for step in read)
    return Graph(read, View(around=around, unread_steps=total - len(read), unread_edges=unread_edges))


def _steps(flow_id: str, rows: Iterable[Sequence[Any]]) -> list[Step]:
    """Steps by ``_COLUMNS``, with the counts of their children: a statement where there are any."""
    read = list(rows)
    children = counts.of_children(flow_id, [row[0] for row in read if row[6]])
    steps = []
    for seq, name, program, status, ignored_by, depends_on, _, source, parked, started_ts in read:
        begun = status == Status.WAIT and parked and started_ts is not None
        waits = waited_for(program) if begun else ""
        own = children.get(seq)
        cached = source is not None
        steps.append(Step(seq, name, program, Status(status), ignored_by, depends_on, own, cached, waits))
    return steps


def _focus(steps: Any) -> int:
    """The first step that failed, or runs, or the first of all."""
    rank = Case(When(exec_status=Status.SUSPEND, then=0), When(exec_status=Status.RUNNING, then=1), default=2)
    seq: int = steps.order_by(rank, "task_exec_seq").values_list("task_exec_seq", flat=True)[0]
    return seq


def _seqs_around(steps: Any, around: int) -> Collection[int]:
    """Seqs of the steps before and after one, about as many of each."""
    seqs = steps.values_list("task_exec_seq", flat=True)
    before = list(seqs.filter(task_exec_seq__lt=around).order_by("-task_exec_seq")[:MOST_READ])
    after = list(seqs.filter(task_exec_seq__gte=around).order_by("task_exec_seq")[:MOST_READ])
    first = min(len(before), max(MOST_READ // 2, MOST_READ - len(after)))
    return [*before[:first], *after[: MOST_READ - first]]
