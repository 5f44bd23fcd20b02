"""Does what a recorded result or a verb led to: parents and gates to complete, flows that end, places that are free."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowerapp import signals
from flowerapp.core import executor, logs
from flowerapp.core.endings import Ending
from flowerapp.core.gates import DELAY
from flowerapp.core.messages import SEND_BATCH, Message, TaskRef
from flowerapp.core.waits import output_of_event
from flowerapp.engine import children, gates, hooks, matching, readiness, waits
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.dispatching import send, send_released, send_unsent, take_deferred
from flowerapp.engine.matching import Matches
from flowerapp.engine.results import Recorded
from flowerapp.engine.waits import EndedWaits
from flowerapp.models import Event, Flow, Task, Wait
from flowerapp.querysets import Claim, Completion, batched
from flowerapp.querysets.db import atomic, on_commit, retry_on_disconnect
from flowerapp.querysets.finish_many import MOST_AT_ONCE
from flowerapp.states import Status

logger = logs.logger(__name__)

PAGE = 100
"""Parked tasks that one look of the watcher completes."""
FEW = 10
"""Parked tasks that are completed one by one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the message of a task led to."""

    finished: bool
    """The task is satisfied, so what the message carries may continue."""
    released: tuple[Message, ...] = ()
    """Tasks that became ready and are to be sent."""
    ending: Ending | None = None
    """How the attempt ended, where an error ended it; the executor reports it."""


REFUSED = Outcome(finished=False)
"""Nothing was done: the attempt is no longer the one that runs."""


def after_attempt(claim: Claim, recorded: Recorded) -> Outcome:
    """Do what the result of an attempt led to: free its slot, and send the next deferred task."""
    messages = list(recorded.messages)
    try:
        if recorded.completion is not None:
            _propagate(messages, claim.flow_id, claim.task_id, recorded.completion, freed=claim.pool)
        if recorded.followed:
            messages += _take_next_deferred(claim.ref)
    except Exception as error:  # the result is recorded, and the duties do what is left
        if executor.current().runs_here:
            raise
        logger.warning(
            "%s has ended, but not all that follows could be done; the watcher does it: %r", claim.ref, error
        )
        logger.debug("what follows failed", exc_info=True)
    return Outcome(recorded.satisfied, tuple(messages), recorded.ending)


_take_next_deferred = retry_on_disconnect()(Task.objects.take_next_deferred)


def propagate(flow_id: str, task_id: str, completion: Completion, *, freed: str = "") -> list[Message]:
    """Do what a completion led to besides releasing its dependents: the messages that are to be sent.

    ``freed`` is the pool of which the task has given its slot back; empty for none.
    """
    messages: list[Message] = []
    _propagate(messages, flow_id, task_id, completion, freed=freed)
    return messages


def _propagate(messages: list[Message], flow_id: str, task_id: str, completion: Completion, *, freed: str = "") -> None:
    """Add to the messages as they arise: if a step fails, those before it are still to be sent.

    One completion leads to another; there may be hundreds in a row, so this is a loop.
    """
    messages += completion.released
    waiting = deque([completion])
    while waiting:
        completion = waiting.popleft()
        for seq in _still_parked(flow_id, completion.parked):
            if (completed := complete_parked(TaskRef(flow_id, seq))) is not None:
                messages += completed.released
                waiting.append(completed)
        _follow(messages, flow_id, task_id, completion, freed)
        freed = ""


def _still_parked(flow_id: str, seqs: Sequence[int]) -> Sequence[int]:
    """Of many that are parked and ready, those that are left once the delays among them were begun together."""
    if len(seqs) <= FEW:
        return seqs
    _begin_delays([flow_id])
    ready = Task.objects.completable().filter(task_flow_id=flow_id)
    chosen = (ready.filter(task_exec_seq__in=batch) for batch in batched(seqs))
    return [seq for tasks in chosen for seq in tasks.values_list("task_exec_seq", flat=True)]


def _follow(messages: list[Message], flow_id: str, task_id: str, completion: Completion, freed: str) -> None:
    """Settle the flow, give places away, and send what a single completion led to."""
    if completion.may_be_stuck:
        settle(flow_id)
    if completion.ended and completion.limited:
        admit_flows(task_id)
    admit(completion.pools | ({freed} if freed else set()))
    if completion.deferred:
        messages += take_deferred(flow_id)
    if completion.unsent:
        send_unsent(flow_id)
    if completion.opened:
        end_countdowns(completion.opened)
    if completion.looks_back is not None:
        look_back(completion.looks_back)


@retry_on_disconnect()
def complete_parked(ref: TaskRef) -> Completion | None:
    """End a task whose children have all ended, or a gate that is ready; None if it does not wait for that."""
    completion = _complete_parked(ref)
    return gates.skip_subflow(ref) if completion is gates.SUBFLOW else completion


@atomic()
def _complete_parked(ref: TaskRef) -> Completion | None:
    locked = Task.objects.completable().at(ref).select_for_update(of=("self",)).defer("output", "traceback")
    task = locked.first()
    if task is None:
        return None
    return children.complete(task) if task.children else gates.complete(task)


@retry_on_disconnect()
@atomic()
def settle(flow_id: str) -> int:
    """Bring a flow's status in line with its tasks; 1 if it changed."""
    status = Flow.objects.settle(flow_id)
    if status in {Status.FINISH, Status.SUSPEND}:
        task_id = Flow.objects.values_list("task_id", flat=True).get(pk=flow_id)
        if status is Status.FINISH and hooks.record(task_id, TaskRef(flow_id, 0), ["all_over"]):
            hooks.deliver_on_commit(flow_id)
        on_commit(partial(admit_flows, task_id))
    return int(status is not None)


