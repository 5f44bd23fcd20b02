"""The operators' verbs: each is one call, used alike by admin, API and command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from flowerapp import graph, values
from flowerapp.context import input_of
from flowerapp.engine import children, hooks
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.links import by_seq, edges_of, follow_up, lock, settle, store_links
from flowerapp.engine.registering import options_of, plan_of, pool_problems
from flowerapp.engine.sending import send, send_released
from flowerapp.exceptions import InvalidPlanError, StateConflictError, UnknownFlowError, UnknownTaskError
from flowerapp.models import Event, Flow, Task
from flowerapp.models.flows import STOPPED
from flowerapp.plan import Node, node_problems
from flowerapp.querysets import Finished
from flowerapp.states import SATISFIED, Status


def get_flow(flow_id: str) -> Flow:
    """The flow; raises UnknownFlowError."""
    found = Flow.objects.filter(pk=flow_id).first() if values.storable(flow_id) else None
    if found is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    return found


def get_task(flow_id: str, seq: int) -> Task:
    """The task; raises UnknownFlowError or UnknownTaskError."""
    flow = get_flow(flow_id)
    found = flow.tasks.filter(task_exec_seq=seq).first() if abs(seq) < 2**31 else None
    if found is None:
        raise UnknownTaskError(f"flow {flow_id} has no task {seq}")
    return found


def suspend(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """Hold a flow: running tasks go on, no other is started. Raises StateConflictError if it is held or has ended."""
    flow = get_flow(flow_id)
    with transaction.atomic():
        if not Flow.objects.hold(flow_id):
            flow.refresh_from_db()
            raise StateConflictError(f"flow {flow_id} is already {'held' if flow.held else flow.status.label}")
        Event.objects.record("suspend", flow_id, actor=actor, reason=why)
    _free_places(flow)
    return get_flow(flow_id)


def _free_places(flow: Flow) -> None:
    """Let in who waits for what a flow does not use now."""
    admit_flows(flow.task_id)
    pools = Task.objects.filter(task_flow_id=flow.pk).exclude(pool="").order_by()
    admit(set(pools.values_list("pool", flat=True).distinct()))


def resume(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """Let a held flow go on, and send what is ready. Raises StateConflictError if it is not held."""
    get_flow(flow_id)
    with transaction.atomic():
        flow, tasks = lock(flow_id)
        Task.objects.ask_anew(flow_id)
        if not Flow.objects.release(flow_id):
            raise StateConflictError(_not_held(flow))
        Event.objects.record("resume", flow_id, actor=actor, reason=why)
        store_links(flow, tasks)
    return get_flow(flow_id)


def _not_held(flow: Flow) -> str:
    if flow.status is Status.SUSPEND and flow.failed_seq is not None:
        return f"flow {flow.pk} is not held; its task {flow.failed_seq} failed: rerun or skip it"
    return f"flow {flow.pk} is not held; it is {flow.status.label}"


def wake(flow_id: str, seq: int, *, output: Any = None, actor: str = "", why: str = "") -> Flow:
    """Let a parked task be started again, or, with ``output`` (JSON), end it with that.

    Raises UnknownTaskError, InvalidValueError, or StateConflictError if the task is not parked.
    """
    task_id = get_task(flow_id, seq).task_id
    done: Finished | None = None
    ends_with = None if output is None else values.check(output, "output")
    with transaction.atomic():
        if output is None:
            moved = bool(Task.objects.one(flow_id, seq).wake())
            send_released(flow_id)
        else:
            done = Task.objects.settle(flow_id, seq, ends_with)
            moved = done is not None
            names = ["task_over", "task_all_over", *(["all_over"] if done and done.ended else [])]
            if done and hooks.record(task_id, flow_id, seq, names):
                hooks.have_told(flow_id)
        if not moved:
            raise StateConflictError(f"task {seq} of flow {flow_id} is not parked")
        Event.objects.record("wake", flow_id, seq, actor=actor, reason=why)
    settle(flow_id)
    if done is not None:
        send(follow_up(flow_id, task_id, done))
    return get_flow(flow_id)


def cancel(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """End a flow: its open tasks become Ignore, running ones are told to stop. StateConflictError if it has ended."""
    get_flow(flow_id)
    with transaction.atomic():
        flow, _ = lock(flow_id)
        if flow.ended:
            raise StateConflictError(f"flow {flow_id} has ended: it is {flow.status.label}")
        Task.objects.cancel(flow_id)
        Flow.objects.cancel(flow_id)
        Event.objects.record("cancel", flow_id, actor=actor, reason=why)
    _free_places(flow)
    return get_flow(flow_id)


def skip(flow_id: str, seq: int, *, actor: str = "", why: str = "") -> Flow:
    """Pass a task over: its input becomes its output and its followers go on.

    Raises UnknownTaskError, or StateConflictError unless the task is Wait or Suspend.
    """
    get_task(flow_id, seq)
    with transaction.atomic():
        flow, tasks = lock(flow_id)
        task = by_seq(tasks)[seq]
        _must_be_open(flow)
        if not Task.objects.skip(flow_id, seq, input_of(flow_id, seq)):
            raise StateConflictError(f"task {seq} of flow {flow_id} is {task.status.label}; skip takes Wait or Suspend")
        task.exec_status = Status.IGNORE
        if task.children:
            Task.objects.stop_children(flow_id, seq, f"{STOPPED}, because task {seq} was skipped", failed=True)
            tasks = Task.objects.for_update(flow_id)
        children.revive(flow_id, tasks)
        Event.objects.record("skip", flow_id, seq, attempt=task.attempt, actor=actor, reason=why)
        store_links(flow, tasks)
    return get_flow(flow_id)


def change(
    flow_id: str,
    seq: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    priority: int | None = None,
    queue: str | None = None,
    actor: str = "",
    why: str = "",
) -> Task:
    """Change a task that is not running: ``parameters`` are laid over those it has.

    Raises UnknownTaskError, InvalidPlanError, or StateConflictError unless the task is Wait or Suspend.
    """
    get_task(flow_id, seq)
    with transaction.atomic():
        flow, tasks = lock(flow_id)
        _must_be_open(flow)
        _change(flow, tasks, seq, parameters=parameters, priority=priority, queue=queue, actor=actor, why=why)
        store_links(flow, tasks)
    return get_task(flow_id, seq)


def _change(
    flow: Flow,
    tasks: Sequence[Task],
    seq: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    priority: int | None = None,
    queue: str | None = None,
    actor: str,
    why: str,
) -> None:
    task = by_seq(tasks).get(seq)
    if task is None:
        raise UnknownTaskError(f"flow {flow.pk} has no task {seq}")
    if parameters is not None:
        held = task.parameters if isinstance(task.parameters, dict) else {}
        task.parameters = {**held, **parameters}
    if priority is not None:
        task.task_priority = priority
    if queue is not None:
        task.queue = queue
    _must_fit(seq, task, flow.task_id)
    columns = {"parameters": task.parameters, "task_priority": task.task_priority, "queue": task.queue}
    if priority is not None or queue is not None:
        columns |= {"sent_ts": None, "left_over": False}
    if not Task.objects.change(flow.pk, seq, **columns):
        raise StateConflictError(f"task {seq} of flow {flow.pk} is {task.status.label}; change takes Wait or Suspend")
    details = {"parameters": values.masked(dict(parameters or {})), "priority": priority, "queue": queue}
    told = {name: value for name, value in details.items() if value not in (None, {})}
    Event.objects.record("change", flow.pk, seq, attempt=task.attempt, actor=actor, reason=why, details=told)


def rerun(
    flow_id: str,
    *,
    from_seq: int | None = None,
    all_tasks: bool = False,
    parameters: Mapping[int, Mapping[str, Any]] | None = None,
    refresh: bool = False,
    actor: str = "",
    why: str = "",
) -> Flow:
    """Put tasks back to Wait and send the ready ones: the failed ones, ``from_seq`` and all after it, or all.

    With all of them, the shared state is empty again.

    ``parameters`` are changed first, by ``task_exec_seq``; ``refresh`` takes the definition's present program,
    parameters and options for the tasks it resets. Raises UnknownFlowError, UnknownTaskError, InvalidPlanError, or
    StateConflictError if nothing failed, or a task in the affected set is Running (``details["running"]`` lists them).
    """
    get_flow(flow_id)
    with transaction.atomic():
        flow, tasks = lock(flow_id)
        affected = _affected(flow, tasks, from_seq, all_tasks=all_tasks)
        again = set() if all_tasks else affected if from_seq is None else {from_seq}
        tasks, affected = _with_children(flow, tasks, affected, again)
        reset = [task for task in tasks if task.task_exec_seq in affected]
        moved = Task.objects.rerun(flow_id, [task.task_exec_seq for task in reset if _has_begun(task)])
        for task in reset:
            task.exec_status, task.children, task.parked = Status.WAIT, 0, False
        if refresh:
            _refresh(flow, reset)
        for seq, changed in (parameters or {}).items():
            _change(flow, tasks, seq, parameters=changed, actor=actor, why=why)
        for task in reset:
            _must_fit(task.task_exec_seq, task, flow.task_id)
        if all_tasks:
            Flow.objects.forget_state(flow_id)
        how = {"all": True} if all_tasks else {"from": from_seq} if from_seq is not None else {"failed": True}
        told = {**how, "refresh": refresh, "tasks": moved, "seqs": sorted(affected)[:100]}
        Event.objects.record("rerun", flow_id, from_seq, actor=actor, reason=why, details=told)
        store_links(flow, tasks)
    return get_flow(flow_id)


def _has_begun(task: Task) -> bool:
    """Whether there is anything to reset: a task that waits for others and nothing else stays as it is."""
    waits_otherwise = task.parked or task.due_ts is not None or task.children or task.retries or task.rescues
    return task.status is not Status.WAIT or bool(waits_otherwise)


def _must_fit(seq: int, task: Task, workflow: str) -> None:
    """Raise InvalidPlanError unless the task can run as it is now."""
    node = Node(
        seq=seq, program=task.program, parameters=task.parameters, priority=task.task_priority, queue=task.queue
    )
    if problems := list(node_problems(node)):
        raise InvalidPlanError(problems, workflow)


def _affected(flow: Flow, tasks: Sequence[Task], from_seq: int | None, *, all_tasks: bool) -> set[int]:
    named = by_seq(tasks)
    if from_seq is None and not all_tasks:
        failed_seqs = {seq for seq, task in named.items() if task.failed}
        if not failed_seqs:
            raise StateConflictError(f"no task of flow {flow.pk} has failed; name one with from, or take all")
        return failed_seqs
    if from_seq is not None and from_seq not in named:
        raise UnknownTaskError(f"flow {flow.pk} has no task {from_seq}")
    affected = set(named) if from_seq is None else graph.reach([from_seq], graph.followers(edges_of(tasks)))
    kept = named[from_seq].parent_seq if from_seq is not None else None
    parents = affected - {kept}
    affected |= {seq for seq, task in named.items() if task.parent_seq in parents}
    running = sorted(seq for seq in affected if named[seq].status is Status.RUNNING)
    if running:
        listed = ", ".join(map(str, running[:20]))
        raise StateConflictError(
            f"tasks {listed} of flow {flow.pk} are Running; wait for them, or cancel the flow", running=running
        )
    return affected


def _with_children(
    flow: Flow, tasks: Sequence[Task], affected: set[int], again: set[int]
) -> tuple[list[Task], set[int]]:
    """What is left of a flow's tasks, and of the ``affected`` ones those that are reset.

    A parent keeps its children, and waits for them, where some of them are what is started ``again``; those that were
    stopped because of these run too. The children of other affected tasks are gone: their programs add them anew.
    """
    named = by_seq(tasks)
    parents = {named[seq].parent_seq for seq in again}
    waiting = {seq for seq in affected if seq in parents}
    stopped = set(children.stopped_children(flow.pk, waiting))
    gone = {seq for seq, task in named.items() if task.parent_seq in affected - waiting}
    Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=gone).delete()
    Task.objects.reopen(flow.pk, waiting)
    for seq in waiting:
        named[seq].exec_status, named[seq].parked = Status.WAIT, True
    return [task for task in tasks if task.task_exec_seq not in gone], (affected | stopped) - gone - waiting


def _refresh(flow: Flow, tasks: Sequence[Task]) -> None:
    """Take the definition's present state for these tasks; steps that are gone from it stay as they are."""
    plan = plan_of(flow.task_id)
    nodes = {node.seq: node for node in plan.nodes}
    seqs = {task.task_seq for task in tasks}
    problems = [problem for seq in sorted(seqs & set(nodes)) for problem in node_problems(nodes[seq])]
    problems += [problem for problem in pool_problems(plan) if problem.seq in seqs]
    if problems:
        raise InvalidPlanError(problems, flow.task_id)
    for task in tasks:
        if node := nodes.get(task.task_seq):
            options = options_of(node, flow.task_priority)
            if task.parent_seq is not None:
                options = children.options_of(options)
            for name, value in options.items():
                setattr(task, name, value)
            Task.objects.one(flow.pk, task.task_exec_seq).update(**options, left_over=False)


def _must_be_open(flow: Flow) -> None:
    if flow.ended:
        raise StateConflictError(f"flow {flow.pk} has ended: it is {flow.status.label}; rerun it from a task or all")


def delete(flow_ids: Sequence[str]) -> int:
    """Delete ended flows with their tasks and history; the number deleted."""
    with transaction.atomic():
        ended = Flow.objects.filter(pk__in=flow_ids, exec_status__in=SATISFIED)
        return int(ended.delete()[1].get("flowerapp.Flow", 0))
