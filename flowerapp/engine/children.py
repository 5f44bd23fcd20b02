"""Children: tasks that a task adds while it runs. It waits for them, parked, and takes their outputs for its own."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowerapp import conf, registry
from flowerapp.core import executor, values
from flowerapp.core.gates import EACH, REMOTE
from flowerapp.core.messages import SEND_BATCH, Message, TaskRef
from flowerapp.engine import hooks
from flowerapp.exceptions import InvalidValueError
from flowerapp.models import Flow, HistoryEntry, Task, Worker
from flowerapp.models.tasks import NO_DEPENDENCY
from flowerapp.querysets import Claim, Completion, batched, clock
from flowerapp.querysets.outputs import TYPED_OUTPUT_OF_CHILD
from flowerapp.registry import Call
from flowerapp.states import ACTIVE, Status


@dataclass(frozen=True, slots=True)
class Child:
    """What a child is to do."""

    id: Any
    """What its parent calls it."""
    item: Any
    """Its input."""
    call: Call | None = None
    """What it runs instead of its step's child program."""


def add(claim: Claim, children: Sequence[Child]) -> Completion | None:
    """End an attempt whose program has added children: they are written, and the first of them become ready.

    None if this attempt is no longer the one that runs. In a transaction.
    """
    parent = Task.objects.at(claim.ref).defer("output", "traceback").get()
    room = concurrency_of(parent)
    if not Task.objects.await_children(claim.ref, claim.attempt, len(children)):
        return None
    first = Flow.objects.next_child_seqs(claim.flow_id, len(children))
    released = _insert(parent, first, children, room)
    details = {"children": len(children)}
    HistoryEntry.objects.record("add_children", *claim.ref, attempt=claim.attempt, actor="program", details=details)
    pools = frozenset({parent.pool} if parent.pool else ())
    return Completion(released=tuple(released), pools=pools, unsent=True)


def _insert(parent: Task, first: int, children: Sequence[Child], room: int) -> list[Message]:
    """Write the rows of children; the messages that are to be sent."""
    now, sends = clock.now(), min(room, SEND_BATCH if executor.current().connected() else 0)
    released: list[Message] = []
    for indexes in batched(range(len(children))):
        rows = [_row(parent, first, index, children[index], waits=index >= room) for index in indexes]
        for row in rows:
            row.registered_ts = now
            if row.child_index < sends and row.admitted:
                row.sent_ts = now
                released.append(Message.of(parent.task_flow_id, row.call, None))
        Task.objects.bulk_create(rows)
    return released


def _row(parent: Task, first: int, index: int, child: Child, *, waits: bool) -> Any:
    return Task(
        task_flow_id=parent.task_flow_id,
        task_exec_seq=first + index,
        depends_task_exec_seq=NO_DEPENDENCY,
        task_id=parent.task_id,
        task_seq=parent.task_seq,
        parent_seq=parent.task_exec_seq,
        child_index=index,
        child_id=child.id,
        item=child.item,
        dependents=[parent.task_exec_seq],
        pending=int(waits),
        **_columns(parent, child),
    )


def _columns(parent: Task, child: Child) -> dict[str, Any]:
    step = {name: getattr(parent, name) for name in (*_INHERITED, *_OF_STEP)}
    return child_columns(step) if child.call is None else _inherited(step) | _columns_of(child.call, step)


def _columns_of(call: Call, step: Mapping[str, Any]) -> dict[str, Any]:
    limits = [limit for limit in (call.time_limit, step["time_limit"]) if limit]
    return {
        "program": call.program,
        "parameters": dict(call.parameters),
        "queue": call.queue or registry.get(call.program).queue,
        "time_limit": min(limits, default=None),
    }


_OF_STEP = ("program", "parameters", "child_program", "queue", "remote")
_INHERITED = ("task_priority", "pool", "max_retries", "retry_delay", "time_limit")


