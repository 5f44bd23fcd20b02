"""Which tasks a rerun resets: worked out from the rows of a locked flow, without a look at the database."""

from __future__ import annotations

from dataclasses import dataclass

from flowerapp.core import graph
from flowerapp.engine.readiness import LockedFlow
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Task
from flowerapp.states import IgnoredBy, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """What a rerun does to the tasks of a flow; sets of ``task_exec_seq``."""

    seqs: frozenset[int]
    """Back to Wait, and run anew."""
    begun: frozenset[int]
    """Those of them that have something to reset; a task that waits for others and nothing else stays as it is."""
    reopened: frozenset[int]
    """Parents that wait for their children once more, because one of these runs anew."""
    deleted: frozenset[int]
    """Children whose parents' programs add them anew."""


def choose(locked: LockedFlow, from_seq: int | None, *, all_tasks: bool, cancelled: bool = False) -> Reset:
    """The failed tasks, ``from_seq`` and all after it, all, or those that were cancelled with the flow.

    Raises UnknownTaskError, and StateConflictError if nothing failed or was cancelled, or a task in the affected set is
    Running (``details["running"]`` lists them).
    """
    tasks = locked.tasks
    if cancelled:
        affected = _cancelled(locked)
    else:
        affected = _all_from(locked, from_seq) if all_tasks or from_seq is not None else _failed(locked)
    again = set() if all_tasks or cancelled else affected if from_seq is None else {from_seq}
    parents = {tasks[seq].parent_seq for seq in again}
    reopened = {seq for seq in affected if seq in parents}
    deleted = {seq for seq, task in tasks.items() if task.parent_seq in affected - reopened}
    seqs = (affected | _stopped_with(tasks, reopened)) - deleted - reopened
    begun = {seq for seq in seqs if _has_begun(tasks[seq])}
    return Reset(seqs=frozenset(seqs), begun=frozenset(begun), reopened=frozenset(reopened), deleted=frozenset(deleted))


def _failed(locked: LockedFlow) -> set[int]:
    failed = {seq for seq, task in locked.tasks.items() if task.failed}
    if not failed:
        raise StateConflictError(f"no task of flow {locked.flow.pk} has failed; name one with from, or take all")
    return failed


def _cancelled(locked: LockedFlow) -> set[int]:
    """What ended with the flow; all that follows one of these did too."""
    cancelled = {seq for seq, task in locked.tasks.items() if task.ignored_by == IgnoredBy.CANCEL}
    if not cancelled:
        raise StateConflictError(f"no task of flow {locked.flow.pk} was cancelled; nothing is there to resume")
    return cancelled


def _all_from(locked: LockedFlow, from_seq: int | None) -> set[int]:
    """``from_seq`` and all after it, or all tasks, with the children that belong to them."""
    tasks, kept = locked.tasks, None
    if from_seq is None:
        affected = set(tasks)
    else:
        kept = locked.task(from_seq).parent_seq
        affected = graph.reach([from_seq], graph.followers(locked.edges))
    parents = affected - {kept}
    affected |= {seq for seq, task in tasks.items() if task.parent_seq in parents}
    running = sorted(seq for seq in affected if tasks[seq].status is Status.RUNNING)
    if running:
        listed = ", ".join(tasks[seq].title for seq in running[:20])
        raise StateConflictError(
            f"tasks {listed} of flow {locked.flow.pk} are Running; wait for them, or cancel the flow", running=running
        )
    return affected


def _stopped_with(tasks: dict[int, Task], parents: set[int]) -> set[int]:
    """Children of these parents that were stopped because of what is run anew."""
    strict = {seq for seq in parents if tasks[seq].exit_on_failed}
    return {
        seq
        for seq, task in tasks.items()
        if task.parent_seq in strict and task.status is Status.IGNORE and task.ignored_by == IgnoredBy.SIBLING
    }


def _has_begun(task: Task) -> bool:
    parked = task.parked and (not task.is_gate or task.has_begun_to_wait)
    waits_otherwise = parked or task.due_ts is not None or task.children or task.retries or task.rescues
    return task.status is not Status.WAIT or bool(waits_otherwise)
