"""The numbers by which littleflow's events and commands name the steps of a flow.

They are those of the nodes that ``arrow_flows`` shows. A child, which is no node, has its ``task_exec_seq``, which is
larger than the number of any step.
"""

from __future__ import annotations

from django.db.models import Q

from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Flow, Task

LARGEST = 2**31 - 1
MOST_NAMED = 2_000
"""Steps of one name that are looked for."""


def index_of(task: Task) -> int:
    """The number of a task; a statement for a step of a flow that was compiled from no text."""
    if task.parent_seq is not None:
        return task.task_exec_seq
    if task.task_flow.source:
        return task.task_seq
    return Task.objects.filter(
        task_flow_id=task.task_flow_id, parent_seq=None, task_exec_seq__lte=task.task_exec_seq
    ).count()


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
