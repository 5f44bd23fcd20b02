"""Which tasks are ready, which were sent, and which have a slot of their pool."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Self

from django.db.models import Case, Exists, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce

from flowerapp.core.gates import ANSWERED, UNSENT, WAITS
from flowerapp.core.identity import Process
from flowerapp.core.messages import Message, TaskCall, TaskRef
from flowerapp.querysets.clock import Now, ago
from flowerapp.querysets.db import atomic
from flowerapp.querysets.outputs import OutputQuerySet
from flowerapp.states import ACTIVE, OPEN, SATISFIED, TRANSITIONS, IgnoredBy, RefusedBy, Status

MESSAGE = ("task_exec_seq", "program", "queue", "task_priority", "time_limit", "canvas")
"""Columns that a message is made of."""


def message_of(flow_id: str, *columns: Any) -> Message:
    """A message from the values of the columns ``MESSAGE``."""
    seq, program, queue, priority, time_limit, canvas = columns
    head = TaskCall(seq=seq, program=program, queue=queue, priority=priority, time_limit=time_limit)
    return Message.of(flow_id, head, canvas)


_STARTS = Q(task_flow__held=False, task_flow__admitted=True, task_flow__exec_status__in=OPEN)
"""Tasks of flows that let tasks start."""
_IS_DUE = Q(due_ts__isnull=True) | Q(due_ts__lte=Now())
"""Tasks that wait for no time."""
_RESENT = Case(When(sent_ts__isnull=True, then="resent"), default=Value(value=True))
"""``resent`` of a task whose message is sent anew: an older one exists if one was sent."""

IN_ORDER = ("task_flow_id", F("parent_seq").asc(nulls_last=True), "task_exec_seq")
"""The one order in which tasks are locked: a task before those that it releases, so children before their parents."""

OWN_SLOT = Case(When(~Q(program=""), pool="", then=Value(value=True)), default=Value(value=False))
"""``admitted`` of a task that must ask its pool for a slot again; a task without a pool needs none.

