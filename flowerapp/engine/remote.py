"""Remote tasks, and others that wait for an answer: another system does their work, and reports how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowerapp.core import masking, unmasking, values
from flowerapp.core.gates import ANSWERED
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import checked_why
from flowerapp.core.overriding import MayOverride
from flowerapp.engine import changes, hooks
from flowerapp.engine.dispatching import send
from flowerapp.engine.failures import Failure, fail_for_good
from flowerapp.engine.masks import secrets_of
from flowerapp.engine.propagation import propagate, settle
from flowerapp.engine.readiness import LockedFlow, by_seq
from flowerapp.exceptions import InvalidValueError, StateConflictError
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.querysets import Completion, Success
from flowerapp.querysets.db import atomic
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.status_style import task_style
from flowerapp.selectors.tasks import get_task
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status


def end_task(
    flow_id: str,
    seq: int,
    *,
    output: Any = None,
    actor: str = "",
    why: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> Flow:
    """Finish a task that waits for another system, with what that one made; the tasks after it are released.

    ``output`` is JSON (None is ``{}``). Raises UnknownTaskError, InvalidValueError, StateConflictError for a task that
    waits for no other system, is not ready, or has ended, and InvalidPlanError if the output would become a parameter,
    which the caller may not override, of a follower that holds masked values.
    """
    checked = unmasking.checked({} if output is None else output, "output")
    with atomic():
        task = _locked(flow_id, seq)
        if may_override is not MayOverride.ANY:
            steps = Task.objects.filter(task_flow_id=flow_id, parent_seq=None).defer("output", "traceback")
            changes.must_not_give_input(LockedFlow(task.task_flow, by_seq(steps)), task, may_override)
        completion = _end(task, checked) or Completion()
        HistoryEntry.objects.record("end", *task.ref, actor=actor, reason=checked_why(why))
        of_step = ["task_all_over"] if task.parent_seq is None else []
        _record_events(task, ["task_over", *of_step, *(["all_over"] if completion.ended else [])])
    return _propagated(task, completion)


def fail_task(flow_id: str, seq: int, reason: str, *, actor: str = "", why: str = "") -> Flow:
    """Suspend a task that waits for another system, with the reason that it gives; a rerun lets it wait again.

    ``why`` is the operator's, for the history. Raises what ``end_task`` raises.
    """
    if not reason.strip():
        raise InvalidValueError("the reason is empty; say why the task failed")
    with atomic():
        if (parent_seq := get_task(flow_id, seq).parent_seq) is not None:
            Task.objects.family(TaskRef(flow_id, parent_seq))  # its siblings and its parent are locked before it
        task = _locked(flow_id, seq)
        error = masking.masked(values.text(reason), secrets_of(*task.ref))
        completion = fail_for_good(_failure_of(task, error))
        HistoryEntry.objects.record("fail", *task.ref, actor=actor, reason=checked_why(why) or error)
        _record_events(task, ["task_failed"], error)
    return _propagated(task, completion or Completion())


def _end(task: Task, output: Any) -> Completion | None:
    """A service may be quicker than the attempt that has asked it; what that attempt says later is refused."""
    if task.status is not Status.RUNNING:
        return Task.objects.end_remote(task.ref, output)
    text, child = values.dumps(output, "output"), task.parent_seq is not None
    return Task.objects.finish(Success(ref=task.ref, attempt=task.attempt, output=text, child=child))


def _failure_of(task: Task, error: str) -> Failure:
    if task.status is not Status.RUNNING:
        return _Failure(ref=task.ref, parent_seq=task.parent_seq, error=error)
    return Failure(ref=task.ref, parent_seq=task.parent_seq, error=error, attempt=task.attempt)


class _Failure(Failure):
    """A task that another system could not do."""

    def fail(self) -> int:
        """Suspend the task."""
        return Task.objects.fail_remote(self.ref, self.error)

    def tolerate(self) -> Completion | None:
        """Let its parent continue without it."""
        return Task.objects.tolerate_remote(self.ref, self.error)


def _locked(flow_id: str, seq: int) -> Task:
    """The task, locked; raises StateConflictError unless it waits for another system's answer."""
    task = get_task(flow_id, seq)
    ready = Task.objects.answerable().at(task.ref).select_for_update(of=("self",)).defer("output", "traceback")
    locked = ready.first()
    if locked is None:
        raise StateConflictError(_refusal(get_task(flow_id, seq)))
    return locked


def _refusal(task: Task) -> str:
    place = f"{task.mention} of flow {task.task_flow_id}"
    if not task.is_remote and task.program not in ANSWERED:
        return f"{place} is no remote task: its program ends it"
    if task.status is not Status.WAIT:
        return f"{place} is {task_style(task.exec_status, task.ignored_by).word} already; rerun it to end it once more"
    otherwise = "for a worker" if task.program else "for its flow"
    return f"{place} is not ready: it waits {wait_reasons([task]).get(task.pk, otherwise)}"


def _record_events(task: Task, names: Sequence[str], error: str = "") -> None:
    """The flow has begun with the first answer."""
    began = Flow.objects.begin_elsewhere(task.task_flow_id)
    if hooks.record(task.task_id, task.ref, [*(["start_flow"] if began else []), *names], error=error):
        hooks.deliver_on_commit(task.task_flow_id)


def _propagated(task: Task, completion: Completion) -> Flow:
    settle(task.task_flow_id)
    freed = task.pool if task.status is Status.RUNNING else ""
    send(propagate(task.task_flow_id, task.task_id, completion, freed=freed))
    return get_flow(task.task_flow_id)
