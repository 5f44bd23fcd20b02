"""Remote tasks: another system claims them and ends them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Left
from django.db.models.lookups import Exact

from flowerapp.core.messages import TaskRef
from flowerapp.querysets.adopt import AdoptQuerySet
from flowerapp.querysets.clock import Now
from flowerapp.querysets.ready import AWAITS_ANSWER, IS_GATE
from flowerapp.querysets.successes import Completion
from flowerapp.states import IgnoredBy, Status

if TYPE_CHECKING:
    from flowerapp.models import Task

ENDED: dict[str, Any] = {"parked": False, "due_ts": None, "finished_ts": Now()}
"""Columns of a parked task that has ended."""
BY_URGENCY = ("task_priority", "pk")
"""The order in which tasks are claimed: the most urgent first, then the oldest."""


def as_json(value: Any) -> Value:
    """A JSON value as it is stored: None is ``null``."""
    return Value(value, models.JSONField())


class RemoteQuerySet(AdoptQuerySet):
    """Tasks, as other systems see those that they do."""

    def named(self, names: Collection[str]) -> Self:
        """Remote tasks that are called so, by their alias or by what does their work; all, if no name is given.

        A name that ends with ``:`` or ``*`` stands for all that begin with what is before the asterisk.
        """
        if not names:
            return self
        whole = [name for name in names if not name.endswith((":", "*"))]
        wanted = Q(remote__in=whole) | Q(alias__in=whole) if whole else Q()
        for name in set(names) - set(whole):
            wanted |= _begins_with("remote", name.removesuffix("*")) | _begins_with("alias", name.removesuffix("*"))
        return self.filter(wanted)

    def claim_remote(self, limit: int, worker: str, lease: float, *, at_most: float | None = None) -> list[Task]:
        """Take up to ``limit`` of these tasks for another system's ``worker``; the rows as they then are.

        The lease is the ``time_limit`` of the step, or ``lease`` where it has none, and ``at_most`` so many seconds.
        Tasks that another process has locked are left to it. The caller begins their flows. In a transaction.
        """
        free = self.offered()._allowed("claim_remote").select_for_update(of=("self",), skip_locked=True)
        limits = dict(free.order_by(*BY_URGENCY).values_list("pk", "time_limit")[:limit])
        claimed = self.model.objects.using(self.db).filter(pk__in=list(limits))
        for seconds, keys in _by_lease(limits.items(), lease, at_most):
            claimed.filter(pk__in=keys)._allowed("claim_remote").update(
                exec_status=Status.RUNNING,
                attempt=F("attempt") + 1,
                worker=worker,
                pid=None,
                due_ts=None,
                started_ts=Now(),
                suspended_ts=None,
                lease_ts=Now() + timedelta(seconds=seconds),
            )
        return list(claimed.defer("output", "traceback").order_by(*BY_URGENCY)) if limits else []

    def prolong(self, ref: TaskRef, attempt: int, seconds: float, *, worker: str = "", **values: Any) -> int:
        """Give an attempt a lease of ``seconds`` from now, and set further columns; of ``worker``, if one is named."""
        running = self._attempt("prolong", ref, attempt).remote()
        own = running.filter(worker=worker) if worker else running
        return own.update(lease_ts=Now() + timedelta(seconds=seconds), **values)

    def rescue_remote(self, ref: TaskRef, attempt: int) -> int:
        """Put an attempt whose lease has run out back to Wait, for another system to claim."""
        running = self._attempt("rescue_remote", ref, attempt).remote()
        return running.update(exec_status=Status.WAIT, rescues=F("rescues") + 1, sent_ts=None, progress=None)

    # Those that no worker has claimed, and others that wait for an answer; the caller has locked their rows.

    def offer(self, ref: TaskRef) -> int:
        """Let another system answer for a remote task whose condition is true."""
        return self.at(ref)._allowed("offer").filter(IS_GATE, parked=True, pending=0).update(parked=False)

    def end_remote(self, ref: TaskRef, output: Any) -> Completion | None:
        """Finish a task with what the other system made; None if it waits for no answer. In a transaction."""
        own = self._answered("end_remote", ref)
        return self.satisfied(ref) if own.update(exec_status=Status.FINISH, output=as_json(output), **ENDED) else None

    def fail_remote(self, ref: TaskRef, error: str) -> int:
        """Suspend a task with the reason that the other system gives."""
        own = self._answered("fail_remote", ref)
        values = {"parked": False, "due_ts": None, "error": error, "traceback": ""}
        return own.update(exec_status=Status.SUSPEND, suspended_ts=Now(), **values)

    def tolerate_remote(self, ref: TaskRef, error: str) -> Completion | None:
        """Record that a remote child failed and that its parent continues without it. In a transaction."""
        return self._tolerate(self._answered("tolerate_remote", ref), ref, error=error, parked=False, due_ts=None)

    def _answered(self, verb: str, ref: TaskRef) -> Self:
        return self.at(ref)._allowed(verb).filter(AWAITS_ANSWER)

    def _tolerate(self, child: Self, ref: TaskRef, **values: Any) -> Completion | None:
        moved = child.update(exec_status=Status.IGNORE, ignored_by=IgnoredBy.TOLERATED, finished_ts=Now(), **values)
        return self.satisfied(ref) if moved else None


def _begins_with(column: str, beginning: str) -> Q:
    """A condition that finds an index on PostgreSQL, by LIKE, and that is exact, as LIKE is blind to case on SQLite."""
    like = Q(**{f"{column}__startswith": beginning})
    return like & Q(Exact(Left(column, len(beginning)), Value(beginning))) if beginning else Q(pk__isnull=False)


def lease_of(time_limit: int | None, lease: float, at_most: float | None = None) -> float:
    """Seconds of the lease of a task: the ``time_limit`` of its step, or ``lease``, and ``at_most`` so many."""
    longest = time_limit or at_most or lease
    return longest if at_most is None else min(longest, at_most)


def _by_lease(
    limits: Iterable[tuple[int, int | None]], lease: float, at_most: float | None
) -> Iterable[tuple[float, list[int]]]:
    """Keys of tasks by the seconds of their lease."""
    groups: dict[float, list[int]] = {}
    for key, time_limit in limits:
        groups.setdefault(lease_of(time_limit, lease, at_most), []).append(key)
    return groups.items()
