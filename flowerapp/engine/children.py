"""Children: tasks that a task adds while it runs. It waits for them, parked, and takes their outputs for its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowerapp import dispatch, registry, values
from flowerapp.dispatch import Message
from flowerapp.engine import hooks
from flowerapp.engine.clock import database_now
from flowerapp.engine.sending import AT_ONCE
from flowerapp.exceptions import InvalidValueError
from flowerapp.models import Event, Flow, Task, Worker
from flowerapp.models.flows import NO_DEPENDENCY
from flowerapp.querysets import Claim, Finished, batched
from flowerapp.states import Status


@dataclass(frozen=True, slots=True)
class Child:
    """What a child is to do."""

    id: Any
    """What its parent calls it."""
    item: Any
    """Its input."""


def add(claim: Claim, children: Sequence[Child]) -> Finished | None:
    """End an attempt whose program has added children: they are written, and the first of them become ready.

    None if this attempt is no longer the one that runs. In a transaction.
    """
    place = claim.flow_id, claim.seq
    parent = Task.objects.one(*place).defer("output", "traceback").get()
    at_once = parent.max_concurrency or _processes()
    if not Task.objects.await_children(*place, claim.attempt, len(children), at_once):
        return None
    first = Flow.objects.next_child_seqs(claim.flow_id, len(children))
    now, sends = database_now(), min(at_once, AT_ONCE if dispatch.connected() else 0)
    released: list[Message] = []
    for some in batched(range(len(children))):
        rows = [_row(parent, first, index, children[index], waits=index >= at_once) for index in some]
        for row in rows:
            row.registered_ts = now
            if row.child_index < sends and row.admitted:
                row.sent_ts = now
                released.append(Message.of(claim.flow_id, row.link, None))
        Task.objects.bulk_create(rows)
    Event.objects.record(
        "add_children", *place, attempt=claim.attempt, actor="program", details={"children": len(children)}
    )
    pools = {parent.pool} if parent.pool else set()
    return Finished(released=tuple(released), pools=frozenset(pools))


def _row(parent: Task, first: int, index: int, child: Child, *, waits: bool) -> Any:
    return Task(
        task_flow_id=parent.task_flow_id,
        task_exec_seq=first + index,
        depends_task_exec_seq=NO_DEPENDENCY,
        task_id=parent.task_id,
        task_seq=parent.task_seq,
        task_priority=parent.task_priority,
        parent_seq=parent.task_exec_seq,
        child_index=index,
        child_id=child.id,
        item=child.item,
        dependents=[parent.task_exec_seq],
        pending=int(waits),
        pool=parent.pool,
        admitted=not parent.pool,
        max_retries=parent.max_retries,
        retry_delay=parent.retry_delay,
        time_limit=parent.time_limit,
        program=parent.child_program,
        queue=registry.get(parent.child_program).queue or parent.queue,
    )


def _processes() -> int:
    """How many children run at once where the step does not say: as many as the workers have processes."""
    return sum(Worker.objects.living(60).values_list("concurrency", flat=True)) or os.cpu_count() or 1


def gather(flow_id: str, seq: int) -> Finished | None:
    """Finish a task whose children have all ended, with their outputs in order; None if it does not wait for that.

    Outputs that are too large together fail the task. In a transaction.
    """
    parent = Task.objects.gatherable().one(flow_id, seq).select_for_update(of=("self",)).first()
    if parent is None:
        return None
    children = Task.objects.filter(task_flow_id=flow_id, parent_seq=seq).order_by("child_index")
    outputs = list(children.values_list("output", flat=True))
    try:
        values.dumps(outputs, f"outputs of the {len(outputs):,} children of task {seq}")
    except InvalidValueError as error:
        fail_parent(parent, str(error))
        Flow.objects.point_to_failure(flow_id, seq)
        return Finished(may_be_stuck=True)
    done = Task.objects.settle(flow_id, seq, outputs)
    if done is not None:
        names = ["task_all_over", *(["all_over"] if done.ended else [])]
        hooks.record(parent.task_id, flow_id, seq, names, attempt=parent.attempt)
    return done


def fail_parent(parent: Task, error: str) -> None:
    """Fail a task because of its children: those that have not ended are stopped. Under the locks of its family."""
    place = parent.task_flow_id, parent.task_exec_seq
    Task.objects.stop_children(*place, f"stopped, because {error}")
    if Task.objects.give_up(*place, error):
        Event.objects.record("fail", *place, attempt=parent.attempt, actor="engine", reason=error)


def revive(flow_id: str, tasks: Sequence[Task]) -> None:
    """Let failed parents wait again, and their stopped children run, unless one of their children is failed still.

    For the operators' verbs, which hold the locks of the flow and write its links anew.
    """
    failed = {task.parent_seq for task in tasks if task.failed}
    parents = {task.task_exec_seq for task in tasks if task.failed and task.children} - failed
    if not parents:
        return
    Task.objects.reopen(flow_id, parents)
    stopped = set(stopped_children(flow_id, parents))
    Task.objects.rerun(flow_id, stopped)
    for task in tasks:
        if task.task_exec_seq in parents | stopped:
            task.exec_status = Status.WAIT
            task.parked = task.task_exec_seq in parents


def stopped_children(flow_id: str, parents: set[int]) -> list[int]:
    """Seqs of the children that were stopped because a sibling failed."""
    ended = Task.objects.filter(task_flow_id=flow_id, parent_seq__in=parents, exec_status=Status.IGNORE)
    return list(
        ended.filter(output__isnull=True, error__startswith="stopped, ").values_list("task_exec_seq", flat=True)
    )
