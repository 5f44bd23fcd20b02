"""littleflow's archives, ``{"F": matrix, "T": nodes, "S": changes, "A": changes}``, as archives of ours.

They have no outputs. What had ended is Finish with ``{}``, all else is cancelled, so that a restart begins with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowerapp.core import archives, graph, unmasking
from flowerapp.core.archive_parts import FIRST_YEAR, LAST_YEAR, LONGEST_SOURCE, TaskPart
from flowerapp.core.plan import Plan
from flowerapp.engine.planned_tasks import planned_tasks
from flowerapp.engine.registration import uuid7
from flowerapp.exceptions import InvalidArchiveError
from flowerapp.querysets import clock
from flowerapp.states import IgnoredBy, Status
from flowerapp.workflows import arrow

KEYS = ("F", "T", "S", "A")
MOST_CHANGES = 100_000
"""Rows of a trace."""
LARGEST = 2**31

Document = dict[str, Any]


def converted(theirs: Mapping[str, Any], flow_id: str = "") -> Document:
    """An archive of littleflow's as a document that ``engine.restore`` takes; ``flow_id`` is a new one by default.

    Raises InvalidArchiveError, InvalidValueError or InvalidPlanError for one that cannot be used.
    """
    if missing := [key for key in KEYS if key not in theirs]:
        raise InvalidArchiveError(f"the archive has no {' and no '.join(missing)}; an archive has F, T, S and A")
    graph_ = arrow.from_compiled_form(theirs)
    plan = arrow.plan_of_graph(graph_)
    size = graph_.end + 1
    nodes = _nodes(_changes(theirs["S"], "S", size), _changes(theirs["A"], "A", size), size)
    now = clock.now()
    times = sorted(ts for node in nodes for ts in (node.began, node.ended) if ts) or [now]
    flow = {
        "task_flow_id": flow_id or str(uuid7()),
        "task_id": plan.name,
        "exec_status": int(Status.IGNORE),
        "input": {},
        "registered_ts": times[0],
        "started_ts": times[0],
        "finished_ts": times[-1],
        "source": source if len(source := arrow.form_text(theirs)) <= LONGEST_SOURCE else "",
    }
    return _document(flow, list(_tasks(plan, nodes, times[-1])), now)


def with_id(document: Mapping[str, Any], flow_id: str) -> Document:
    """An archive of ours under another id; raises InvalidArchiveError for one that cannot be used."""
    archives.read(document)
    renamed = {**document, "flow": {**document["flow"], "task_flow_id": flow_id}}
    return renamed | {"checksum": archives.checksum_of(renamed)}


def _document(flow: Mapping[str, Any], tasks: Sequence[Any], now: datetime) -> Document:
    masked = unmasking.holds_mask([task["parameters"] for task in tasks])
    parts = {
        "format": archives.FORMAT,
        "version": archives.VERSION,
        "archived_ts": now,
        "secrets": archives.MASKED_SECRETS if masked else archives.WHOLE_SECRETS,
        "flow": flow,
        "tasks": tasks,
    }
    return archives.loads("".join(archives.pieces(parts)))


# Nodes


@dataclass(frozen=True, slots=True)
class _Node:
    """How far a node was."""

    has_ended: bool
    began: datetime | None
    ended: datetime | None


_Changes = list[tuple[datetime, list[int]]]
"""Times and changes, the oldest first."""


def _changes(trace: Any, name: str, size: int) -> _Changes:
    """A trace, checked."""
    if not isinstance(trace, list) or len(trace) > MOST_CHANGES:
        raise InvalidArchiveError(f"{name} must be a list of at most {MOST_CHANGES:,} changes")
    return sorted((_change(row, f"{name}[{at}]", size) for at, row in enumerate(trace)), key=lambda row: row[0])


def _change(row: Any, place: str, size: int) -> tuple[datetime, list[int]]:
    if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], list) or len(row[1]) != size:
        raise InvalidArchiveError(f"{place} must be a time and a list of {size} numbers")
    if not all(type(delta) is int and -LARGEST < delta < LARGEST for delta in row[1]):
        raise InvalidArchiveError(f"{place} holds what is no whole number")
    return _time(row[0], place), row[1]


def _time(text: Any, place: str) -> datetime:
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        time = None
    if time is None or not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise InvalidArchiveError(f"{place} has no time of ISO 8601")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _nodes(active: _Changes, accumulated: _Changes, size: int) -> list[_Node]:
    return [_node(list(_of(active, index)), list(_of(accumulated, index)), index) for index in range(size)]


_OfNode = list[tuple[datetime, int]]


def _of(changes: _Changes, index: int) -> Iterator[tuple[datetime, int]]:
    return ((ts, deltas[index]) for ts, deltas in changes if deltas[index])


def _node(active: _OfNode, accumulated: _OfNode, index: int) -> _Node:
    """Active nodes are 1 in S. One that was never in S has ended if what reached it was taken, such as a gate."""
    present = sum(delta for _, delta in active)
    if present < 0 or sum(delta for _, delta in accumulated) < 0:
        raise InvalidArchiveError(f"the changes of node {index} in S or A are below 0 together")
    taken = bool(accumulated) and not sum(delta for _, delta in accumulated)
    has_ended = not present and (bool(active) or taken or index == arrow.FLOW_START)
    began = next((ts for ts, delta in active if delta > 0), None)
    ends = [ts for ts, delta in (active or accumulated) if delta < 0]
    return _Node(has_ended, began, ends[-1] if ends and has_ended else None)


# Tasks


def _tasks(plan: Plan, nodes: Sequence[_Node], end: datetime) -> Iterator[Document]:
    planned = planned_tasks(plan, 0, None)
    seqs = dict(enumerate(graph.order(plan.edges), start=1))
    for row in planned.rows.rows:
        columns = {name: value for name, value in row.items() if name in TaskPart.model_fields}
        yield {"parameters": {}} | columns | _state(nodes[seqs[row["task_exec_seq"]]], end)


def _state(node: _Node, end: datetime) -> Document:
    """The columns that say how far a task was."""
    ended = {"finished_ts": node.ended or end, "parked": False, "pending": 0, "attempt": int(node.began is not None)}
    if not node.has_ended:
        return {"exec_status": int(Status.IGNORE), "ignored_by": IgnoredBy.CANCEL.value, **ended}
    return {"exec_status": int(Status.FINISH), "output": {}, "started_ts": node.began, **ended}