def complete_all_parked(flow_ids: Collection[str] | None = None) -> int:
    """Complete the parents whose children have ended, and the gates that are ready, and begin the waits that are.

    Those of some flows, or a page of all. Returns their number.
    """
    begun = _begin_delays(flow_ids)
    if flow_ids is None:
        rows = _page_of_all()
    else:
        rows = [
            row
            for ids in batched(list(flow_ids))
            for row in _keys(Task.objects.completable().filter(task_flow_id__in=ids))
        ]
    for parked_flow_id, seq, task_id in rows:
        send(propagate(parked_flow_id, task_id, Completion(parked=(seq,))))
        if signals.has_listeners(task_id, "task_all_over", "all_over"):
            hooks.deliver_on_commit(parked_flow_id)
    return begun + len(rows)


def _page_of_all() -> list[Any]:
    kinds = Task.objects.completable_parents(), Task.objects.completable_gates()
    return [row for tasks in kinds for row in _keys(tasks)[:PAGE]]


def _keys(tasks: Any) -> Any:
    return tasks.order_by("task_flow_id", "task_exec_seq").values_list("task_flow_id", "task_exec_seq", "task_id")


# Waits.


def _begin_delays(flow_ids: Collection[str] | None) -> int:
    """Begin the delays that are ready and of known length, many at once; their number."""
    if signals.has_listeners(None, "start_flow", "task_start"):
        return 0
    count, last = 0, 0
    while page := _begin_page(flow_ids, last):
        count, last = count + len(page), max(page)
        if flow_ids is None or len(page) < MOST_AT_ONCE:
            break
    return count


@retry_on_disconnect()
@atomic()
def _begin_page(flow_ids: Collection[str] | None, last: int) -> list[int]:
    """Keys of the delays on one page of those that are ready; what ends at once is ended."""
    ready = Task.objects.completable_gates().filter(program=DELAY, when="", pk__gt=last)
    ready = ready if flow_ids is None else ready.filter(task_flow_id__in=flow_ids)
    locked = ready.select_for_update(of=("self",), skip_locked=True).order_by("pk")
    rows = list(locked.values_list("pk", "task_flow_id", "parameters")[:MOST_AT_ONCE])
    if at_once := waits.begin_delays(rows):
        finished = waits.finish(dict.fromkeys(at_once))
        on_commit(lambda: follow_waits(finished))
    return [key for key, *_ in rows]


def end_waits(outputs: Mapping[int, Any]) -> int:
    """End waits that have begun, and do what that leads to; their number.

    ``outputs`` has an output by the key of each task, or None for its input.
    """
    count = 0
    for keys in batched(sorted(outputs), MOST_AT_ONCE):
        finished = _finish_waits({key: outputs[key] for key in keys})
        follow_waits(finished)
        count += len(finished.ended)
    return count


