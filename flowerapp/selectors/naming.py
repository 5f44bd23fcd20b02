"""Names of tasks that are known by their numbers: parents of children, tasks of history entries and log lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from django.db.models import Case, Q, When

from flowerapp.core.names import mentioned, titled
from flowerapp.models import Task

LABEL = Case(When(~Q(name=""), then="name"), When(~Q(alias=""), then="alias"), default="remote")
"""``Titled.label``, for the database."""
LONGEST_CHILD_ID = 40
"""Characters of a child's id that its label quotes."""
_PARENT = "parent_mention"

Columns = tuple[int, str, str]
"""Seq, name and program of a task."""


def titles(flow_id: str, seqs: Iterable[int | None]) -> dict[int | None, str]:
    """``3 load`` of each of these tasks of a flow; at most one statement. None, the flow itself, has an empty one."""
    named = _named({flow_id: {seq for seq in seqs if seq is not None}})[flow_id]
    return {None: "", **{seq: titled(*columns) for seq, columns in named.items()}}


def mentions(seqs: Mapping[str, Set[int]]) -> dict[str, dict[int, str]]:
    """``task 3 "load"`` of each of these tasks, by flow and seq; at most one statement."""
    return {
        flow_id: {seq: mentioned(*columns) for seq, columns in named.items()} for flow_id, named in _named(seqs).items()
    }


def _named(seqs: Mapping[str, Set[int]]) -> dict[str, dict[int, Columns]]:
    """Names of tasks by flow and seq; those that there are not have none."""
    named: dict[str, dict[int, Columns]] = {
        flow_id: {seq: (seq, "", "") for seq in of_flow} for flow_id, of_flow in seqs.items()
    }
    wanted = Q()
    for flow_id, of_flow in seqs.items():
        wanted |= Q(task_flow_id=flow_id, task_exec_seq__in=of_flow) if of_flow else Q()
    if wanted:
        tasks = Task.objects.filter(wanted).order_by()
        for flow_id, *columns in tasks.values_list("task_flow_id", "task_exec_seq", LABEL, "program"):
            named[flow_id][columns[0]] = (columns[0], columns[1], columns[2])
    return named


def with_parents(page: Iterable[Task]) -> None:
    """Read the parents of the children among some tasks, for ``child_label``; at most one statement."""
    children = [task for task in page if task.parent_seq is not None]
    parents = mentions(parents_of(children))
    for child in children:
        child.__dict__[_PARENT] = parents[child.task_flow_id][child.parent_seq or 0]


def parents_of(tasks: Iterable[Task]) -> dict[str, set[int]]:
    """Seqs of the parents of the children among some tasks, by flow."""
    seqs: dict[str, set[int]] = {}
    for task in tasks:
        if task.parent_seq is not None:
            seqs.setdefault(task.task_flow_id, set()).add(task.parent_seq)
    return seqs


def child_label(task: Task) -> str:
    """``child 3 of task 1 "split"``: what a child is to its parent, by its id; empty for a step."""
    if task.parent_seq is None:
        return ""
    if _PARENT not in task.__dict__:
        with_parents([task])
    name = str(task.child_id)
    short = name if len(name) <= LONGEST_CHILD_ID else f"{name[: LONGEST_CHILD_ID - 1]}…"
    return f"child {short} of {task.__dict__[_PARENT]}"
