"""Approvals, and every change of their state."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import F, Q

from flowerapp.core.approval_options import ApprovalState
from flowerapp.core.messages import TaskRef
from flowerapp.querysets.clock import Now


class ApprovalQuerySet(models.QuerySet[Any]):
    """Approvals, and every change of their state.

    Each change starts from open and is one statement, so of several that are tried at once one happens. The task's row
    is locked before that of its approval.
    """

    def of(self, ref: TaskRef) -> ApprovalQuerySet:
        """Those of a task, of all its runs."""
        return self.filter(task_flow_id=ref.flow_id, task_exec_seq=ref.seq)

    def open(self) -> ApprovalQuerySet:
        """Those that ask for a decision."""
        return self.filter(state=ApprovalState.OPEN)

    def in_time(self) -> ApprovalQuerySet:
        """Those whose time has not run out."""
        return self.filter(Q(due_ts__isnull=True) | Q(due_ts__gt=Now()))

    def decide(self, pk: int, **decision: Any) -> int:
        """Record what a person has decided, within the time."""
        return self.open().in_time().filter(pk=pk).update(**decision, **_ended(ApprovalState.DECIDED))

    def expire(self, pk: int, choice: str) -> int:
        """Record that the time ran out, with the default choice, or an empty one."""
        return self.open().filter(pk=pk).update(choice=choice, **_ended(ApprovalState.EXPIRED))

    def close(self, flow_id: str, seqs: Collection[int] | None = None) -> int:
        """Ask no longer for a decision about these tasks, or about all of a flow."""
        mine = self.open().filter(task_flow_id=flow_id)
        mine = mine if seqs is None else mine.filter(task_exec_seq__in=seqs)
        return mine.update(**_ended(ApprovalState.CLOSED))

    def to_remind(self) -> ApprovalQuerySet:
        """Those of which people are to be reminded now."""
        return self.open().filter(remind_ts__lte=Now())

    def reminded(self, pk: int) -> int:
        """Take the reminder of an approval; 0 if another process has."""
        return self.to_remind().filter(pk=pk).update(remind_ts=None)

    def count_try(self, pk: int) -> int:
        """Count a decision that was tried by a link."""
        return self.filter(pk=pk).update(tries=F("tries") + 1)


def _ended(state: ApprovalState) -> dict[str, Any]:
    return {"state": state, "ended_ts": Now(), "remind_ts": None}


def in_seconds(seconds: float | None) -> Any:
    """The time in so many seconds, as a column's value; None without them."""
    return None if seconds is None else Now() + timedelta(seconds=seconds)
