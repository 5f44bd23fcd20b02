"""How the tasks of a flow hang together: what follows from their states, and the locks to change it under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from django.db import transaction

from flowerapp import conf, dispatch, graph
from flowerapp.dispatch import Message
from flowerapp.engine import children, hooks
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.sending import send, send_released, spread
from flowerapp.exceptions import UnknownFlowError
from flowerapp.models import Flow, Task
from flowerapp.querysets import Finished
from flowerapp.states import OPEN, Status


def lock(flow_id: str) -> tuple[Flow, list[Task]]:
    """All rows of a flow, locked in the one order: tasks, then the flow. In a transaction.

    Children may be added while we wait for the first locks, and are not among what those returned: then all locks are
    given back and taken anew. With the flow locked, nobody adds any.
    """
    while True:
        before = transaction.savepoint()
        tasks = Task.objects.for_update(flow_id)
        flow = Flow.objects.for_update(flow_id)
        if flow is None:
            raise UnknownFlowError(f"there is no flow {flow_id!r}")
        if Task.objects.filter(task_flow_id=flow_id).count() == len(tasks):
            transaction.savepoint_commit(before)
            return flow, tasks
        transaction.savepoint_rollback(before)


def by_seq(tasks: Sequence[Task]) -> dict[int, Task]:
    """Tasks of one flow by their ``task_exec_seq``."""
    return {task.task_exec_seq: task for task in tasks}


def edges_of(tasks: Sequence[Task]) -> dict[int, list[int]]:
    """``{seq: seqs it waits for}``: the steps before it, as far as there are such tasks, and its children."""
    named = by_seq(tasks)
    edges = {seq: [each for each in task.depends_on if each in named] for seq, task in named.items()}
    for task in tasks:
        if task.parent_seq is not None:
            edges[task.parent_seq].append(task.task_exec_seq)
    return edges


def relink(tasks: Sequence[Task]) -> int:
    """Set what follows from the state of all tasks of a flow: pending, dependents and canvas of the open ones.

    Returns the number of open sinks.
    """
    named = by_seq(tasks)
    edges = edges_of(tasks)
    is_open = {seq for seq, task in named.items() if task.exec_status in OPEN}
    links = graph.links(edges, is_open)
    for seq in is_open:
        named[seq].pending = links.pending[seq]
        named[seq].dependents = links.dependents[seq]
        named[seq].canvas = None
    _set_turns([named[seq] for seq in is_open], named)
    _set_canvas({seq: named[seq] for seq in is_open if named[seq].parent_seq is None}, edges)
    return links.sinks


def _set_turns(tasks: Iterable[Task], named: Mapping[int, Task]) -> None:
    """Of the open children of a task only so many may run; those that do, or were about to, come first."""
    siblings: dict[int, list[Task]] = {}
    for task in tasks:
        if task.parent_seq is not None and not task.failed:
            siblings.setdefault(task.parent_seq, []).append(task)
    for parent_seq, family in siblings.items():
        at_once = children.at_once(named[parent_seq])
        family.sort(key=lambda task: (task.status is not Status.RUNNING, task.sent_ts is None, task.child_index))
        for task in family[at_once:]:
            task.pending = 1


def _set_canvas(steps: Mapping[int, Task], edges: graph.Edges) -> None:
    """What travels together; a step with children ends later than its message, one of a pool has no slot yet."""
    inner = {seq: [each for each in edges[seq] if each in steps] for seq in steps}
    alone = {seq for seq, task in steps.items() if task.pool or task.child_program}
    for seq, run in graph.runs(inner, conf.get().CHAIN_LENGTH, alone).items():
        join = steps[run.join].link if run.join is not None else None
        steps[seq].canvas = dispatch.canvas_of([steps[each].link for each in run.then], join)


def store_links(flow: Flow, tasks: Sequence[Task]) -> None:
    """Write what an operator's verb made of the tasks' links and the flow, and send what it released."""
    before = {task.pk: (task.pending, task.dependents, task.canvas) for task in tasks}
    open_sinks = relink(tasks)
    changed = [task for task in tasks if before[task.pk] != (task.pending, task.dependents, task.canvas)]
    Task.objects.bulk_update(changed, ["pending", "dependents", "canvas"], batch_size=500)
    Task.objects.filter(task_flow_id=flow.pk).forget_sent()
    Task.objects.filter(task_flow_id=flow.pk, owed__gt=0).update(owed=0)
    failures = [(task.parent_seq is None, str(task.suspended_ts), task.task_exec_seq) for task in tasks if task.failed]
    Flow.objects.relinked(flow.pk, open_sinks, min(failures)[2] if failures else None)
    settle(flow.pk)
    send_released(flow.pk)
    pools = {task.pool for task in tasks if task.pool}
    transaction.on_commit(lambda: _let_in(flow, pools), robust=True)


def _let_in(flow: Flow, pools: Set[str]) -> None:
    gather_all(flow.pk)
    admit_flows(flow.task_id)
    admit(pools)


def settle(flow_id: str) -> int:
    """Bring a flow's state in line with its tasks; 1 if it changed."""
    with transaction.atomic():
        status = Flow.objects.settle(flow_id)
        if status in {Status.FINISH, Status.SUSPEND}:
            task_id = Flow.objects.values_list("task_id", flat=True).get(pk=flow_id)
            if status is Status.FINISH and hooks.record(task_id, flow_id, None, ["all_over"]):
                hooks.have_told(flow_id)
            transaction.on_commit(lambda: admit_flows(task_id), robust=True)
    return int(status is not None)


def follow_up(flow_id: str, task_id: str, done: Finished) -> tuple[Message, ...]:
    """Do what a satisfied task led to, beside its followers: the messages that are to be sent."""
    released = list(done.released)
    for seq in done.parents:
        with transaction.atomic():
            gathered = children.gather(flow_id, seq)
        if gathered is not None:
            released += follow_up(flow_id, task_id, gathered)
    if done.may_be_stuck:
        settle(flow_id)
    if done.ended and done.limited:
        admit_flows(task_id)
    admit(done.pools)
    if done.more:
        released += spread(flow_id)
    return tuple(released)


def gather_all(flow_id: str | None = None, *, most: int = 100) -> int:
    """Finish the tasks of a flow, or of all, whose children have ended and that nobody finished; their number."""
    waiting = Task.objects.gatherable()
    waiting = waiting if flow_id is None else waiting.filter(task_flow_id=flow_id)
    found = list(waiting.values_list("task_flow_id", "task_id", "task_exec_seq")[:most])
    for place, task_id, seq in found:
        send(follow_up(place, task_id, Finished(parents=(seq,))))
        if hooks.heard(task_id, "task_all_over", "all_over"):
            hooks.have_told(place)
    return len(found)


def give_turns(places: Iterable[tuple[str, str, int]]) -> int:
    """Let children run for whom there is room and whose turn got lost; ``places`` are those of their parents.

    Whoever ends passes by a sibling that is just locked, for example by an operator's verb.
    """
    count = 0
    for flow_id, task_id, seq in places:
        with transaction.atomic():
            given = children.give_turns(flow_id, seq)
        send(follow_up(flow_id, task_id, given))
        count += len(given.released)
    return count
