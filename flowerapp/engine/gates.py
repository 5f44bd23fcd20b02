"""Gates: steps that propagation completes, without a message or a worker, once what they wait for is satisfied.

A gate passes its input on, or gives a value. Where its condition is false, it is skipped; where it begins a subflow,
all of that is skipped with it. The conditions of remote tasks, which no worker could test, are tested here too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flowerapp.core import conditions, graph, values
from flowerapp.core.gates import VALUE
from flowerapp.core.messages import TaskRef
from flowerapp.engine import hooks, readiness, waits
from flowerapp.engine.context import input_of_step
from flowerapp.engine.dispatching import send_released
from flowerapp.engine.readiness import LockedFlow
from flowerapp.exceptions import FlowerError
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.querysets import Completion, Success
from flowerapp.querysets.db import atomic
from flowerapp.states import IgnoredBy

SUBFLOW = Completion()
"""Nothing was changed: the subflow that the gate begins is to be skipped, under the locks of its flow."""


class _Passage(NamedTuple):
    """What leaves a gate."""

    output: Any
    text: str
    """The output as JSON."""
    is_skipped: bool
    joined: bool
    """Whether the output stands nowhere else as it is."""


def complete(gate: Task) -> Completion | None:
    """End a gate that is ready, begin a wait, or test the condition of a remote task.

    In a transaction, with the row locked.

    ``SUBFLOW`` where ``skip_subflow`` has to do it.
    """
    try:
        passage = _passage(gate)
    except FlowerError as error:
        return _fail(gate, str(error))
    if gate.is_wait and not passage.is_skipped:
        return waits.begin(gate, values.plain(passage.output))
    if passage.is_skipped and gate.end_seq is not None:
        return SUBFLOW
    if gate.is_remote and not passage.is_skipped:
        return Completion() if Task.objects.offer(gate.ref) else None
    return _record(gate, passage)


def _passage(gate: Task) -> _Passage:
    """Raises InvalidValueError for what cannot be merged or is too large, and ConditionError."""
    output, is_skipped, joined = gate.parameters.get("value"), False, False
    if gate.when or gate.program != VALUE:
        value, joined = input_of_step(gate)
        is_skipped = bool(gate.when) and not conditions.holds(gate.when, values.plain(value))
        output = value if is_skipped or gate.program != VALUE else output
    text = values.dumps(output, f"output of {gate.mention}") if is_skipped or not gate.is_remote else ""
    return _Passage(output, text, is_skipped, joined)


def _record(gate: Task, passage: _Passage) -> Completion | None:
    skipped = IgnoredBy.CONDITION if passage.is_skipped else ""
    output = passage.text if passage.joined or not passage.is_skipped else None
    success = Success(ref=gate.ref, attempt=gate.attempt, output=output, ignored_by=skipped, parked=True)
    completion = Task.objects.finish(success)
    if completion is not None and completion.ended:
        hooks.record(gate.task_id, gate.ref, ["all_over"])
    return completion


def _fail(gate: Task, error: str) -> Completion | None:
    if not Task.objects.give_up(gate.ref, error):
        return None
    HistoryEntry.objects.record("fail", *gate.ref, actor="engine", reason=error)
    Flow.objects.point_to_failure(*gate.ref)
    return Completion(may_be_stuck=True)


@atomic()
def skip_subflow(ref: TaskRef) -> Completion | None:
    """Skip a gate whose condition is false, the end of the subflow that it begins, and all steps between them.

    The input of the gate becomes the output of the end. If the condition is true now, it does what ``complete`` does.
    """
    locked = readiness.lock(ref.flow_id)
    gate = locked.tasks.get(ref.seq)
    if gate is None or not Task.objects.completable().at(ref).exists():
        return None
    if (completion := complete(gate)) is not SUBFLOW:
        return completion
    passage = _passage(gate)
    Task.objects.ignore_subflow(ref.flow_id, _between(locked, gate))
    kept = [gate.end_seq or 0, *([ref.seq] if passage.joined else [])]
    Task.objects.filter(task_flow_id=ref.flow_id, task_exec_seq__in=kept).keep_input(passage.output)
    return _store(locked.flow)


def _between(locked: LockedFlow, gate: Task) -> set[int]:
    """Seqs of the gate, its end, and the steps on the paths from the one to the other."""
    seq, edges = gate.task_exec_seq, locked.edges
    return {seq} | graph.reach([seq], graph.followers(edges)) & graph.reach([gate.end_seq or seq], edges)


def _store(flow: Flow) -> Completion:
    """Store what follows from the statuses; what became ready is sent, or named in the answer."""
    tasks = readiness.store(flow).values()
    send_released(flow.pk)
    gates = Task.objects.completable().filter(task_flow_id=flow.pk).values_list("task_exec_seq", flat=True)
    pools = frozenset(task.pool for task in tasks if task.pool)
    return Completion(parked=tuple(gates), pools=pools, may_be_stuck=True)
