"""Remote tasks, and others that wait for an answer: another system does their work, and reports how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowerapp.core import logs, masking, unmasking, values
from flowerapp.core.gates import ANSWERED
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import checked_why
from flowerapp.core.overriding import MayOverride
from flowerapp.engine import changes, hooks, remote_outcomes
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

logger = logs.logger(__name__)


def end_task(
    flow_id: str,
    seq: int,
    *,
    output: Any = None,
    attempt: int | None = None,
    actor: str = "",
    why: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> Flow:
    """Finish a task that waits for another system, with what that one made; the tasks after it are released.

    With ``attempt`` it must be the one that runs. Without, the first outcome counts of a task that runs or is ready.
    ``output`` is JSON (None is ``{}``). Raises UnknownTaskError, InvalidValueError, StateConflictError for a task that
    waits for no other system, is not ready, or has ended, and for another attempt, and InvalidPlanError if the output
    would become a parameter, which the caller may not override, of a follower that holds masked values.
    """
    checked = unmasking.checked({} if output is None else output, "output")
    with atomic():
        task = _locked(flow_id, seq, attempt)
        if may_override is not MayOverride.ANY:
            steps = Task.objects.filter(task_flow_id=flow_id, parent_seq=None).defer("output", "traceback")
            changes.must_not_give_input(LockedFlow(task.task_flow, by_seq(steps)), task, may_override)
        completion = _succeed(task, checked) or Completion()
        HistoryEntry.objects.record("end", *task.ref, **_facts(task), actor=actor, reason=checked_why(why))
        of_step = ["task_all_over"] if task.parent_seq is None else []
        _record_events(task, ["task_over", *of_step, *(["all_over"] if completion.ended else [])])
    return _propagated(task, completion)


def _succeed(task: Task, output: Any) -> Completion | None:
    """A service may be quicker than the attempt that has asked it; what that attempt says later is refused."""
    if task.status is not Status.RUNNING:
        return Task.objects.end_remote(task.ref, output)
    child = task.parent_seq is not None
    return Task.objects.finish(
        Success(ref=task.ref, attempt=task.attempt, output=values.dumps(output, "output"), child=child)
    )


def fail_task(
    flow_id: str,
    seq: int,
    reason: str,
    *,
    attempt: int | None = None,
    retry: bool = True,
    actor: str = "",
    why: str = "",
) -> Flow:
    """Record that the other system could not do a task, with the reason that it gives.

    A task that runs is retried while its step has retries left, unless ``retry`` is False. Else it is Suspend, and a
    rerun lets it wait again; so is one that no worker has claimed. ``why`` is the operator's, for the history.
    ``attempt`` is what it is of ``end_task``, and so are the errors raised.
    """
    if not reason.strip():
        raise InvalidValueError("the reason is empty; say why the task failed")
    with atomic():
        if (parent_seq := get_task(flow_id, seq).parent_seq) is not None:
            Task.objects.family(TaskRef(flow_id, parent_seq))  # its siblings and its parent are locked before it
        task = _locked(flow_id, seq, attempt)
        error = masking.masked(values.text(reason), secrets_of(*task.ref))
        if task.status is Status.RUNNING:
            completion = remote_outcomes.record_failure(task, error, retry=retry, actor=actor, reason=checked_why(why))
        else:
            completion = _fail_unclaimed(task, error, actor, checked_why(why))
    return _propagated(task, completion)


def _fail_unclaimed(task: Task, error: str, actor: str, why: str) -> Completion:
    completion = fail_for_good(_Failure(ref=task.ref, parent_seq=task.parent_seq, error=error))
    HistoryEntry.objects.record("fail", *task.ref, actor=actor, reason=why or error)
    _record_events(task, ["task_failed"], error)
    return completion or Completion()


class _Failure(Failure):
    """A task that another system could not do, and that none had claimed."""

    def fail(self) -> int:
        """Suspend the task."""
        return Task.objects.fail_remote(self.ref, self.error)

    def tolerate(self) -> Completion | None:
        """Let its parent continue without it."""
        return Task.objects.tolerate_remote(self.ref, self.error)


def _locked(flow_id: str, seq: int, attempt: int | None) -> Task:
    """The task, locked; raises StateConflictError unless it waits for this answer."""
    task = get_task(flow_id, seq)
    answered = Task.objects.answerable(attempt).at(task.ref).select_for_update(of=("self",))
    locked = answered.defer("output", "traceback").first()
    if locked is None:
        task = get_task(flow_id, seq)
        message = refusal(task, attempt)
        logger.warning("outcome refused: %s", message)
        raise StateConflictError(message, status=task.status.label, attempt=task.attempt)
    return locked


def refusal(task: Task, attempt: int | None = None) -> str:
    """Why another system may not end a task now, or an ``attempt`` of it."""
    place = f"{task.mention} of flow {task.task_flow_id}"
    if not task.is_remote and task.program not in ANSWERED:
        return f"{place} is no remote task: its program ends it"
    if task.status is Status.RUNNING:
        return f"attempt {attempt} of {place} no longer runs: attempt {task.attempt} does"
    if task.status is not Status.WAIT:
        return f"{place} is {task_style(task.exec_status, task.ignored_by).word} already; rerun it to end it once more"
    if attempt is not None:
        return f"attempt {attempt} of {place} does not run; claim the task first"
    otherwise = "for a worker" if task.program else "for its flow"
    return f"{place} is not ready: it waits {wait_reasons([task]).get(task.pk, otherwise)}"


def _facts(task: Task) -> dict[str, Any]:
    """For the history: the attempt and its worker, if one had claimed the task."""
    return {"attempt": task.attempt, "worker": task.worker} if task.status is Status.RUNNING else {}


def _record_events(task: Task, names: Sequence[str], error: str = "") -> None:
    """The flow has begun with the first answer, if no worker had claimed a task of it before."""
    began = Flow.objects.begin_elsewhere(task.task_flow_id)
    attempt = task.attempt if task.status is Status.RUNNING else None
    all_names = [*(["start_flow"] if began else []), *names]
    if hooks.record(task.task_id, task.ref, all_names, attempt=attempt, error=error):
        hooks.deliver_on_commit(task.task_flow_id)


def _propagated(task: Task, completion: Completion) -> Flow:
    settle(task.task_flow_id)
    send(propagate(task.task_flow_id, task.task_id, completion))
    return get_flow(task.task_flow_id)
