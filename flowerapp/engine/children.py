"""Children: tasks that a task adds while it runs. It waits for them, parked, and takes their outputs for its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowerapp import conf, dispatch, registry, values
from flowerapp.dispatch import AT_ONCE, Message
from flowerapp.engine import hooks
from flowerapp.engine.clock import database_now
from flowerapp.exceptions import InvalidValueError
from flowerapp.models import Event, Flow, Task, Worker
from flowerapp.models.flows import NO_DEPENDENCY, STOPPED
from flowerapp.querysets import Claim, Finished, batched
from flowerapp.states import ACTIVE, Status


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
    room = at_once(parent)
    if not Task.objects.await_children(*place, claim.attempt, len(children)):
        return None
    first = Flow.objects.next_child_seqs(claim.flow_id, len(children))
    now, sends = database_now(), min(room, AT_ONCE if dispatch.connected() else 0)
    released: list[Message] = []
    for some in batched(range(len(children))):
        rows = [_row(parent, first, index, children[index], waits=index >= room) for index in some]
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
        parent_seq=parent.task_exec_seq,
        child_index=index,
        child_id=child.id,
        item=child.item,
        dependents=[parent.task_exec_seq],
        pending=int(waits),
        **options_of({name: getattr(parent, name) for name in (*_INHERITED, "child_program", "queue")}),
    )


_INHERITED = ("task_priority", "pool", "max_retries", "retry_delay", "time_limit")


def options_of(parent: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a child that come from those of its step."""
    program = registry.get(parent["child_program"])
    own = {"program": program.name, "queue": program.queue or parent["queue"]}
    return {name: parent[name] for name in _INHERITED} | {"admitted": not parent["pool"]} | own


def at_once(parent: Task) -> int:
    """How many children of a task run at once: where the step does not say, as many as the workers have processes."""
    return parent.max_concurrency or _processes()


def _processes() -> int:
    return Worker.objects.living(conf.get().LEASE_SECONDS).processes() or os.cpu_count() or 1


def give_turns(flow_id: str, seq: int) -> Finished:
    """Let children of a task run that wait for their turn although there is room. In a transaction."""
    parent = Task.objects.one(flow_id, seq).select_for_update().first()
    if parent is None or parent.status is not Status.WAIT:
        return Finished()
    going = Task.objects.filter(task_flow_id=flow_id, parent_seq=seq, exec_status__in=ACTIVE, pending=0).count()
    room = at_once(parent) - going
    given = Task.objects.next_turns(flow_id, seq, room) if room > 0 else []
    chosen = Task.objects.filter(pk__in=given)
    pools = {parent.pool} if given and parent.pool else set()
    return Finished(released=tuple(chosen.filter(admitted=True).messages(alone=True)), pools=frozenset(pools))


def gather(flow_id: str, seq: int) -> Finished | None:
    """Finish a task whose children have all ended, with their outputs in order; None if it does not wait for that.

    Outputs that are too large together fail the task. In a transaction.
    """
    parent = Task.objects.gatherable().one(flow_id, seq).select_for_update(of=("self",)).first()
    if parent is None:
        return None
    try:
        outputs = _outputs(flow_id, seq)
    except InvalidValueError as error:
        fail_parent(parent, str(error))
        Flow.objects.point_to_failure(flow_id, seq)
        return Finished(may_be_stuck=True)
    done = Task.objects.settle(flow_id, seq, outputs)
    if done is not None:
        names = ["task_all_over", *(["all_over"] if done.ended else [])]
        hooks.record(parent.task_id, flow_id, seq, names, attempt=parent.attempt)
    return done


def _outputs(flow_id: str, seq: int) -> list[Any]:
    """Outputs of the children of a task in order; no more is read than may be stored."""
    children = Task.objects.filter(task_flow_id=flow_id, parent_seq=seq).order_by("child_index")
    outputs, size, limit = [], 2, conf.get().MAX_JSON_BYTES
    for output in children.values_list("output", flat=True).iterator(chunk_size=50):
        outputs.append(output)
        size += len(values.dumps(output).encode()) + 1
        if size > limit:
            raise InvalidValueError(
                f"the outputs of the children of task {seq} are together over {limit:,} bytes of JSON "
                "(FLOWER['MAX_JSON_BYTES']); let them return less"
            )
    return outputs


def fail_parent(parent: Task, error: str) -> None:
    """Fail a task because of its children: those that have not ended are stopped. Under the locks of its family."""
    place = parent.task_flow_id, parent.task_exec_seq
    Task.objects.stop_children(*place, f"{STOPPED}, because {error}")
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
    strict = Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=parents, exit_on_failed=True)
    seqs = list(strict.values_list("task_exec_seq", flat=True))
    ended = Task.objects.filter(task_flow_id=flow_id, parent_seq__in=seqs, exec_status=Status.IGNORE)
    return list(ended.filter(output__isnull=True, error__startswith=STOPPED).values_list("task_exec_seq", flat=True))
