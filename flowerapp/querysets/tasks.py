"""Tasks, and every change of their state."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Now

from flowerapp import conf, dispatch
from flowerapp.dispatch import Message
from flowerapp.querysets import prepared
from flowerapp.querysets.ready import IN_ORDER, MESSAGE, OWN_SLOT, ReadyQuerySet
from flowerapp.querysets.statements import (
    CLAIM,
    CLAIMED,
    FINISH,
    FINISH_CHILD,
    Claim,
    Finished,
    claim_of,
    finished_of,
)
from flowerapp.querysets.steady import batched
from flowerapp.states import OPEN, TRANSITIONS, Status

if TYPE_CHECKING:
    from flowerapp.models import Task

_READY = (*MESSAGE, "admitted", "pool", "parked")
_TOLD = ("pk", "task_priority", "program", "queue", "pending", "admitted", "parked")


class TaskQuerySet(ReadyQuerySet):
    """Tasks, and every change of their state."""

    def for_update(self, flow_id: str) -> list[Task]:
        """All tasks of a flow, children first and then by seq, locked where the database can."""
        return list(self.select_for_update().filter(task_flow_id=flow_id).order_by(*IN_ORDER))

    def _allowed(self, verb: str) -> TaskQuerySet:
        return self.filter(exec_status__in=TRANSITIONS[verb].source)

    def _attempt(self, verb: str, flow_id: str, seq: int, attempt: int) -> TaskQuerySet:
        return self.one(flow_id, seq)._allowed(verb).filter(attempt=attempt)

    # One start, one outcome.

    def claim(self, flow_id: str, seq: int, worker: str, pid: int, *, sent: bool = True) -> Claim | None:
        """Take a ready task for execution; one that a process goes on with was not ``sent`` by a message.

        None if it is not ready, taken, its flow is held or ended, or ``worker`` has given no sign of life for so long
        that others take it for dead.
        """
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return self._claim_portably(flow_id, seq, worker, pid, sent)
        lease = conf.get().LEASE_SECONDS
        given = {"worker": worker, "pid": pid, "flow": flow_id, "seq": seq, "lease": lease, "sent": sent}
        for row in prepared.rows(connection, CLAIM, given):
            columns = dict(zip(CLAIMED, row, strict=False))
            columns["parameters"] = json.loads(columns["parameters"])
            return claim_of(flow_id, seq, row[-1], *columns.values())
        return None

    def _claim_portably(self, flow_id: str, seq: int, worker: str, pid: int, sent: bool) -> Claim | None:
        with transaction.atomic(using=self.db):
            flow_model: Any = self.model._meta.get_field("task_flow").related_model
            flows = flow_model.objects.using(self.db)
            moved = (
                self.one(flow_id, seq)
                ._allowed("claim")
                .ready()
                .filter(
                    Exists(flows.filter(pk=OuterRef("task_flow_id"), held=False, admitted=True, exec_status__in=OPEN))
                )
                .exclude(Exists(self._given_up(worker)))
                .update(
                    exec_status=Status.RUNNING,
                    attempt=F("attempt") + 1,
                    worker=worker,
                    pid=pid,
                    due_ts=None,
                    started_ts=Now(),
                    suspended_ts=None,
                    left_over=False,
                    **({} if sent else {"sent_ts": None}),
                )
            )
            if not moved:
                return None
            status, held, began = flows.values_list("exec_status", "held", "started_ts").get(pk=flow_id)
            resting = status in (Status.WAIT, Status.SUSPEND) and not held
            if resting:
                flows.filter(pk=flow_id).update(
                    exec_status=Status.RUNNING, started_ts=Coalesce("started_ts", Now()), suspended_ts=None
                )
            begins = resting and began is None
            return claim_of(flow_id, seq, begins, *self.one(flow_id, seq).values_list(*CLAIMED).get())

    def _given_up(self, worker: str) -> models.QuerySet[Any]:
        """The worker, if it has given no sign of life for so long that others take it for dead."""
        workers: Any = self.model._meta.apps.get_model("flowerapp", "Worker").objects.using(self.db)
        overdue: models.QuerySet[Any] = workers.overdue(conf.get().LEASE_SECONDS).filter(pk=worker)
        return overdue

    def finish(
        self,
        flow_id: str,
        seq: int,
        attempt: int,
        output: str,
        *,
        child: bool = False,
        worker: str = "",
        pid: int = 0,
        programs: Sequence[str] = (),
    ) -> Finished | None:
        """Record a success (``output`` is JSON text), tell the followers, and end the flow with its last sink.

        The end of a ``child`` is the turn of its next sibling. Else, on PostgreSQL, one more task is claimed for the
        process ``pid`` of ``worker``, if one of these ``programs`` is left over or ready now, of the same queue and
        priority. None if this attempt is no longer the one that runs.
        """
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return self._finish_portably(flow_id, seq, attempt, output)
        given = {"output": output, "flow": flow_id, "seq": seq, "attempt": attempt, "first": dispatch.FIRST}
        if not child:
            lease = conf.get().LEASE_SECONDS
            given |= {"worker": worker, "pid": pid, "programs": list(programs), "lease": lease}
        rows = prepared.rows(connection, FINISH_CHILD if child else FINISH, given)
        return finished_of(flow_id, rows) if rows else None

    def claimed_by(self, flow_id: str, seq: int, worker: str, pid: int) -> Claim | None:
        """What the finish of a task claimed for this process to go on with."""
        finished_ts = self.one(flow_id, seq).filter(exec_status=Status.FINISH).values("finished_ts")
        running = self.filter(task_flow_id=flow_id, exec_status=Status.RUNNING, worker=worker, pid=pid)
        row = running.filter(started_ts=Subquery(finished_ts)).values_list("task_exec_seq", *CLAIMED).first()
        return claim_of(flow_id, row[0], False, *row[1:]) if row else None

    def _finish_portably(self, flow_id: str, seq: int, attempt: int, output: str) -> Finished | None:
        with transaction.atomic(using=self.db):
            moved = self._attempt("finish", flow_id, seq, attempt).update(
                exec_status=Status.FINISH,
                output=Value(json.loads(output), models.JSONField()),
                finished_ts=Now(),
                error="",
                traceback="",
            )
            if not moved:
                return None
            return self.satisfied(flow_id, seq)

    def take_next(self, flow_id: str, seq: int) -> list[Message]:
        """Take on to send the next of a task's kind that was left over to it."""
        (mine,) = self.one(flow_id, seq).values("queue", "program", "task_priority")
        later = Q(task_priority=mine["task_priority"], task_exec_seq__gt=seq) | Q(
            task_priority__gt=mine["task_priority"]
        )
        rest = self.filter(later, task_flow_id=flow_id, queue=mine["queue"], program=mine["program"])
        return rest.take_left_over(1)

    def satisfied(self, flow_id: str, seq: int) -> Finished:
        """Tell the followers of a task that was just finished or passed over, and end the flow with its last sink."""
        columns = ("owed", "dependents", "parent_seq", "task_flow__limited", "task_flow__failed_seq")
        left_over = self.filter(task_flow_id=flow_id, exec_status=Status.WAIT, left_over=True)
        followed = Exists(left_over.filter(queue=OuterRef("queue"), program=OuterRef("program")))
        mine = self.one(flow_id, seq).annotate(followed=followed)
        owed, dependents, parent_seq, *facts, followed = mine.values_list(*columns, "followed").get()
        ends = 1 + owed
        waiting = self.filter(task_flow_id=flow_id, task_exec_seq__in=dependents, pending__gte=ends)
        told = list(waiting.select_for_update().order_by("task_exec_seq").values_list(*_TOLD))
        going_out = [row[:4] for row in told if row[4:] == (ends, True, False)]
        sent = dispatch.first_of(going_out)
        later = [pk for pk, *_ in going_out if pk not in sent]
        first = sorted({pk for pk, *_ in told} - set(later))
        goes_out = Q(pending=ends, admitted=True, parked=False)
        for some in batched(first):
            sent_ts = Case(When(goes_out, then=Now()), default="sent_ts")
            self.filter(pk__in=some).update(sent_ts=sent_ts, pending=F("pending") - ends)
        for some in batched(later):
            self.filter(pk__in=some).update(left_over=True, pending=F("pending") - ends)
        if parent_seq is not None:
            first += self.next_turns(flow_id, parent_seq)
        ended = not dependents and self._ends_flow(flow_id, ends)
        rows = [row for some in batched(first) for row in self._found_ready(some)]
        facts = (ended, *facts, bool(later), None)
        done = finished_of(flow_id, [(*facts, *row) for row in rows] or [(*facts, *[None] * len(_READY))])
        return replace(done, released=(*done.released, *self.take_next(flow_id, seq))) if followed else done

    def _ends_flow(self, flow_id: str, ends: int) -> bool:
        """Count so many of a flow's last tasks down; whether these were the very last."""
        flows: Any = self.model._meta.get_field("task_flow").related_model
        of_flow = flows.objects.using(self.db).filter(pk=flow_id)
        return bool(of_flow.sinks_satisfied(flow_id, ends) and of_flow.get().ended)

    def _found_ready(self, told: Collection[int]) -> list[tuple[Any, ...]]:
        """What ``FINISH`` answers with for each of the tasks that were told and are ready."""
        ready = self.filter(pk__in=told, pending=0, exec_status=Status.WAIT).order_by("task_exec_seq")
        return list(ready.values_list(*_READY))

    def next_turns(self, flow_id: str, parent_seq: int, number: int = 1) -> list[int]:
        """Give the next children of a task their turn, but for those that others are just changing: their keys."""
        waiting = self.filter(task_flow_id=flow_id, parent_seq=parent_seq, exec_status=Status.WAIT, pending__gt=0)
        free = waiting.select_for_update(skip_locked=True).order_by("child_index")
        chosen = list(free.values_list("pk", flat=True)[:number])
        self.filter(pk__in=chosen).update(pending=0, sent_ts=Case(When(admitted=True, then=Now())))
        return chosen

    def retry(self, flow_id: str, seq: int, attempt: int, delay: float, error: str, traceback: str) -> int:
        """Let this attempt be started again in ``delay`` seconds."""
        return self._attempt("retry", flow_id, seq, attempt).update(
            exec_status=Status.WAIT,
            due_ts=Now() + timedelta(seconds=delay),
            sent_ts=None,
            admitted=OWN_SLOT,
            retries=F("retries") + 1,
            error=error,
            traceback=traceback,
            progress=None,
        )

    def park(self, flow_id: str, seq: int, attempt: int, seconds: float | None) -> int:
        """Let this attempt wait without a worker: for ``seconds``, or until it is woken."""
        due = None if seconds is None else Now() + timedelta(seconds=seconds)
        return self._attempt("park", flow_id, seq, attempt).update(
            exec_status=Status.WAIT,
            parked=True,
            due_ts=due,
            admitted=OWN_SLOT,
            sent_ts=None,
            error="",
            traceback="",
        )

    def await_children(self, flow_id: str, seq: int, attempt: int, number: int) -> int:
        """Let a task whose program has added children wait for their ends, parked."""
        return self._attempt("await_children", flow_id, seq, attempt).update(
            exec_status=Status.WAIT,
            parked=True,
            pending=number,
            children=number,
            admitted=OWN_SLOT,
            sent_ts=None,
            error="",
            traceback="",
            progress=None,
        )

    def wake(self) -> int:
        """Let parked tasks, and retries whose time has come, be started; they are to be sent by the caller, or by
        the watcher."""
        waits = Q(parked=True) | Q(due_ts__lte=Now())
        return self._allowed("wake").filter(waits, children=0)._update_in_order(parked=False, due_ts=None, sent_ts=None)

    def settle(self, flow_id: str, seq: int, output: Any) -> Finished | None:
        """End a parked task with ``output``, without another start; None if it is not parked. In a transaction."""
        moved = (
            self.one(flow_id, seq)
            ._allowed("settle")
            .filter(parked=True, pending=0)
            .update(
                exec_status=Status.FINISH,
                parked=False,
                due_ts=None,
                output=Value(output, models.JSONField()),
                finished_ts=Now(),
            )
        )
        return self.satisfied(flow_id, seq) if moved else None

    def pass_over(self, flow_id: str, seq: int, attempt: int, error: str, traceback: str) -> Finished | None:
        """Record that a child failed and that its task goes on without it; None if this attempt no longer runs."""
        moved = self._attempt("pass_over", flow_id, seq, attempt).update(
            exec_status=Status.IGNORE, finished_ts=Now(), error=error, traceback=traceback
        )
        return self.satisfied(flow_id, seq) if moved else None

    def fail(self, flow_id: str, seq: int, attempt: int, error: str, traceback: str) -> int:
        """Suspend this attempt with its error."""
        return self._attempt("fail", flow_id, seq, attempt).update(
            exec_status=Status.SUSPEND, suspended_ts=Now(), error=error, traceback=traceback
        )

    def rescue(self, flow_id: str, seq: int, attempt: int, *, counted: bool = True) -> int:
        """Let an attempt whose worker is gone be started again; it is to be sent by the caller.

        One that was stopped on purpose is not ``counted``.
        """
        return self._attempt("rescue", flow_id, seq, attempt).update(
            exec_status=Status.WAIT, rescues=F("rescues") + int(counted), sent_ts=Now(), progress=None
        )

    # Children and their parents.

    def family(self, flow_id: str, seq: int) -> list[Task]:
        """The open children of a task and then the task itself, locked where the database can."""
        own = Q(parent_seq=seq, exec_status__in=OPEN) | Q(task_exec_seq=seq)
        return list(self.select_for_update().filter(own, task_flow_id=flow_id).order_by(*IN_ORDER))

    def stop_children(self, flow_id: str, seq: int, error: str, *, failed: bool = False) -> int:
        """End the children of a task that have not ended, the running ones are told to stop; ``failed`` ones too."""
        children = self.filter(task_flow_id=flow_id, parent_seq=seq)._allowed("cancel")
        stopped = children if failed else children.exclude(exec_status=Status.SUSPEND)
        return stopped.update(exec_status=Status.IGNORE, finished_ts=Now(), due_ts=None, parked=False, error=error)

    def give_up(self, flow_id: str, seq: int, error: str) -> int:
        """Suspend a task that waits for its children, with the reason; what still counts are the failed ones."""
        failed = self.filter(task_flow_id=flow_id, parent_seq=seq, exec_status__in=OPEN).count()
        mine = self.one(flow_id, seq)._allowed("give_up").filter(children__gt=0, parked=True)
        return mine.update(exec_status=Status.SUSPEND, suspended_ts=Now(), parked=False, pending=failed, error=error)

    def reopen(self, flow_id: str, seqs: Collection[int]) -> int:
        """Let tasks wait for their children once more; the caller writes their links anew."""
        mine = self.filter(task_flow_id=flow_id, task_exec_seq__in=seqs, children__gt=0)._allowed("reopen")
        return mine.update(
            exec_status=Status.WAIT,
            parked=True,
            output=None,
            error="",
            traceback="",
            finished_ts=None,
            suspended_ts=None,
            sent_ts=None,
        )

    # Operators' verbs; the caller holds the locks of ``for_update``.

    def skip(self, flow_id: str, seq: int, output: Any) -> int:
        """Pass a task over; ``output`` is what its followers get."""
        return (
            self.one(flow_id, seq)
            ._allowed("skip")
            .update(
                exec_status=Status.IGNORE,
                output=Value(output, models.JSONField()),
                finished_ts=Now(),
                due_ts=None,
                parked=False,
            )
        )

    def cancel(self, flow_id: str) -> int:
        """End all open tasks of a flow without running them; late outcomes are refused."""
        return (
            self.filter(task_flow_id=flow_id)
            ._allowed("cancel")
            .update(exec_status=Status.IGNORE, finished_ts=Now(), due_ts=None, parked=False)
        )

    def change(self, flow_id: str, seq: int, **values: Any) -> int:
        """Change parameters, priority or queue of a task that is not running."""
        return self.one(flow_id, seq)._allowed("change").update(**values)

    def rerun(self, flow_id: str, seqs: Collection[int]) -> int:
        """Put tasks back to Wait; the caller writes their links anew. Attempts and history stay."""
        return (
            self.filter(task_flow_id=flow_id, task_exec_seq__in=seqs)
            ._allowed("rerun")
            .update(
                exec_status=Status.WAIT,
                output=None,
                error="",
                traceback="",
                progress=None,
                started_ts=None,
                finished_ts=None,
                suspended_ts=None,
                due_ts=None,
                sent_ts=None,
                left_over=False,
                copied=False,
                parked=False,
                admitted=OWN_SLOT,
                children=0,
                retries=0,
                rescues=0,
                run=F("run") + 1,
            )
        )
