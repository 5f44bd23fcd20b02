"""Why tasks wait, in a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db.models import Q

from flowerapp import conf
from flowerapp.core import masking, values
from flowerapp.core.gates import APPROVAL, DELAY
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import most_flows
from flowerapp.models import Flow, Pool, Task, Wait, Workflow
from flowerapp.querysets import clock
from flowerapp.selectors import approvals, times
from flowerapp.selectors.durations import spelled
from flowerapp.selectors.pools import PoolUse
from flowerapp.selectors.shown import rows, shown_value
from flowerapp.states import Status


def wait_reasons(tasks: Sequence[Task], flow: Flow | None = None) -> dict[int, str]:
    """Why tasks do not run now, by primary key; those that run, have ended or only need to be sent are left out.

    ``flow`` is theirs, where they are of one and it was read already.
    """
    waiting = [task for task in tasks if task.status is Status.WAIT]
    facts = _Facts(waiting, flow)
    reasons = {task.pk: facts.reason(task) for task in waiting}
    return {pk: reason for pk, reason in reasons.items() if reason}


MOST_QUOTED = 1000
"""Characters of an error that a reason quotes."""
MOST_MATCH = 200
"""Characters of the members of an event that a reason quotes."""


class _Facts:
    """What the reasons of several tasks are made of, read once each."""

    def __init__(self, tasks: Sequence[Task], flow: Flow | None) -> None:
        self._tasks = tasks
        self._flow = flow
        self._admissions: dict[str, str] = {}

    @cached_property
    def _flows(self) -> dict[str, Flow]:
        if self._flow is not None:
            return {self._flow.pk: self._flow}
        flows = Flow.objects.only("task_id", "exec_status", "held", "admitted", "registered_ts")
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
            return self._for_tasks(task)
        if task.children:
            return "for its children's outputs to be collected"
        if task.has_begun_to_wait:
            return self._for_what(task)
        if flow.admitted and (task.is_gate or (task.is_remote and task.parked)):
            return "for its input to be passed on" if task.is_gate else "for its condition to be tested"
        if flow.held:
            return "its flow is held; resume it"
        if not flow.admitted:
            return self._for_admission(flow)
        if task.is_refused:
            return self._for_refusal(task)
        if task.awaits_output:
            return "for the output that another task with the same key is about to store"
        if task.parked and task.awaits_answer:
            return self._for_answer(task)
        if task.parked:
            return "until it is woken" if task.due_ts is None else f"until {times.with_zone(task.due_ts)}"
        if task.due_ts is not None and task.due_ts > clock.about_now():
            return f"for its retry at {times.with_zone(task.due_ts)}"
        if task.awaits_answer:
            return self._for_answer(task)
        return "" if task.admitted else self._for_slot(task.pool)

    @cached_property
    def _approvals(self) -> dict[TaskRef, str]:
        """Who may decide about the tasks that wait for that."""
        return approvals.reasons([task for task in self._tasks if task.program == APPROVAL and task.has_begun_to_wait])

    @cached_property
    def _waits(self) -> dict[TaskRef, Wait]:
        """What the waits wait for, beside a time."""
        begun = [task for task in self._tasks if task.has_begun_to_wait and task.program not in (APPROVAL, DELAY)]
        flow_ids, seqs = {task.task_flow_id for task in begun}, {task.task_exec_seq for task in begun}
        rows = Wait.objects.filter(task_flow_id__in=flow_ids, task_exec_seq__in=seqs) if begun else []
        return {TaskRef(row.task_flow_id, row.task_exec_seq): row for row in rows}

    def _for_what(self, task: Task) -> str:
        """A wait that has begun."""
        if asked := self._approvals.get(task.ref):
            return asked
        until = "" if task.due_ts is None else f"until {times.with_zone(task.due_ts)}"
        wait = self._waits.get(task.ref)
        if wait is None:
            return until or "for what ends it"
        limit = f", {until}" if until else ""
        latch, event, match = self._as_shown(task, [wait.latch, wait.event, wait.match])
        if latch:
            return f"for latch {latch} to be at zero{limit}"
        matching = f" with {values.cut(values.dumps(match), MOST_MATCH)}" if match else ""
        return f"for event {event}{matching}{limit}"

    @cached_property
    def _of_waits(self) -> dict[int, Task]:
        """The tasks that wait for an event or a latch, with the values whose secrets a reason must not quote."""
        begun = [task.pk for task in self._tasks if task.ref in self._waits]
        flows = Flow.objects.only("input", "state").in_bulk({ref.flow_id for ref in self._waits})
        tasks = Task.objects.filter(pk__in=begun, task_flow_id__in=flows).only("task_flow_id", "parameters", "item")
        for task in tasks:
            task.task_flow = flows[task.task_flow_id]
        return {task.pk: task for task in tasks}

    def _as_shown(self, task: Task, facts: list[Any]) -> list[Any]:
        """Facts about a wait, masked; nothing of one whose task was deleted."""
        row = self._of_waits.get(task.pk)
        masked: list[Any] = masking.masked(facts) if row is None else shown_value(facts, row)
        return masked

    @cached_property
    def _errors(self) -> dict[int, str]:
        """Errors of the refused tasks, which tables of tasks do not read."""
        refused = [task.pk for task in self._tasks if task.is_refused]
        tasks = rows(Task.objects.filter(pk__in=refused).only("error"))
        return {task.pk: task.error for task in tasks}

    def _for_refusal(self, task: Task) -> str:
        since = task.refused_ts or clock.about_now()
        until = since + timedelta(seconds=conf.get().REJECT_AFTER)
        reason = values.cut(self._errors.get(task.pk, task.refused_by), MOST_QUOTED)
        return f"{reason}; since {times.with_zone(since)}; tried again until {times.with_zone(until)}, then it fails"

    @cached_property
    def _ended(self) -> dict[TaskRef, datetime]:
        """When the tasks ended that the remote ones waited for."""
        wanted = Q()
        for task in self._tasks:
            if task.awaits_answer and task.depends_on:
                wanted |= Q(task_flow_id=task.task_flow_id, task_exec_seq__in=task.depends_on)
        if not wanted:
            return {}
        ended = Task.objects.filter(wanted, finished_ts__isnull=False)
        columns = ended.order_by().values_list("task_flow_id", "task_exec_seq", "finished_ts")
        return {TaskRef(flow_id, seq): ts for flow_id, seq, ts in columns}

    def _for_answer(self, task: Task) -> str:
        """A remote task is ready since the last of the tasks before it has ended, or since its flow was registered.

        When a child became ready is not kept.
        """
        if task.has_asked:
            return "for the service that it has called, which ends it"
        reason = f"for another system: no worker has answered for {task.remote}"
        if task.parent_seq is not None:
            return reason
        before = [self._ended.get(TaskRef(task.task_flow_id, seq)) for seq in task.depends_on]
        since = max(filter(None, before), default=self._flows[task.task_flow_id].registered_ts)
        return f"{reason} for {spelled(max(0.0, (clock.about_now() - since).total_seconds()))}"

    def _for_tasks(self, task: Task) -> str:
        if task.children:
            return "for its children"
        if task.parent_seq is not None:
            return "behind other children of its parent"
        return f"for {task.pending:,} of the tasks before it"

    def _for_admission(self, flow: Flow) -> str:
        if flow.task_id not in self._admissions:
            header = Workflow.objects.filter(pk=flow.task_id).first()
            most = header and most_flows(header.max_active_flows, unique=header.unique)
            active = Flow.objects.active(flow.task_id).count()
            how = f": {active} of at most {most} flows of {flow.task_id} are active" if most else ", which is due now"
            self._admissions[flow.task_id] = f"for its flow to be admitted{how}"
        return self._admissions[flow.task_id]

    def _for_slot(self, name: str) -> str:
        use = self._pools.get(name)
        if use is None:
            return f"for pool {name}, which does not exist; create it"
        return f"for a slot of pool {name}: {use.held} of {use.pool.slots} are taken; {use.waiting:,} waiting"
