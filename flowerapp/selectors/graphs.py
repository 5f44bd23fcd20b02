"""The graph of a flow, for drawings."""

from __future__ import annotations

from typing import NamedTuple

from flowerapp.models import Task
from flowerapp.selectors.tasks import children_ended
from flowerapp.states import Status


class Step(NamedTuple):
    """A step with what it depends on."""

    seq: int
    program: str
    status: Status
    ignored_by: str
    depends_on: list[int]
    children: int
    """Children that it has added."""
    children_ended: int


_COLUMNS = ("task_exec_seq", "program", "exec_status", "ignored_by", "depends_on", "children", "pending")


def steps_of(flow_id: str) -> list[Step]:
    """The steps of a flow in order of seq; its children are not among them."""
    rows = Task.objects.filter(task_flow_id=flow_id, parent_seq=None).order_by("task_exec_seq").values_list(*_COLUMNS)
    return [
        Step(seq, program, Status(status), ignored_by, depends_on, children, children_ended(status, children, pending))
        for seq, program, status, ignored_by, depends_on, children, pending in rows
    ]
