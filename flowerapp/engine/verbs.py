"""The operators' verbs: each is one call, used alike by admin, API and command line.

Skip, change, resume and rerun lock all rows of the flow, change them by guarded methods, and leave to
``propagation.save`` what follows from the statuses that the rows then have. Cancel locks and does not save; the others
do neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowerapp.core import unmasking
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import checked_why
from flowerapp.core.overriding import MayOverride
from flowerapp.engine import approvals, changes, children, due_waits, hooks, masked_flows, propagation, readiness, waits
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.changes import TaskChange
from flowerapp.engine.dispatching import send, send_released
from flowerapp.engine.propagation import propagate, settle
from flowerapp.engine.reset import Reset, choose
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Flow, HistoryEntry, Task, Wait
from flowerapp.querysets import Completion
from flowerapp.querysets.db import atomic
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.status_style import flow_style
from flowerapp.selectors.tasks import get_task
from flowerapp.states import SATISFIED, Status


def suspend(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """Hold a flow: running tasks end, no other is started. Raises StateConflictError if it is held or has ended."""
    flow = get_flow(flow_id)
    with atomic():
        if not Flow.objects.hold(flow_id):
            flow.refresh_from_db()
            raise StateConflictError(f"flow {flow_id} is already {'held' if flow.held else flow_style(flow).word}")
        HistoryEntry.objects.record("suspend", flow_id, actor=actor, reason=checked_why(why))
    _free_places(flow)
    flow.refresh_from_db()
    return flow


def _free_places(flow: Flow) -> None:
    """Admit what waits for the places that a flow does not use now."""
    admit_flows(flow.task_id)
    pools = Task.objects.filter(task_flow_id=flow.pk).exclude(pool="").order_by()
    admit(set(pools.values_list("pool", flat=True).distinct()))


def resume(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """Let a held flow continue, and send what is ready.

    Raises StateConflictError if it is not held, InvalidPlanError if an archive left out what its tasks would run with.
    """
    with atomic():
        flow = readiness.lock(flow_id).flow
        Task.objects.ask_anew(flow_id)
        if not Flow.objects.release(flow_id):
            raise StateConflictError(_not_held(flow))
        masked_flows.must_have_values(flow)
        HistoryEntry.objects.record("resume", flow_id, actor=actor, reason=checked_why(why))
        propagation.save(flow)
    flow.refresh_from_db()
    return flow


def _not_held(flow: Flow) -> str:
    if flow.status is Status.SUSPEND and (failed := flow.failed_task):
        return f"flow {flow.pk} is not held; its {failed.mention} failed: rerun or skip it"
    return f"flow {flow.pk} is not held; it is {flow_style(flow).word}"


def wake(
    flow_id: str,
    seq: int,
    *,
    output: Any = None,
    actor: str = "",
    why: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> Flow:
    """Start a parked task again, or, with ``output`` (JSON), end it with that; a wait ends in either case.

    Raises UnknownTaskError, InvalidValueError, StateConflictError if the task is not parked, and InvalidPlanError if
    the output would become a parameter, which the caller may not override, of a follower that holds masked values.
    """
    task = get_task(flow_id, seq)
    ends_with = None if output is None else unmasking.checked(output, "output")
    if output is not None and may_override is not MayOverride.ANY:
        steps = Task.objects.filter(task_flow_id=flow_id, parent_seq=None).defer("output", "traceback")
        changes.must_not_give_input(readiness.LockedFlow(task.task_flow, readiness.by_seq(steps)), task, may_override)
    if task.is_wait:
        return _end_wait(task, ends_with, actor, why)
    with atomic():
        completion = _wake(task) if output is None else _complete_parked(task, ends_with)
        if completion is None:
            raise StateConflictError(f"{task.mention} of flow {flow_id} is not parked")
        HistoryEntry.objects.record("wake", flow_id, seq, actor=actor, reason=checked_why(why))
    settle(flow_id)
    send(propagate(flow_id, task.task_id, completion))
    return get_flow(flow_id)


def _end_wait(task: Task, output: Any, actor: str, why: str) -> Flow:
    with atomic():
        finished = waits.finish({task.pk: output}, patient=True)
        if not finished.ended:
            raise StateConflictError(f"{task.mention} of flow {task.task_flow_id} has not begun to wait, or has ended")
        HistoryEntry.objects.record("wake", *task.ref, actor=actor, reason=checked_why(why))
    propagation.follow_waits(finished)
    return get_flow(task.task_flow_id)


def _wake(task: Task) -> Completion | None:
    moved = Task.objects.at(task.ref).wake()
    send_released(task.task_flow_id)
    return Completion() if moved else None


def _complete_parked(task: Task, output: Any) -> Completion | None:
    completion = None if task.is_gate or task.is_remote else Task.objects.complete_parked(task.ref, output)
    if completion is not None:
        events = ["task_over", "task_all_over", *(["all_over"] if completion.ended else [])]
        if hooks.record(task.task_id, task.ref, events):
            hooks.deliver_on_commit(task.task_flow_id)
    return completion


def cancel(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """End a flow: its open tasks become Ignore, running ones are asked to stop. StateConflictError if it has ended."""
    with atomic():
        flow = readiness.lock(flow_id).flow
        if flow.ended:
            raise StateConflictError(f"flow {flow_id} has ended: it is {flow_style(flow).word}")
        Task.objects.cancel(flow_id)
        Flow.objects.cancel(flow_id)
        approvals.close(flow_id)
        Wait.objects.forget_ended(flow_id)
        HistoryEntry.objects.record("cancel", flow_id, actor=actor, reason=checked_why(why))
    _free_places(flow)
    due_waits.give_back_of({flow_id})
    flow.refresh_from_db()
    return flow


def skip(
    flow_id: str, seq: int, *, actor: str = "", why: str = "", may_override: MayOverride = MayOverride.ANY
) -> Flow:
    """Skip a task: its input becomes its output and its followers are released.

    Raises UnknownTaskError, StateConflictError unless the task is Wait or Suspend, and InvalidPlanError if that output
    would become a parameter, which the caller may not override, of a follower that holds masked values.
    """
    ref = TaskRef(flow_id, seq)
    with atomic():
        locked = readiness.lock(flow_id)
        flow, task = locked.flow, locked.task(seq)
        _must_be_open(flow)
        changes.must_not_give_input(locked, task, may_override)
        if not Task.objects.skip(ref):
            raise StateConflictError(changes.refusal(task, "skipped"))
        if task.children:
            Task.objects.stop_children(ref, f"stopped, because {task.mention} was skipped", failed=True)
        approvals.close(flow_id, [seq])
        children.revive_parents(flow_id)
        HistoryEntry.objects.record("skip", flow_id, seq, attempt=task.attempt, actor=actor, reason=checked_why(why))
        propagation.save(flow)
    flow.refresh_from_db()
    return flow


def _must_be_open(flow: Flow) -> None:
    if flow.ended:
        raise StateConflictError(
            f"flow {flow.pk} has ended: it is {flow_style(flow).word}; rerun it from a task or all"
        )


def change(
    flow_id: str,
    seq: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    priority: int | None = None,
    queue: str | None = None,
    actor: str = "",
    why: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> Task:
    """Change a task that is not running: ``parameters`` are laid over those it has; a value ``••••`` keeps its own.

    ``may_override`` says which of them the caller may change if the task holds masked values. Raises UnknownTaskError,
    InvalidPlanError, or StateConflictError unless the task is Wait or Suspend.
    """
    wish = TaskChange(parameters=parameters, priority=priority, queue=queue, may_override=may_override)
    with atomic():
        locked = readiness.lock(flow_id)
        _must_be_open(locked.flow)
        task = locked.task(seq)
        changes.change(task, wish, actor, why)
        propagation.save(locked.flow)
    task.refresh_from_db()
    return task


def rerun(
    flow_id: str,
    *,
    from_seq: int | None = None,
    all_tasks: bool = False,
    cancelled: bool = False,
    parameters: Mapping[int, Mapping[str, Any]] | None = None,
    refresh: bool = False,
    actor: str = "",
    why: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> Flow:
    """Put tasks back to Wait and send the ready ones: the failed ones, ``from_seq`` and all after it, or all.

    ``cancelled`` takes those that were cancelled with the flow instead. With all, the shared state is empty again.

    ``parameters`` are changed first, by ``task_exec_seq``, as ``change`` does it; ``refresh`` takes the definition's
    present program, parameters and options for the tasks it resets, before that. Raises UnknownFlowError,
    UnknownTaskError, InvalidPlanError, or StateConflictError if nothing failed or was cancelled, or a task in the
    affected set is Running (``details["running"]`` lists them).
    """
    changed = (parameters or {}).items()
    wishes = {seq: TaskChange(parameters=own, may_override=may_override) for seq, own in changed}
    with atomic():
        locked = readiness.lock(flow_id)
        reset = choose(locked, from_seq, all_tasks=all_tasks, cancelled=cancelled)
        moved = _reset(locked.flow, reset)
        if refresh:
            changes.refresh(locked.flow, reset.seqs)
        changes.change_all(locked.flow, wishes, actor, why)
        if all_tasks:
            Flow.objects.forget_state(flow_id)
        masked_flows.must_have_values(locked.flow)
        changes.must_all_fit(locked.flow, reset.seqs)
        how = {"from": from_seq} if from_seq is not None else {_chosen(all_tasks, cancelled): True}
        details = {**how, "refresh": refresh, "tasks": moved, "seqs": sorted(reset.seqs)[:100]}
        HistoryEntry.objects.record("rerun", flow_id, from_seq, actor=actor, reason=checked_why(why), details=details)
        propagation.save(locked.flow)
    locked.flow.refresh_from_db()
    return locked.flow


def _chosen(all_tasks: bool, cancelled: bool) -> str:
    """What a rerun took, for the history."""
    return "all" if all_tasks else "cancelled" if cancelled else "failed"


def _reset(flow: Flow, reset: Reset) -> int:
    """Put tasks back to Wait; the number of rows that changed."""
    approvals.close(flow.pk, reset.seqs | reset.deleted)
    Task.objects.filter(task_flow_id=flow.pk, task_exec_seq__in=reset.deleted).delete()
    Task.objects.reopen(flow.pk, reset.reopened)
    return Task.objects.rerun(flow.pk, reset.begun)


def delete(flow_ids: Sequence[str]) -> int:
    """Delete ended flows with their tasks and history; the number deleted."""
    with atomic():
        ended = Flow.objects.filter(pk__in=flow_ids, exec_status__in=SATISFIED)
        return int(ended.delete()[1].get("flowerapp.Flow", 0))
