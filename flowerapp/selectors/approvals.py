"""Approvals, as admin, API and command line read them, and who may decide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import F, Q, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan

from flowerapp.core.approval_options import ApprovalState
from flowerapp.core.messages import TaskRef
from flowerapp.core.permissions import DECIDE, VIEW_APPROVAL, may
from flowerapp.exceptions import UnknownApprovalError
from flowerapp.models import Approval, Task
from flowerapp.models.approvals import GROUP, USER, decider
from flowerapp.selectors import times
from flowerapp.selectors.shown import rows

COLUMNS = (
    "id",
    "task_flow_id",
    "task_exec_seq",
    "run",
    "state",
    "title",
    "message",
    "permission",
    "groups",
    "users",
    "self_approval",
    "choices",
    "form",
    "default_choice",
    "on_reject",
    "opened_ts",
    "due_ts",
    "ended_ts",
    "choice",
    "comment",
    "data",
    "decided_by",
)
"""Columns that API and command line show."""
OPEN_FIRST = (F("ended_ts").desc(nulls_first=True), "-id")
"""The order of lists: open ones, then the last that ended."""


def shown_approvals() -> Any:
    """All approvals with their flows, as people may see them."""
    return rows(Approval.objects.select_related("task_flow"))


def get_approval(pk: int) -> Approval:
    """The approval, as people may see it; raises UnknownApprovalError."""
    approval: Approval | None = shown_approvals().filter(pk=pk).first()
    if approval is None:
        raise UnknownApprovalError(f"there is no approval {pk}")
    return approval


def of_task(ref: TaskRef) -> Approval | None:
    """The last approval of a task, as people may see it; None if it never asked."""
    latest: Approval | None = shown_approvals().of(ref).order_by("-id").first()
    return latest


def open_of_flow(flow_id: str, seq: int | None = None) -> list[Approval]:
    """The open approvals of a flow, or of one of its tasks, by seq."""
    asked = shown_approvals().open().filter(task_flow_id=flow_id)
    return list((asked if seq is None else asked.filter(task_exec_seq=seq)).order_by("task_exec_seq")[:100])


def visible_to(user: Any, approvals: Any) -> Any:
    """The approvals that a user may see: all with ``view_approval``, else those that it may decide, or could have."""
    if user is None or not user.is_authenticated or user.has_perm(VIEW_APPROVAL):
        return approvals
    return approvals.filter(_is_for(user))


def decidable_by(user: Any, approvals: Any) -> Any:
    """The approvals that are for a user to decide."""
    if not may(user, DECIDE):
        return approvals.none()
    own = Q(self_approval=False, task_flow__registered_by=name_of(user))
    return approvals.filter(_is_for(user)).exclude(own)


def _is_for(user: Any) -> Q:
    """Those that a user may decide by what they ask for."""
    if getattr(user, "is_superuser", False):
        return Q()
    held = user.get_all_permissions() if hasattr(user, "get_all_permissions") else ()
    lines = [decider(USER, name_of(user)), *(decider(GROUP, name) for name in _groups_of(user))]
    by_name = (Q(GreaterThan(StrIndex(F("deciders"), Value(line)), 0)) for line in lines)
    return reduce(or_, by_name, Q(permission="", deciders="") | Q(permission__in=sorted(held)))


def _groups_of(user: Any) -> list[str]:
    groups = getattr(user, "groups", None)
    return list(groups.values_list("name", flat=True)[:1000]) if groups is not None else []


def name_of(user: Any) -> str:
    """The name of a user, who may be none of the database's."""
    named = getattr(user, "get_username", None)
    return str(named() if named else user)


def refusal(approval: Approval, user: Any) -> str:
    """Why a user may not decide; empty if it may."""
    name = name_of(user)
    if not getattr(user, "is_active", True) or not may(user, DECIDE):
        return f"user {name} lacks the permission {DECIDE}"
    if not _is_named(approval, user):
        return f"user {name} may not decide: the decision is one {deciders(approval)}"
    if not approval.self_approval and approval.task_flow.registered_by == name:
        return f"user {name} has registered the flow, so another one must decide (self_approval is off)"
    return ""


def _is_named(approval: Approval, user: Any) -> bool:
    if getattr(user, "is_superuser", False) or not (approval.permission or approval.deciders):
        return True
    if approval.permission and user.has_perm(approval.permission):
        return True
    return name_of(user) in approval.users or bool(set(approval.groups) & set(_groups_of(user)))


def deciders(approval: Approval) -> str:
    """Who may decide: ``by members of finance, or ann``."""
    parts = [f"members of {name}" for name in approval.groups] + approval.users
    if approval.permission or not parts:
        parts.append(f"users with the permission {approval.permission or DECIDE}")
    return f"by {', '.join(parts[:-1])} or {parts[-1]}" if len(parts) > 1 else f"by {parts[0]}"


def reasons(tasks: Sequence[Task]) -> dict[TaskRef, str]:
    """What tasks wait for whose approvals are open, by which they are."""
    if not tasks:
        return {}
    flows, seqs = {task.task_flow_id for task in tasks}, {task.task_exec_seq for task in tasks}
    asked = Approval.objects.open().filter(task_flow_id__in=flows, task_exec_seq__in=seqs)
    return {approval.ref: reason(approval) for approval in asked.defer("message", "form", "links")}


def reason(approval: Approval) -> str:
    """``for a decision by members of finance since 2026-11-29 16:00:00 JST``."""
    until = f", until {times.with_zone(approval.due_ts)}" if approval.due_ts else ""
    return f"for a decision {deciders(approval)} since {times.with_zone(approval.opened_ts)}{until}"


def outcome(approval: Approval) -> str:
    """What was decided, by whom and when, as a clause of a sentence: ``ann chose Approve at …``."""
    when = times.with_zone(approval.ended_ts) if approval.ended_ts else ""
    if approval.state == ApprovalState.DECIDED:
        return f"{approval.decided_by or 'a person'} chose {approval.label} at {when}"
    if approval.state == ApprovalState.EXPIRED:
        taken = f"{approval.label} was taken by default" if approval.choice else "no default is set"
        return f"the time ran out at {when}, and {taken}"
    if approval.state == ApprovalState.CLOSED:
        return f"the question was withdrawn at {when}"
    return f"the time ran out at {times.with_zone(approval.due_ts)}" if approval.due_ts else "it is open"