One without a program never has a slot, as it is not sent."""


IS_GATE = Q(Q(program__in=sorted(UNSENT)) | Q(~Q(remote=""), ~Q(when=""), program=""), parent_seq=None)
"""Steps that propagation completes or begins, and remote tasks whose condition it tests: they are parked from the
beginning, so that they are neither sent nor claimed."""
IS_WAIT = Q(program__in=sorted(WAITS))

_READY_GATE = IS_GATE & Q(task_flow__admitted=True, started_ts=None) & (~IS_WAIT | Q(task_flow__held=False))
"""A gate waits until its flow is admitted, as what it releases could not start before. A wait begins only once."""
_PARKED: dict[str, Any] = {"exec_status": Status.WAIT, "parked": True, "pending": 0}

AWAITS_ANSWER = Q(
    Q(~Q(remote=""), program="", parked=False) | Q(program__in=sorted(ANSWERED), parked=True, due_ts=None, children=0),
    exec_status=Status.WAIT,
    pending=0,
)
"""Tasks whose work another system does; ``Task.awaits_answer`` says the same of one."""

NOT_REFUSED: dict[str, Any] = {"refused_ts": None, "refused_by": ""}
"""Columns of a task that is not refused."""


class ReadyQuerySet(OutputQuerySet):
    """Tasks, as the processes see them that send them."""

    def at(self, ref: TaskRef) -> Self:
        """That task."""
        return self.filter(task_flow_id=ref.flow_id, task_exec_seq=ref.seq)

    def _allowed(self, verb: str) -> Self:
        """Tasks in a status from which the guarded method ``verb`` moves them."""
        return self.filter(exec_status__in=TRANSITIONS[verb].source)

    def _attempt(self, verb: str, ref: TaskRef, attempt: int) -> Self:
        """The task, if this is its present attempt and the guarded method ``verb`` moves it from its status."""
        return self.at(ref)._allowed(verb).filter(attempt=attempt)

    def children_of(self, ref: TaskRef) -> Self:
        """The children of a task."""
        return self.filter(task_flow_id=ref.flow_id, parent_seq=ref.seq)

    def attempt(self, ref: TaskRef, attempt: int) -> Self:
        """The task, while this attempt of it runs."""
        return self.at(ref).filter(exec_status=Status.RUNNING, attempt=attempt)

    def run_by(self, process: Process) -> Self:
        """Tasks that a process runs."""
        running = self.filter(exec_status=Status.RUNNING, worker=process.worker)
        return running if process.pid is None else running.filter(pid=process.pid)

    def stopped(self) -> Self:
        """Children that were ended because a sibling failed."""
        return self.filter(exec_status=Status.IGNORE, ignored_by=IgnoredBy.SIBLING)

    def ready(self) -> Self:
        """Tasks that may be claimed if their flow lets tasks start."""
        return self.filter(_IS_DUE, exec_status=Status.WAIT, pending=0, admitted=True, parked=False).exclude(program="")

    def startable(self) -> Self:
        """Ready tasks of flows that are neither held nor ended."""
        return self.ready().filter(_STARTS)

    def keys_of(self, refs: Iterable[TaskRef]) -> list[int]:
        """Primary keys of those of these tasks that are in this queryset."""
        refs = set(refs)
        flow_ids, seqs = {ref.flow_id for ref in refs}, {ref.seq for ref in refs}
        rows = self.filter(task_flow_id__in=flow_ids, task_exec_seq__in=seqs)
        return [
            pk
            for pk, flow_id, seq in rows.values_list("pk", "task_flow_id", "task_exec_seq")
            if TaskRef(flow_id, seq) in refs
        ]

    def unsent(self) -> Self:
        """Startable tasks for which no message was sent yet, such as those of a process without a broker."""
        return self.startable().filter(sent_ts__isnull=True, due_ts__isnull=True, deferred=False)

    def deferred(self) -> Self:
        """Startable tasks that are sent only after others of the same program and queue have ended."""
        return self.startable().filter(deferred=True)

    def due(self) -> Self:
        """Parked tasks and retries that are due; ``due_waits`` has the waits."""
        return self.filter(~IS_WAIT, exec_status=Status.WAIT, due_ts__lte=Now(), children=0)

    def begun_waits(self) -> Self:
        """Waits that have begun and not ended, of flows that have not ended."""
        begun = self.filter(IS_WAIT, parent_seq=None, exec_status=Status.WAIT, parked=True, started_ts__isnull=False)
        return begun.filter(task_flow__exec_status__in=OPEN)

    def due_waits(self) -> Self:
        """The waits among them whose time has come, the oldest first."""
        return self.begun_waits().filter(due_ts__lte=Now()).order_by("due_ts", "pk")

    def delayed(self) -> Self:
        """Parked tasks and retries that wait for a time, of flows that let tasks start."""
        return self.filter(_STARTS, exec_status=Status.WAIT, due_ts__isnull=False, children=0)

    def awaiting_output(self, digest: str | None = None) -> Self:
        """Tasks that wait for an entry of the output cache, that one or any."""
        waiting = self.filter(exec_status=Status.WAIT, parked=True).exclude(awaits_output="")
        return waiting if digest is None else waiting.filter(awaits_output=digest)

    def awaited(self, entries: Any, longest: float) -> Any:
        """Of those whose entry no attempt is about to fill: key, digest, and whether it is filled; the oldest first."""
        own = entries.filter(digest=OuterRef("awaits_output"))
        unfilled = self.exclude(Exists(own.being_filled(longest)))
        return unfilled.order_by("pk").values_list("pk", "awaits_output", Exists(own.filled()))

    def parents(self) -> Self:
        """Tasks that wait for their children."""
        return self.filter(exec_status=Status.WAIT, parked=True, children__gt=0)

    def completable(self) -> Self:
        """Parents whose children have all ended, and gates that are ready, that no process has completed yet."""
        return self.filter(Q(children__gt=0) | _READY_GATE, **_PARKED, task_flow__exec_status__in=OPEN)

    def completable_parents(self) -> Self:
        """The parents among them."""
        return self.filter(**_PARKED, children__gt=0, task_flow__exec_status__in=OPEN)

    def completable_gates(self) -> Self:
        """The gates among them. Two queries, as PostgreSQL may find no index for both kinds together."""
        return self.filter(_READY_GATE, **_PARKED, task_flow__exec_status__in=OPEN)

    def remote(self) -> Self:
        """Tasks whose work another system does."""
        return self.filter(program="").exclude(remote="")

    def offered(self) -> Self:
        """Remote tasks that another system may claim now."""
        return self.remote().filter(_IS_DUE, _STARTS, exec_status=Status.WAIT, pending=0, parked=False)

    def answerable(self, attempt: int | None = None) -> Self:
        """Tasks that another system may end: those whose ``attempt`` runs; with None also those that are ready.

        They are remote tasks, and tasks whose programs have asked it. None takes any attempt that runs.
        """
        asked = Q(~Q(remote=""), program="") | Q(program__in=sorted(ANSWERED))
        running = Q(asked, exec_status=Status.RUNNING)
        answered = running | AWAITS_ANSWER if attempt is None else running & Q(attempt=attempt)
        return self.filter(answered, task_flow__exec_status__in=OPEN)

    def lease_expired(self) -> Self:
        """Remote tasks that run, and whose lease has run out."""
        return self.filter(exec_status=Status.RUNNING, lease_ts__lt=Now())

    def waiting_for(self, pool: str | None = None) -> Self:
        """Tasks that lack nothing but a slot of ``pool``, or of any pool; the next in line comes first."""
        waiting = self.filter(_IS_DUE, _STARTS, exec_status=Status.WAIT, pending=0, admitted=False, parked=False)
        of_pool = waiting.exclude(pool="") if pool is None else waiting.filter(pool=pool)
        return of_pool.order_by("task_priority", Coalesce("parent_seq", "task_exec_seq").desc(), "pk")

    def holding(self, pool: str | OuterRef) -> Self:
        """Tasks that have a slot of a pool: they run, or may start.

        It repeats the conditions of the index of slots, which PostgreSQL would not find behind the OR.
        """
        about_to = Q(_STARTS, exec_status=Status.WAIT)
        indexed = self.filter(exec_status__in=sorted(ACTIVE), admitted=True).exclude(pool="")
        return indexed.filter(about_to | Q(exec_status=Status.RUNNING), pool=pool)

    def slots_held(self, pool: str) -> int:
        """Number of the tasks that have a slot of a pool.

        In one statement, because two would both miss a task that starts between them. It has two parts, so that
        PostgreSQL reads an index for each and not the tasks of flows that have ended.
        """
        admitted = self.filter(pool=pool, admitted=True).order_by()
        running = admitted.filter(exec_status=Status.RUNNING)
        about_to = admitted.filter(_STARTS, exec_status=Status.WAIT)
        return int(running.values("pk").union(about_to.values("pk"), all=True).count())

    def admit(self, pool: str, number: int) -> list[Message]:
        """Give up to ``number`` waiting tasks a slot each: their messages. The caller holds the pool's lock."""
        free = self.waiting_for(pool).select_for_update(of=("self",), skip_locked=True)
        chosen = list(free.values_list("pk", flat=True)[:number])
        rows = self.model.objects.using(self.db).filter(pk__in=chosen).order_by("task_priority", "pk")
        rows.update(admitted=True, sent_ts=Now(), due_ts=None)
        return rows.messages(alone=True)

    def ask_anew(self, flow_id: str) -> int:
        """Mark the ready tasks of a flow as not sent; those of pools must be admitted again first."""
        return (
            self.filter(task_flow_id=flow_id)
            .ready()
            ._update_in_order(
                admitted=OWN_SLOT,
                sent_ts=None,
                due_ts=None,
                deferred=False,
                resent=_RESENT,
                **NOT_REFUSED,
            )
        )

    def sent(self) -> Self:
        """Startable tasks for which a message was sent, so that one of them exists or was lost."""
        return self.startable().filter(sent_ts__isnull=False, due_ts__isnull=True)

    def silent(self, seconds: float) -> Self:
        """Startable tasks that were sent over ``seconds`` ago."""
        return self.sent().filter(sent_ts__lt=ago(seconds))

    def released_by(self, ref: TaskRef) -> Self:
        """Startable tasks that waited for a satisfied one, without the deferred ones."""
        satisfied = self.at(ref).filter(exec_status__in=SATISFIED)
        dependents = satisfied.values_list("dependents", flat=True).first() or []
        return self.startable().filter(task_flow_id=ref.flow_id, task_exec_seq__in=dependents, deferred=False)

    def taken_up_by(self, ref: TaskRef) -> Self:
        """Startable tasks that the finish of one took on to send: its dependents, and the next deferred one."""
        finished_ts = self.at(ref).filter(exec_status__in=SATISFIED).values("finished_ts")
        return self.startable().filter(task_flow_id=ref.flow_id, sent_ts=Subquery(finished_ts))

    def being_refused(self) -> Self:
        """Ready tasks that wait to be tried again, since the executor or a worker refused them."""
        mine = self.filter(exec_status=Status.WAIT, pending=0, parked=False)
        return mine.filter(refused_ts__isnull=False, sent_ts__isnull=True)

    def refused_for(self, seconds: float) -> Self:
        """Refused tasks that flows let start, and for which this has lasted for ``seconds``."""
        return self.being_refused().filter(_STARTS, refused_ts__lte=ago(seconds))

    def take_back_refusals(self, seconds: float) -> int:
        """Forget the refusals of tasks that could be published at last, over ``seconds`` ago."""
        refused = self.filter(exec_status=Status.WAIT, refused_ts__isnull=False, refused_by=RefusedBy.EXECUTOR)
        return refused.filter(sent_ts__lt=ago(seconds)).update(**NOT_REFUSED, error="")

    def orphaned(self, alive: Collection[str], seconds: float) -> Self:
        """Running tasks whose worker is none of ``alive``, started over ``seconds`` ago."""
        running = self.filter(exec_status=Status.RUNNING, started_ts__lt=ago(seconds))
        return running.exclude(worker__in=alive).exclude(program="")

    def take_unsent(self, limit: int) -> list[Message]:
        """Take on to send the most urgent unsent tasks, at most ``limit``: their messages."""
        return self.unsent()._take(limit)

    def take_deferred(self, limit: int) -> list[Message]:
        """Take on to send the most urgent deferred tasks, at most ``limit``: their messages."""
        return self.deferred()._take(limit)

    def take_next_deferred(self, ref: TaskRef) -> list[Message]:
        """Take on to send the next deferred task of the same flow, program and queue as a satisfied one."""
        queue, program, priority = self.at(ref).values_list("queue", "program", "task_priority").get()
        later = Q(task_priority=priority, task_exec_seq__gt=ref.seq) | Q(task_priority__gt=priority)
        return self.filter(later, task_flow_id=ref.flow_id, queue=queue, program=program).take_deferred(1)

    def next_children(self, ref: TaskRef, number: int = 1) -> list[int]:
        """Release up to ``number`` of the children of a task that wait for a place: their keys.

        Children that another process has locked are left to it. The caller sends what was released.
        """
        waiting = self.children_of(ref).filter(exec_status=Status.WAIT, pending__gt=0)
        free = waiting.select_for_update(skip_locked=True).order_by("child_index")
        chosen = list(free.values_list("pk", flat=True)[:number])
        self.filter(pk__in=chosen).update(pending=0, sent_ts=Case(When(admitted=True, then=Now())))
        return chosen

    def _take(self, limit: int) -> list[Message]:
        """Take on to send at most ``limit`` of these tasks; rows that another process has locked are passed by."""
        if limit <= 0:
            return []
        with atomic(self.db):
            free = self.select_for_update(of=("self",), skip_locked=True)
            taken = list(free.order_by("task_priority", "pk").values_list("pk", flat=True)[:limit])
            chosen = self.model.objects.using(self.db).filter(pk__in=taken).order_by("task_priority", "pk")
            chosen.update(sent_ts=Now(), due_ts=None, deferred=False)
            return chosen.messages(alone=True)

    def mark_sent(self) -> int:
        """Record that messages for these tasks go out now; tasks that were claimed meanwhile stay as they are."""
        return self.ready()._update_in_order(sent_ts=Now(), due_ts=None, deferred=False, resent=_RESENT)

    def mark_unsent(self, *, deferred: bool = False) -> int:
        """Record that messages for these tasks did not go out; ``deferred`` tasks are sent after others have ended."""
        return self.ready()._update_in_order(sent_ts=None, deferred=deferred)

    def _update_in_order(self, **values: Any) -> int:
        """Update rows that were locked in the order ``IN_ORDER``; a plain UPDATE locks them in any order."""
        with atomic(self.db):
            rows = self.select_for_update(of=("self",)).order_by(*IN_ORDER)
            locked = list(rows.values_list("pk", flat=True))
            return self.model.objects.using(self.db).filter(pk__in=locked).update(**values)

    def forget_sent(self) -> int:
        """Forget what was sent for tasks that wait for others again; their release sends them anew."""
        marked = Q(sent_ts__isnull=False) | Q(deferred=True)
        self.filter(coalesced__gt=0).update(coalesced=0)
        return self.filter(marked, pending__gt=0).update(sent_ts=None, deferred=False)

    def messages(self, *, alone: bool = False) -> list[Message]:
        """One message per task; ``alone`` leaves out the tasks that it could carry, as it may be a duplicate."""
        rows = self.values_list("pool", "task_flow_id", *MESSAGE)
        return [message_of(*row[:6], None if alone else row[6]).of_pool(pool) for pool, *row in rows]
