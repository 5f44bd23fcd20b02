"""Does what a recorded result led to: parents whose children have ended, flows that end, places that became free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from flowerapp import signals
from flowerapp.core import executor, logs
from flowerapp.core.endings import Ending
from flowerapp.core.messages import Message, TaskRef
from flowerapp.engine import children, hooks
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.dispatching import send, send_unsent, take_deferred
from flowerapp.engine.results import Recorded
from flowerapp.models import Flow, Task
from flowerapp.querysets import Claim, Completion
from flowerapp.querysets.db import atomic, on_commit, retry_on_disconnect
from flowerapp.states import Status

logger = logs.logger(__name__)


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
    """Add to the messages as they arise: if a step fails, those before it are still to be sent."""
    messages += completion.released
    for seq in completion.parents:
        completed = complete_parent(TaskRef(flow_id, seq))
        if completed is not None:
            _propagate(messages, flow_id, task_id, completed)
    if completion.may_be_stuck:
        settle(flow_id)
    if completion.ended and completion.limited:
        admit_flows(task_id)
    admit(completion.pools | ({freed} if freed else set()))
    if completion.deferred:
        messages += take_deferred(flow_id)
    if completion.unsent:
        send_unsent(flow_id)


@retry_on_disconnect()
@atomic()
def complete_parent(ref: TaskRef) -> Completion | None:
    """Finish a task whose children have all ended, with their outputs; None if it does not wait for that."""
    return children.complete(ref)


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


def complete_parents(flow_id: str | None = None, *, limit: int = 100) -> int:
    """Finish the tasks of a flow, or of all, whose children have ended and that no process has completed.

    Returns their number.
    """
    waiting = Task.objects.completable()
    waiting = waiting if flow_id is None else waiting.filter(task_flow_id=flow_id)
    rows = list(waiting.values_list("task_flow_id", "task_exec_seq", "task_id")[:limit])
    for parent_flow_id, seq, task_id in rows:
        send(propagate(parent_flow_id, task_id, Completion(parents=(seq,))))
        if signals.has_listeners(task_id, "task_all_over", "all_over"):
            hooks.deliver_on_commit(parent_flow_id)
    return len(rows)


def start_next_children(parent: TaskRef, task_id: str) -> int:
    """Start children of a task for whom there is room although none of their siblings ends; their number."""
    with atomic():
        started = children.start_next(parent)
    send(propagate(parent.flow_id, task_id, started))
    return len(started.released)
