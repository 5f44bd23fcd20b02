"""Why tasks wait, in a sentence each, and who has the slots of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from django.utils import timezone

from flowerapp import values
from flowerapp.exceptions import UnknownPoolError
from flowerapp.models import Flow, Pool, Task, Workflow
from flowerapp.plan import most_flows
from flowerapp.querysets import TaskQuerySet
from flowerapp.states import Status


def get_pool(name: str) -> Pool:
    """The pool; raises UnknownPoolError."""
    found: Pool | None = Pool.objects.filter(pk=name).first() if values.storable(name) else None
    if found is None:
        raise UnknownPoolError(f"there is no pool {name!r}")
    return found


@dataclass(frozen=True)
class PoolUse:
    """A pool with who has its slots and who waits for one."""

    pool: Pool

    @cached_property
    def held(self) -> int:
        """Slots that tasks have."""
        return self.holders.count()

    @cached_property
    def waiting(self) -> int:
        """Tasks that wait for a slot and nothing else."""
        return self.waiters.count()

    @property
    def holders(self) -> TaskQuerySet:
        """Tasks that run, or are about to, the longest first."""
        return Task.objects.holding(self.pool.pk).order_by("started_ts", "pk")

    @property
    def waiters(self) -> TaskQuerySet:
        """Tasks that wait for a slot, in the order of their turns."""
        return Task.objects.waiting_for(self.pool.pk)


def why_wait(tasks: Sequence[Task]) -> dict[int, str]:
    """Why tasks do not run now, by primary key; those that do, have ended, or have only to be sent are left out."""
    waiting = [task for task in tasks if task.status is Status.WAIT]
    facts = _Facts(waiting)
    reasons = {task.pk: facts.reason(task) for task in waiting}
    return {pk: reason for pk, reason in reasons.items() if reason}


class _Facts:
    """What the reasons of some tasks are made of, each asked for once."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self._turns: dict[str, str] = {}

    @cached_property
    def _flows(self) -> dict[str, Flow]:
        flows = Flow.objects.only("task_id", "exec_status", "held", "admitted")
        return flows.in_bulk({task.task_flow_id for task in self._tasks})

    @cached_property
    def _pools(self) -> dict[str, PoolUse]:
        named = {task.pool for task in self._tasks if task.pool}
        return {name: PoolUse(pool) for name, pool in Pool.objects.in_bulk(named).items()}

    def reason(self, task: Task) -> str:
        flow = self._flows.get(task.task_flow_id)
        if flow is None or flow.ended:
            return ""
        if task.pending:
            return self._for_others(task)
        if task.children:
            return "for its result to be put together"
        if flow.held:
            return "its flow is held; resume it"
        if not flow.admitted:
            return self._for_flows(flow)
        if task.parked:
            return "until it is woken" if task.due_ts is None else f"until {task.due_ts:%Y-%m-%d %H:%M:%S} UTC"
        if task.due_ts is not None and task.due_ts > timezone.now():
            return f"for its retry at {task.due_ts:%Y-%m-%d %H:%M:%S} UTC"
        return "" if task.admitted else self._for_slot(task.pool)

    def _for_others(self, task: Task) -> str:
        if task.children:
            return f"for its children: {task.children - task.pending:,} of {task.children:,} have ended"
        if task.parent_seq is not None:
            return f"for its turn among the children of task {task.parent_seq}"
        return f"for {task.pending:,} of the tasks before it"

    def _for_flows(self, flow: Flow) -> str:
        if flow.task_id not in self._turns:
            header = Workflow.objects.filter(pk=flow.task_id).first()
            most = header and most_flows(header.max_active_flows, unique=header.unique)
            active = Flow.objects.active(flow.task_id).count()
            how = f"of {flow.task_id}, {active} of {most} flows go on" if most else "it is just coming"
            self._turns[flow.task_id] = f"for its flow's turn: {how}"
        return self._turns[flow.task_id]

    def _for_slot(self, name: str) -> str:
        use = self._pools.get(name)
        if use is None:
            return f"for pool {name}, which does not exist; make it"
        return f"for a slot of pool {name}: {use.held} of {use.pool.slots} are taken; {use.waiting:,} waiting"
