"""The numbers by which littleflow's events and commands name the steps of a flow.

They are those of the nodes that ``arrow_flows`` shows. A child, which is no node, has its ``task_exec_seq``, which is
larger than the number of any step.
"""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import Q

from flowerapp.core import values
from flowerapp.core.messages import TaskRef
from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Flow, Task
from flowerapp.selectors.flow_ids import id_of, possible_ids
from flowerapp.selectors.flows import get_flow

LARGEST = 2**31 - 1
MOST_NAMED = 2_000
"""Steps of one name that are looked for."""


class Indexed(NamedTuple):
    """A task that was looked for by its number."""

    ref: TaskRef
    exec_status: int
    names: tuple[str, ...]
    """What people call it, and what does its work; some may be empty."""


def index_of(task: Task) -> int:
    """The number of a task; a statement for a step of a flow that was compiled from no text."""
    if task.parent_seq is not None:
        return task.task_exec_seq
    if task.task_flow.source:
        return task.task_seq
    steps = Task.objects.filter(task_flow_id=task.task_flow_id, parent_seq=None)
    return int(steps.filter(task_exec_seq__lte=task.task_exec_seq).count())


def task_at(workflow: str, index: int) -> Indexed:
    """The task with that number, of a flow as events name it: its id, with ``workflow:`` in front or without.

    Raises UnknownFlowError, UnknownTaskError. One statement for a flow that was compiled from a text.
    """
    ids = possible_ids(workflow)
    if not values.storable(workflow):
        raise UnknownTaskError(f"there is no flow {values.text(workflow)!r}")
    if 0 <= index <= LARGEST:
        step = Q(parent_seq=None, task_seq=index) & ~Q(task_flow__source="")
        of_text = _indexed(Q(task_flow_id__in=ids) & (step | Q(parent_seq__isnull=False, task_exec_seq=index)))
        if len(of_text) == 1:
            return of_text[0]
    flow = get_flow(id_of(workflow))
    return _indexed(Q(task_flow_id=flow.pk, task_exec_seq=seq_at(flow, index)))[0]


def _indexed(condition: Q) -> list[Indexed]:
    rows = Task.objects.filter(condition).values_list(
        *("task_flow_id", "task_exec_seq", "exec_status", "alias", "remote", "name")
    )
    return [Indexed(TaskRef(flow_id, seq), status, tuple(names)) for flow_id, seq, status, *names in rows[:2]]


def seq_at(flow: Flow, index: int) -> int:
    """``task_exec_seq`` of the task with that number; raises UnknownTaskError."""
    seq = _at(flow, index) if 0 <= index <= LARGEST else None
    if seq is None:
        raise UnknownTaskError(f"flow {flow.pk} has no step with the index {index}")
    return seq


def seqs_named(flow: Flow, name: str) -> list[int]:
    """``task_exec_seq`` of the steps of that name: what people call them, or what does their work elsewhere."""
    is_named = Q(name=name) | Q(alias=name) | Q(remote=name)
    steps = flow.tasks.filter(is_named, parent_seq=None).order_by("task_exec_seq")
    return list(steps.values_list("task_exec_seq", flat=True)[:MOST_NAMED])


def _at(flow: Flow, index: int) -> int | None:
    seqs = flow.tasks.order_by("task_exec_seq").values_list("task_exec_seq", flat=True)
    steps = seqs.filter(parent_seq=None)
    step = steps.filter(task_seq=index)[:1] if flow.source else steps[index - 1 : index] if index else ()
    return next(iter([*step, *seqs.filter(parent_seq__isnull=False, task_exec_seq=index)]), None)