def child_columns(parent: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a child that come from those of its step."""
    if parent["child_program"] == REMOTE:
        own = {name: parent[name] for name in ("remote", "parameters")}
        return _inherited(parent) | own | {"pool": "", "admitted": False}
    program = registry.get(parent["child_program"])
    own = {"program": program.name, "queue": program.queue or parent["queue"]}
    if parent["program"] == EACH:
        own["parameters"] = parent["parameters"]
    return _inherited(parent) | own


def refreshed_columns(child: Task, step: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a child from the present columns of its step; one that runs a call keeps that."""
    return _inherited(step) if child.parameters else child_columns(step)


def _inherited(step: Mapping[str, Any]) -> dict[str, Any]:
    return {name: step[name] for name in _INHERITED} | {"admitted": not step["pool"]}


def concurrency_of(parent: Task) -> int:
    """How many children of a task run at once: where the step does not say, as many as the workers have processes.

    Remote ones take no process, so all of them wait for an answer at once.
    """
    unbounded = conf.get().MAX_CHILDREN if parent.child_program == REMOTE else 0
    return parent.max_concurrency or unbounded or _processes()


def _processes() -> int:
    return Worker.objects.alive(conf.get().LEASE_SECONDS).processes() or os.cpu_count() or 1


def start_next(parent_ref: TaskRef) -> Completion:
    """Start children of a task that wait although there is room for them. In a transaction."""
    parent = Task.objects.at(parent_ref).select_for_update().first()
    if parent is None or parent.status is not Status.WAIT:
        return Completion()
    active = Task.objects.children_of(parent_ref).filter(exec_status__in=ACTIVE, pending=0).count()
    room = concurrency_of(parent) - active
    started = Task.objects.next_children(parent_ref, room) if room > 0 else []
    chosen = Task.objects.filter(pk__in=started)
    pools = frozenset({parent.pool} if started and parent.pool else ())
    return Completion(released=tuple(chosen.filter(admitted=True).messages(alone=True)), pools=pools)


def complete(parent: Task) -> Completion | None:
    """Finish a task whose children have all ended, with their outputs in order. The caller has locked its row.

    Outputs that are too large together fail the task. In a transaction.
    """
    try:
        outputs = _outputs(parent.ref)
    except InvalidValueError as error:
        fail_parent(parent, str(error))
        Flow.objects.point_to_failure(*parent.ref)
        return Completion(may_be_stuck=True)
    completion = Task.objects.complete_parked(parent.ref, outputs)
    if completion is not None:
        events = ["task_all_over", *(["all_over"] if completion.ended else [])]
        hooks.record(parent.task_id, parent.ref, events, attempt=parent.attempt)
    return completion


def _outputs(parent_ref: TaskRef) -> list[Any]:
    """Outputs of the children of a task in order; no more is read than may be stored."""
    children = Task.objects.children_of(parent_ref).order_by("child_index")
    outputs, size, limit = [], 2, conf.get().MAX_JSON_BYTES
    for output in children.values_list(TYPED_OUTPUT_OF_CHILD, flat=True).iterator(chunk_size=50):
        outputs.append(output)
        size += len(values.dumps(output).encode()) + 1
        if size > limit:
            parent = Task.objects.at(parent_ref).get()
            raise InvalidValueError(
                f"the outputs of the children of {parent.mention} are together over {limit:,} bytes of JSON "
                "(FLOWER['MAX_JSON_BYTES']); let them return less"
            )
    return outputs


def fail_parent(parent: Task, error: str) -> None:
    """Fail a task because of its children: those that have not ended are stopped. Under the locks of its family."""
    Task.objects.stop_children(parent.ref, f"stopped, because {error}")
    if Task.objects.give_up(parent.ref, error):
        HistoryEntry.objects.record("fail", *parent.ref, attempt=parent.attempt, actor="engine", reason=error)


def revive_parents(flow_id: str) -> None:
    """Let failed parents wait again, and their stopped children run, unless one of their children is failed still.

    For the verbs, which hold the locks of the flow and save its readiness afterwards.
    """
    suspended = Task.objects.filter(task_flow_id=flow_id, exec_status=Status.SUSPEND)
    failed = set(suspended.filter(parent_seq__isnull=False).values_list("parent_seq", flat=True))
    parents = set(suspended.filter(children__gt=0).values_list("task_exec_seq", flat=True)) - failed
    if parents:
        Task.objects.reopen(flow_id, parents)
        Task.objects.rerun(flow_id, stopped_children(flow_id, parents))


def stopped_children(flow_id: str, parents: Collection[int]) -> list[int]:
    """Seqs of the children of these parents that were stopped because a sibling failed."""
    strict = Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=parents, exit_on_failed=True)
    seqs = list(strict.values_list("task_exec_seq", flat=True))
    stopped = Task.objects.filter(task_flow_id=flow_id, parent_seq__in=seqs).stopped()
    return list(stopped.values_list("task_exec_seq", flat=True))
