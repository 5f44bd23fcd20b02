"""What is decided about an approval, by a person or because its time ran out: one decision each.

A decision is a compare-and-set on the row of the approval and on its task, in one transaction. The command line and
Python code are not asked for permissions, as they could change the database itself; a ``user`` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowerapp.core import json_forms, masking, unmasking, values
from flowerapp.core.approval_options import REJECT, Choice
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import LONGEST_WHY, text_problems
from flowerapp.engine import approvals, waits
from flowerapp.engine.context import input_of_step
from flowerapp.engine.dispatching import send
from flowerapp.engine.masks import secrets_of
from flowerapp.engine.propagation import propagate, settle
from flowerapp.exceptions import (
    FlowerError,
    ForbiddenError,
    InvalidValueError,
    StateConflictError,
    UnknownApprovalError,
)
from flowerapp.models import Approval, HistoryEntry, Task
from flowerapp.querysets import Completion
from flowerapp.querysets.db import atomic, each_isolated
from flowerapp.selectors.approvals import get_approval, name_of, outcome, refusal
from flowerapp.selectors.durations import seconds_between, spelled
from flowerapp.selectors.tasks import get_task

KEY = "approval"
"""Key of the decision in the output of the step."""
TIME_OUT = "time-out"
"""Who decides if no person does."""
PAGE = 100
"""Reminders that one look of the watcher sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person has decided."""

    choice: str
    comment: str = ""
    data: Any = None
    """The data of the form; None for none."""
    actor: str = ""
    """Who decides, as it is recorded."""
    user: Any = None
    """The user whose rights are asked for; None for code of the host, the command line, and links to no user."""


def decide(
    flow_id: str,
    seq: int,
    choice: str,
    *,
    actor: str = "",
    user: Any = None,
    comment: str = "",
    data: Any = None,
) -> Approval:
    """Decide about a step that waits for a decision; the approval as it is then.

    ``choice`` is the name of one of its choices, ``data`` a JSON object as its form asks for. With ``user`` it must be
    one who may decide, and ``actor`` is by default its name. Raises UnknownTaskError, InvalidValueError,
    ForbiddenError, and StateConflictError where the step asks for no decision, which says who decided what and when.
    """
    ref = get_task(flow_id, seq).ref
    latest = Approval.objects.of(ref).order_by("-id").values_list("pk", flat=True).first()
    if latest is None:
        raise StateConflictError(f"task {seq} of flow {flow_id} asks for no decision")
    actor = actor or (name_of(user) if user is not None else "")
    decision = Decision(choice=choice, comment=comment, data=data, actor=actor, user=user)
    return decide_approval(latest, decision)


def decide_approval(pk: int, decision: Decision) -> Approval:
    """The same of an approval by its id. Raises UnknownApprovalError and what ``decide`` raises."""
    asked = Approval.objects.filter(pk=pk).first()
    if asked is None:
        raise UnknownApprovalError(f"there is no approval {pk}")
    with atomic():
        approval, task = _locked(asked.ref, pk)
        _must_be_allowed(approval, decision)
        choice = _checked_choice(approval, decision)
        completion = _record(approval, task, choice, decision)
    settle(task.task_flow_id)
    send(propagate(task.task_flow_id, task.task_id, completion))
    return get_approval(pk)


def _locked(ref: TaskRef, pk: int) -> tuple[Approval, Task]:
    """The approval and its task, the task locked first; raises StateConflictError if it is no longer open."""
    task = Task.objects.at(ref).select_for_update(of=("self",)).defer("output", "traceback").first()
    approval = Approval.objects.select_for_update(of=("self",)).select_related("task_flow").filter(pk=pk).first()
    if task is None or approval is None:
        raise UnknownApprovalError(f"there is no approval {pk}")
    if not approval.is_open or not Approval.objects.in_time().filter(pk=pk).exists():
        raise _conflict(approval)
    return approval, task


def _conflict(approval: Approval) -> StateConflictError:
    facts = {"state": approval.state, "choice": approval.choice, "decided_by": approval.decided_by}
    place = f"task {approval.task_exec_seq} of flow {approval.task_flow_id}"
    return StateConflictError(f"{place} asks for no decision any more: {outcome(approval)}", **facts)


def _must_be_allowed(approval: Approval, decision: Decision) -> None:
    if decision.user is not None and (why := refusal(approval, decision.user)):
        raise ForbiddenError(why)


def _checked_choice(approval: Approval, decision: Decision) -> Choice:
    """The choice; raises InvalidValueError if there is none, or comment or data do not fit it."""
    choice = approval.way(decision.choice)
    if choice is None:
        listed = ", ".join(way.name for way in approval.ways)
        raise InvalidValueError(f"choice is {decision.choice[:64]!r}, which is none of {listed}")
    if problems := [*_comment_problems(choice, decision.comment), *_data_problems(approval, choice, decision.data)]:
        raise InvalidValueError("; ".join(problems))
    return choice


def _comment_problems(choice: Choice, comment: str) -> list[str]:
    if choice.comment == "required" and not comment.strip():
        return [f"comment is required for {choice.name}; say why"]
    if choice.comment == "none" and comment.strip():
        return [f"comment is not taken for {choice.name}; leave it out"]
    return list(text_problems(values.text(comment), "comment", LONGEST_WHY))


def _data_problems(approval: Approval, choice: Choice, data: Any) -> list[str]:
    if not choice.form or approval.form is None:
        return [] if data in (None, {}) else [f"data is not taken for {choice.name}; leave it out"]
    asked = {} if data is None else unmasking.checked(data, "data")
    problems = json_forms.problems(approval.form, asked)
    return [f"data.{problem}" if problem.place else f"data {problem}" for problem in problems]


def _record(approval: Approval, task: Task, choice: Choice, decision: Decision) -> Completion:
    secrets = secrets_of(*task.ref) | masking.secrets_of(decision.data)
    comment = masking.masked(values.text(decision.comment.strip()), secrets)
    facts = {"choice": choice.name, "comment": comment, "decided_by": decision.actor[:150]}
    data = (decision.data or {}) if choice.form else None
    if not Approval.objects.decide(approval.pk, data=data, **facts):
        approval.refresh_from_db()
        raise _conflict(approval)
    approval.refresh_from_db()
    completion = end(task, approval, choice)
    if completion is None:
        raise StateConflictError(f"{task.mention} of flow {task.task_flow_id} waits for no decision any more")
    details = approvals.facts_of(approval)
    HistoryEntry.objects.record("decide", *task.ref, actor=decision.actor[:150], reason=comment, details=details)
    return completion


def expire(task: Task) -> Completion | None:
    """The time of an approval ran out: end the step with the default choice, or fail it.

    In a transaction, with the task's row locked. None if the step has ended meanwhile.
    """
    approval = Approval.objects.open().of(task.ref).first()
    if approval is None:
        return waits.fail(task, "its question is gone, so no person could decide; rerun it")
    Approval.objects.expire(approval.pk, approval.default_choice)
    approval.refresh_from_db()
    late = f"no decision within {spelled(seconds_between(approval.opened_ts, approval.ended_ts))}"
    HistoryEntry.objects.record("expire", *task.ref, actor="engine", reason=late, details=approvals.facts_of(approval))
    choice = approval.way(approval.default_choice)
    try:
        return waits.fail(task, late) if choice is None else end(task, approval, choice, late)
    except FlowerError as error:
        return waits.fail(task, str(error))


def end(task: Task, approval: Approval, choice: Choice, why: str = "") -> Completion | None:
    """End the step with what was decided, or fail it if that is no approval. In a transaction.

    None if the step has ended meanwhile. ``why`` says why the default was taken; empty where a person has decided.
    """
    if choice.approved or approval.on_reject != "fail":
        return _finish(task, output_of(task, approval, choice))
    return waits.fail(task, _rejection(approval, choice, why))


def _finish(task: Task, output: Any) -> Completion | None:
    return waits.finish({task.pk: output}).followed.get(task.task_flow_id)


def _rejection(approval: Approval, choice: Choice, why: str) -> str:
    word = "rejected" if choice.name == REJECT else f"{choice.label!r} was chosen"
    who = f"by default: {why}" if why else f"by {approval.decided_by or 'a person'}"
    return f"{word} {who}{f': {approval.comment}' if approval.comment else ''}"


def output_of(task: Task, approval: Approval, choice: Choice) -> Any:
    """The input, an object, with the decision beside it; another input stands under ``input``.

    Raises InvalidValueError if it is too large.
    """
    value = values.plain(input_of_step(task).value)
    decision = {
        "choice": choice.name,
        "approved": choice.approved,
        "comment": approval.comment,
        "data": approval.data,
        "decided_by": approval.decided_by or TIME_OUT,
        "decided_at": approval.ended_ts.isoformat() if approval.ended_ts else None,
    }
    output = {**(value if isinstance(value, dict) else {"input": value}), KEY: decision}
    return values.check(output, f"output of {task.mention}")


def remind_due() -> int:
    """Remind of the approvals whose time for that has come: for the leader; their number."""
    keys = list(Approval.objects.to_remind().order_by("remind_ts").values_list("pk", flat=True)[:PAGE])
    return each_isolated(keys, _remind)


@atomic()
def _remind(pk: int) -> int:
    if not Approval.objects.reminded(pk):
        return 0
    approval = Approval.objects.get(pk=pk)
    task = Task.objects.at(approval.ref).only("task_id", "task_exec_seq").first()
    if task is None:
        return 0
    HistoryEntry.objects.record("remind", *approval.ref, actor="watcher", details=approvals.facts_of(approval))
    notifies = bool(approval.notify)
    approvals.announce(approvals.REMINDED, approval.task_flow_id, task, notifies=notifies)
    return 1