_finish_waits = retry_on_disconnect()(atomic()(waits.finish))


def end_matches(event_id: int, matches: Matches) -> int:
    """End all waits that an event ends; their number. One with a receipt consumes it.

    A verb may have locked some of their rows for a moment: those are ended after the others, one by one.
    """
    return _end_all(matches.outputs, partial(_finish_matches, event_id, matches.receipts))


def _end_all(outputs: Mapping[int, Any], finish: Callable[..., EndedWaits]) -> int:
    finished = finish(outputs)
    follow_waits(finished)
    locked = set(outputs) - {wait.pk for wait in finished.ended}
    count = len(finished.ended)
    for key in list(Task.objects.filter(pk__in=locked).begun_waits().values_list("pk", flat=True)) if locked else ():
        finished = finish({key: outputs[key]}, patient=True)
        follow_waits(finished)
        count += len(finished.ended)
    return count


@retry_on_disconnect()
@atomic()
def _finish_matches(
    event_id: int, receipts: Set[int], outputs: Mapping[int, Any], *, patient: bool = False
) -> EndedWaits:
    """The event is locked before the waits, as ``_finish_by_earlier`` does it."""
    if receipts:
        Event.objects.lock(event_id)
    finished = waits.finish(outputs, patient=patient)
    if any(wait.pk in receipts for wait in finished.ended):
        Event.objects.consume(event_id)
    return finished


def follow_waits(finished: EndedWaits) -> None:
    """Do what the ends of waits led to."""
    workflows = {wait.ref.flow_id: wait.task_id for wait in finished.ended}
    if with_parked := [flow_id for flow_id, completion in finished.followed.items() if completion.parked]:
        _begin_delays(with_parked)
    messages: list[Message] = []
    for flow_id, completion in finished.followed.items():
        _propagate(messages, flow_id, workflows[flow_id], completion)
    for batch in batched(messages, SEND_BATCH):
        send(batch)


def end_countdowns(latch: str) -> int:
    """End what waits for a latch that has come to zero; their number."""
    count, last = 0, 0
    while rows := list(Wait.objects.opened(latch).filter(pk__gt=last)[:MOST_AT_ONCE]):
        last = rows[-1].pk
        keys = matching.keys_of(rows)
        count += _end_all(dict.fromkeys(keys.values()), _finish_waits)
        Wait.objects.filter(pk__in=[row.pk for row in rows if row.pk not in keys]).delete()
    return count


def look_back(wait_id: int) -> int:
    """End a wait by an event that came before it began, if there is one; 1 if it ended."""
    finished = _finish_by_earlier(wait_id)
    if finished is None or not finished.ended:
        return 0
    follow_waits(finished)
    return 1


@retry_on_disconnect()
@atomic()
def _finish_by_earlier(wait_id: int) -> EndedWaits | None:
    wait = Wait.objects.filter(pk=wait_id).first()
    if wait is None:
        return None
    keys = matching.keys_of([wait])
    event = matching.earlier_event(wait) if keys else None
    if event is None:
        Wait.objects.filter(pk=wait_id).update(looked=True)
        return None
    finished = waits.finish({keys[wait.pk]: output_of_event(wait.match, event.data)}, patient=True)
    if finished.ended and wait.receipt:
        Event.objects.consume(event.pk)
    return finished


def save(flow: Flow) -> None:
    """After a verb has changed tasks: store what follows from their statuses, and send what became ready.

    The caller holds the locks of ``readiness.lock``.
    """
    tasks = readiness.store(flow)
    Wait.objects.forget_ended(flow.pk)
    settle(flow.pk)
    send_released(flow.pk)
    pools = {task.pool for task in tasks.values() if task.pool}
    on_commit(partial(_after_commit, flow.pk, flow.task_id, pools))


def _after_commit(flow_id: str, task_id: str, pools: Set[str]) -> None:
    complete_all_parked([flow_id])
    admit_flows(task_id)
    admit(pools)


def start_next_children(parent: TaskRef, task_id: str) -> int:
    """Start children of a task for whom there is room although none of their siblings ends; their number."""
    with atomic():
        started = children.start_next(parent)
    send(propagate(parent.flow_id, task_id, started))
    return len(started.released)
