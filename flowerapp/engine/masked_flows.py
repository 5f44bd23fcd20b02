"""Flows that were restored without their secrets: no task of theirs runs with a mask in place of a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flowerapp.core import graph
from flowerapp.core.masking import MASKED
from flowerapp.core.unmasking import holds_mask
from flowerapp.engine.readiness import edges_of
from flowerapp.exceptions import InvalidPlanError, Problem
from flowerapp.models import Flow, Task
from flowerapp.querysets import batched
from flowerapp.states import SATISFIED, Status

_WHOLE = "restore an archive that was made with its secrets"


def must_have_values(flow: Flow) -> None:
    """Raise InvalidPlanError if a task that waits would run with a mask in place of a value.

    It names what to set. For verbs that let tasks of a flow run, under its locks and after their changes.
    """
    if not flow.masked:
        return
    if problems := list(_problems(flow.pk)):
        raise InvalidPlanError(problems, flow.task_id)


def _problems(flow_id: str) -> Iterator[Problem]:
    tasks = {task.task_exec_seq: task for task in Task.objects.filter(task_flow_id=flow_id).only(*_COLUMNS)}
    waiting = [seq for seq, task in tasks.items() if task.status is Status.WAIT]
    if not waiting:
        return
    for name, value in zip(("input", "state"), _values_of(flow_id), strict=True):
        if holds_mask(value):
            yield Problem(f"the {name} of flow {flow_id} holds {MASKED}, which the archive left out; {_WHOLE}")
    for seq in waiting:
        yield from _own_problems(tasks[seq])
    before = graph.reach(waiting, edges_of(tasks))
    yield from _output_problems(flow_id, [seq for seq in before if tasks[seq].status in SATISFIED])


_COLUMNS = (
    *("task_flow_id", "task_exec_seq", "task_seq", "exec_status", "depends_on", "parent_seq", "parameters", "item"),
    *("name", "alias", "remote", "program"),
)


def _values_of(flow_id: str) -> Any:
    return Flow.objects.filter(pk=flow_id).values_list("input", "state").get()


def _own_problems(task: Task) -> Iterator[Problem]:
    seq = task.task_exec_seq
    parameters = task.parameters if isinstance(task.parameters, Mapping) else {}
    for name in [name for name, value in parameters.items() if holds_mask([name, value])]:
        yield Problem(
            f"parameter {name} of {task.mention} is {MASKED}, which the archive left out; set it, as "
            f"`flow rerun --set {seq}.{name}=…` or `flow set` does, or rerun with --refresh",
            seq,
            f"parameters.{name}",
        )
    if holds_mask(task.item):
        yield Problem(f"the item of {task.mention} is {MASKED}; rerun task {task.parent_seq}, or {_WHOLE}", seq)


class _Output(NamedTuple):
    seq: int
    output: Any


def _output_problems(flow_id: str, seqs: list[int]) -> Iterator[Problem]:
    for batch in batched(sorted(seqs)):
        rows = Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=batch)
        for row in map(_Output._make, rows.values_list("task_exec_seq", "output")):
            if holds_mask(row.output):
                yield Problem(
                    f"the output of task {row.seq} holds {MASKED}, which the archive left out; rerun from it, "
                    f"or {_WHOLE}",
                    row.seq,
                )
