"""Every change of a task's status but those in ``claim.py``, ``finish.py``, ``adopt.py`` and ``remote.py``."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Case, F, Q, When
from django.db.models.functions import Coalesce

from flowerapp.core.gates import WAITS
from flowerapp.core.messages import TaskRef
from flowerapp.querysets.clock import Now
from flowerapp.querysets.ready import IN_ORDER, IS_GATE, NOT_REFUSED, OWN_SLOT
from flowerapp.querysets.remote import ENDED, RemoteQuerySet, as_json
from flowerapp.querysets.successes import Completion
from flowerapp.states import OPEN, IgnoredBy, RefusedBy, Status

if TYPE_CHECKING:
    from flowerapp.models import Task


class TaskQuerySet(RemoteQuerySet):
    """Tasks, and every change of their status."""

    def for_update(self, flow_id: str) -> list[Task]:
        """All tasks of a flow, children first and then by seq, locked where the database can.

        What may be large and no verb looks at is not read.
        """
        locked = self.select_for_update().filter(task_flow_id=flow_id).defer("output", "traceback", "item", "progress")
        return list(locked.order_by(*IN_ORDER))

    def retry(self, ref: TaskRef, attempt: int, delay: float, error: str, traceback: str) -> int:
        """Put this attempt back to Wait; it is started again in ``delay`` seconds."""
        return self._attempt("retry", ref, attempt).update(
            exec_status=Status.WAIT,
            due_ts=Now() + timedelta(seconds=delay),
            sent_ts=None,
            admitted=OWN_SLOT,
            retries=F("retries") + 1,
            error=error,
            traceback=traceback,
            progress=None,
            **NOT_REFUSED,
        )

    def park(self, ref: TaskRef, attempt: int, seconds: float | None, *, awaits_output: str = "") -> int:
        """Put this attempt to Wait without a worker: for ``seconds``, or, with None, until ``wake``.

        ``awaits_output`` is the entry of the output cache that it waits for.
        """
        due = None if seconds is None else Now() + timedelta(seconds=seconds)
        return self._attempt("park", ref, attempt).update(
            exec_status=Status.WAIT,
            parked=True,
            due_ts=due,
            awaits_output=awaits_output,
            admitted=OWN_SLOT,
            sent_ts=None,
            error="",
            traceback="",
            **NOT_REFUSED,
        )

    def await_children(self, ref: TaskRef, attempt: int, number: int) -> int:
        """Park a task whose program has added ``number`` children, until they have ended."""
        return self._attempt("await_children", ref, attempt).update(
            exec_status=Status.WAIT,
            parked=True,
            pending=number,
            children=number,
            admitted=OWN_SLOT,
            sent_ts=None,
            error="",
            traceback="",
            progress=None,
            **NOT_REFUSED,
        )

    def wake(self) -> int:
        """Make parked tasks and retries that are due ready to start. The caller or the watcher sends them."""
        waits = Q(parked=True) | Q(due_ts__lte=Now())
        own = self._allowed("wake").filter(waits, children=0).exclude(IS_GATE, parked=True)
        return own._update_in_order(parked=False, due_ts=None, sent_ts=None, awaits_output="")

    def hasten(self) -> int:
        """Make parked tasks and retries that wait for a time due now."""
        return self._allowed("wake").filter(due_ts__isnull=False, children=0).update(due_ts=Now())

    def complete_parked(self, ref: TaskRef, output: Any) -> Completion | None:
        """Finish a parked task with ``output``, without another start; None if it is not parked. In a transaction."""
        own = self.at(ref)._allowed("complete_parked").filter(parked=True, pending=0)
        return self.satisfied(ref) if own.update(exec_status=Status.FINISH, output=as_json(output), **ENDED) else None

    # Tasks whose outputs are taken from the output cache.

    def mark_cached(self, ref: TaskRef, source: dict[str, Any]) -> int:
        """Record from which task a task that has just ended took its output."""
        return self.at(ref).filter(exec_status=Status.FINISH).update(cached_from=source)

    # Gates.

    def ignore_subflow(self, flow_id: str, seqs: Collection[int]) -> int:
        """Ignore the steps of a subflow whose condition is false; the caller recomputes readiness."""
        return self.filter(task_flow_id=flow_id, task_exec_seq__in=seqs)._allowed("ignore_subflow").update(**_IGNORED)

    def keep_input(self, value: Any) -> int:
        """Store what tasks pass on that a false condition has skipped, as it stands nowhere else."""
        skipped = self.filter(exec_status=Status.IGNORE, ignored_by=IgnoredBy.CONDITION)
        return skipped.update(output=as_json(value))

    # Waits.

    def begin_wait(self, ref: TaskRef, seconds: float | None) -> int:
        """Begin a wait that is ready, for ``seconds``, or, with None, for what ends it."""
        due = None if seconds is None else Now() + timedelta(seconds=seconds)
        return self.at(ref)._allowed("begin_wait").filter(**_BEGINS).update(started_ts=Now(), due_ts=due)

    def begin_delays(self, keys: Collection[int], seconds: float) -> int:
        """Begin many waits that are ready and end in ``seconds``."""
        due = Now() + timedelta(seconds=seconds)
        own = self.filter(pk__in=keys)._allowed("begin_wait").filter(**_BEGINS)
        return own.update(started_ts=Now(), due_ts=due)

    def lock_dependents(self, task: Task) -> None:
        """Lock the tasks that wait for one, before its flow is. In a transaction."""
        own = self.filter(task_flow_id=task.task_flow_id, task_exec_seq__in=task.dependents).order_by("task_exec_seq")
        list(own.select_for_update().values_list("pk"))

    def tolerate_failure(self, ref: TaskRef, attempt: int, error: str, traceback: str) -> Completion | None:
        """Record that a child failed and that its parent continues without it; None if this attempt no longer runs.

        In a transaction.
        """
        running = self._attempt("tolerate_failure", ref, attempt)
        return self._tolerate(running, ref, error=error, traceback=traceback)

    def fail(self, ref: TaskRef, attempt: int, error: str, traceback: str) -> int:
        """Suspend this attempt with its error."""
        return self._attempt("fail", ref, attempt).update(
            exec_status=Status.SUSPEND, suspended_ts=Now(), error=error, traceback=traceback
        )

    def rescue(self, ref: TaskRef, attempt: int) -> int:
        """Put an attempt whose worker is gone back to Wait. The caller sends it."""
        return self._attempt("rescue", ref, attempt).update(
            exec_status=Status.WAIT, rescues=F("rescues") + 1, sent_ts=Now(), progress=None, **NOT_REFUSED
        )

    def hand_back(self, ref: TaskRef, attempt: int) -> int:
        """Put an attempt whose worker was asked to stop back to Wait; no rescue is counted. The caller sends it."""
        return self._attempt("hand_back", ref, attempt).update(
            exec_status=Status.WAIT, sent_ts=Now(), progress=None, **NOT_REFUSED
        )

    # Tasks that no worker takes.

    def refuse(self, keys: Collection[int], by: RefusedBy, reason: str, pause: float) -> int:
        """Let ready tasks wait ``pause`` seconds before they are sent again; the first refusal in a row counts."""
        mine = self.filter(pk__in=keys)._allowed("refuse").ready()
        return mine._update_in_order(exec_status=Status.WAIT, **_refused(by, reason, pause))

    def refuse_attempt(self, ref: TaskRef, attempt: int, reason: str, pause: float) -> int:
        """Give back an attempt whose worker does not know the program; it is sent again in ``pause`` seconds."""
        return self._attempt("refuse_attempt", ref, attempt).update(
            exec_status=Status.WAIT, **_refused(RefusedBy.WORKER, reason, pause)
        )

    def reject(self, ref: TaskRef, error: str) -> int:
        """Suspend a refused task with the reason."""
        mine = self.at(ref)._allowed("reject").being_refused()
        return mine.update(
            exec_status=Status.SUSPEND, suspended_ts=Now(), due_ts=None, deferred=False, error=error, **NOT_REFUSED
        )

    def tolerate_rejection(self, ref: TaskRef, error: str) -> Completion | None:
        """Record that a refused child failed and that its parent continues without it; None if it is not refused.

        In a transaction.
        """
        refused = self.at(ref)._allowed("tolerate_rejection").being_refused()
        return self._tolerate(refused, ref, error=error, due_ts=None, deferred=False, **NOT_REFUSED)

    # Children and their parents.

    def family(self, ref: TaskRef) -> list[Task]:
        """The open children of a task, and last the task itself, locked where the database can."""
        own = Q(parent_seq=ref.seq, exec_status__in=OPEN) | Q(task_exec_seq=ref.seq)
        return list(self.select_for_update().filter(own, task_flow_id=ref.flow_id).order_by(*IN_ORDER))

    def stop_children(self, ref: TaskRef, error: str, *, failed: bool = False) -> int:
        """Ignore the open children of a task, with ``error``; those that have failed only if ``failed``.

        Results of running ones are then refused.
        """
        children = self.children_of(ref)._allowed("cancel")
        stopped = children if failed else children.exclude(exec_status=Status.SUSPEND)
        return stopped.update(
            exec_status=Status.IGNORE,
            ignored_by=IgnoredBy.SIBLING,
            finished_ts=Now(),
            due_ts=None,
            parked=False,
            error=error,
        )

    def give_up(self, ref: TaskRef, error: str) -> int:
        """Suspend a task that waits for its children, a gate or a wait, with the reason.

        Failed children stay open.
        """
        failed = self.children_of(ref).filter(exec_status__in=OPEN).count()
        mine = self.at(ref)._allowed("give_up").filter(Q(children__gt=0) | IS_GATE, parked=True)
        values = {"parked": False, "due_ts": None, "pending": failed, "error": error}
        return mine.update(exec_status=Status.SUSPEND, suspended_ts=Now(), **values)

    def reopen(self, flow_id: str, seqs: Collection[int]) -> int:
        """Let tasks wait for their children once more; the caller recomputes readiness."""
        mine = self.filter(task_flow_id=flow_id, task_exec_seq__in=seqs, children__gt=0)._allowed("reopen")
        return mine.update(
            exec_status=Status.WAIT,
            parked=True,
            ignored_by="",
            output=None,
            error="",
            traceback="",
            finished_ts=None,
            suspended_ts=None,
            sent_ts=None,
        )

    # Operators' verbs; the caller holds the locks of ``for_update``.

    def skip(self, ref: TaskRef) -> int:
        """Ignore a task; its dependents get its input from it, of which no copy is stored."""
        return (
            self.at(ref)
            ._allowed("skip")
            .update(
                exec_status=Status.IGNORE,
                ignored_by=IgnoredBy.SKIP,
                output=None,
                finished_ts=Now(),
                due_ts=None,
                parked=False,
            )
        )

    def cancel(self, flow_id: str) -> int:
        """Ignore all open tasks of a flow; results of running ones are then refused."""
        return (
            self.filter(task_flow_id=flow_id)
            ._allowed("cancel")
            .update(
                exec_status=Status.IGNORE,
                ignored_by=IgnoredBy.CANCEL,
                finished_ts=Now(),
                due_ts=None,
                parked=False,
            )
        )

    def change(self, ref: TaskRef, **values: Any) -> int:
        """Set columns, such as parameters, priority and queue, of a task that is Wait or Suspend."""
        return self.at(ref)._allowed("change").update(**values)

    def rerun(self, flow_id: str, seqs: Collection[int]) -> int:
        """Put tasks back to Wait, with attempts and history kept; the caller recomputes readiness."""
        return (
            self.filter(task_flow_id=flow_id, task_exec_seq__in=seqs)
            ._allowed("rerun")
            .update(
                exec_status=Status.WAIT,
                ignored_by="",
                output=None,
                error="",
                traceback="",
                progress=None,
                started_ts=None,
                finished_ts=None,
                suspended_ts=None,
                due_ts=None,
                sent_ts=None,
                deferred=False,
                resent=False,
                parked=Case(When(IS_GATE, then=True), default=False),
                admitted=OWN_SLOT,
                awaits_output="",
                cached_from=None,
                children=0,
                retries=0,
                rescues=0,
                run=F("run") + 1,
                **NOT_REFUSED,
            )
        )


_BEGINS: dict[str, Any] = {"program__in": sorted(WAITS), "parked": True, "pending": 0, "started_ts": None}
"""A wait that is ready and has not begun."""
_IGNORED: dict[str, Any] = {"exec_status": Status.IGNORE, "ignored_by": IgnoredBy.CONDITION, "output": None, **ENDED}
"""Columns of a step that a condition skips; it gets no output, and so passes its input on."""


def _refused(by: RefusedBy, reason: str, pause: float) -> dict[str, Any]:
    """Columns of a task that was refused just now; it gives the slot of its pool back meanwhile."""
    return {
        "refused_ts": Coalesce("refused_ts", Now()),
        "refused_by": by,
        "due_ts": Now() + timedelta(seconds=pause),
        "sent_ts": None,
        "deferred": False,
        "admitted": OWN_SLOT,
        "error": reason,
        "traceback": "",
        "progress": None,
    }
