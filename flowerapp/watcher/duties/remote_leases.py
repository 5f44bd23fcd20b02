"""Take remote tasks from workers of other systems whose leases have run out."""

from __future__ import annotations

from flowerapp.core.messages import TaskRef
from flowerapp.engine import remote_leases
from flowerapp.models import Task
from flowerapp.querysets.db import each_isolated
from flowerapp.watcher.interventions import intervened
from flowerapp.watcher.pages import PAGE


def expire_leases() -> int:
    """One page; the number of tasks that were rescued or timed out."""
    expired = Task.objects.lease_expired().order_by("lease_ts")
    refs = expired.values_list("task_flow_id", "task_exec_seq")[:PAGE]
    return each_isolated(list(refs), lambda row: _expire(TaskRef(*row)))


def _expire(ref: TaskRef) -> int:
    kind = remote_leases.expire(ref)
    if kind == "rescue":
        intervened(kind, ref)
    return int(bool(kind))
