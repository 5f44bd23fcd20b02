"""Which tasks may go on, which were sent, and which of them have a slot."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Self

from django.db import models, transaction
from django.db.models import Case, F, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Now

from flowerapp.dispatch import Message
from flowerapp.querysets.statements import ago, message_of
from flowerapp.states import OPEN, SATISFIED, Status

if TYPE_CHECKING:
    from flowerapp.models import Task  # noqa: F401 - in the type of the base class


MESSAGE = ("task_exec_seq", "program", "queue", "task_priority", "time_limit", "canvas")
"""Columns that a message is made of."""

_STARTS = Q(task_flow__held=False, task_flow__admitted=True, task_flow__exec_status__in=OPEN)
"""Tasks of flows that let theirs start."""

IN_ORDER = ("task_flow_id", F("parent_seq").asc(nulls_last=True), "task_exec_seq")
"""The one order in which tasks are locked: each before those that it releases, so children before their parents."""

OWN_SLOT = Case(When(pool="", then=Value(value=True)), default=Value(value=False))
"""``admitted`` of a task that has to ask its pool anew; one without a pool needs none."""


class ReadyQuerySet(models.QuerySet["Task"]):
    """Tasks, as those see them who send them."""

    def one(self, flow_id: str, seq: int) -> Self:
        """The task of that place."""
        return self.filter(task_flow_id=flow_id, task_exec_seq=seq)

    def ready(self) -> Self:
        """Tasks that may be claimed as far as they themselves are concerned."""
        due = Q(due_ts__isnull=True) | Q(due_ts__lte=Now())
        return self.filter(due, exec_status=Status.WAIT, pending=0, admitted=True, parked=False).exclude(program="")

    def startable(self) -> Self:
        """Ready tasks of flows that are neither held nor ended."""
        return self.ready().filter(_STARTS)

    def handed_over(self) -> Self:
        """Startable tasks that nobody has sent yet, such as rows of processes without a broker."""
        return self.startable().filter(sent_ts__isnull=True, due_ts__isnull=True, left_over=False)

    def left(self) -> Self:
        """Startable tasks that were left over to others of their kind."""
        return self.startable().filter(left_over=True)

    def overslept(self) -> Self:
        """Parked tasks and retries whose time has come."""
        return self.filter(exec_status=Status.WAIT, due_ts__lte=Now(), children=0)

    def parents(self) -> Self:
        """Tasks that wait for their children."""
        return self.filter(exec_status=Status.WAIT, parked=True, children__gt=0)

    def gatherable(self) -> Self:
        """Tasks whose children have all ended, and nobody noticed yet."""
        return self.parents().filter(pending=0, task_flow__exec_status__in=OPEN)

    def waiting_for(self, pool: str | None = None) -> Self:
        """Tasks that want nothing but a slot of a pool, or of any, whose turn comes first leading."""
        due = Q(due_ts__isnull=True) | Q(due_ts__lte=Now())
        waiting = self.filter(due, _STARTS, exec_status=Status.WAIT, pending=0, admitted=False, parked=False)
        mine = waiting if pool is None else waiting.filter(pool=pool)
        return mine.order_by("task_priority", Coalesce("parent_seq", "task_exec_seq").desc(), "pk")

    def holding(self, pool: str) -> Self:
        """Tasks that have a slot of a pool: they run, or are about to."""
        about_to = Q(_STARTS, exec_status=Status.WAIT)
        return self.filter(about_to | Q(exec_status=Status.RUNNING), pool=pool, admitted=True)

    def slots_held(self, pool: str) -> int:
        """Number of the tasks that have a slot of a pool.

        In one statement, because a task that starts between two would be in neither; and in two parts, so that the
        history of the flows is not read.
        """
        mine = self.filter(pool=pool, admitted=True).order_by()
        running, about_to = mine.filter(exec_status=Status.RUNNING), mine.filter(_STARTS, exec_status=Status.WAIT)
        return int(running.values("pk").union(about_to.values("pk"), all=True).count())

    def admit(self, pool: str, number: int) -> list[Message]:
        """Give up to ``number`` waiting tasks a slot each: their messages. The caller holds the pool's lock.

        They go ahead of tasks that are about as urgent, so that no slot waits behind those in a queue.
        """
        free = self.waiting_for(pool).select_for_update(of=("self",), skip_locked=True)
        chosen = list(free.values_list("pk", flat=True)[:number])
        rows = self.model.objects.using(self.db).filter(pk__in=chosen).order_by("task_priority", "pk")
        rows.update(admitted=True, sent_ts=Now(), due_ts=None)
        return [message.sooner() for message in rows.messages(alone=True)]

    def ask_anew(self, flow_id: str) -> int:
        """Let the ready tasks of a flow be sent anew, those of pools once they have a slot again."""
        return (
            self.filter(task_flow_id=flow_id)
            .ready()
            ._update_in_order(
                admitted=OWN_SLOT,
                sent_ts=None,
                left_over=False,
                copied=Case(When(sent_ts=None, then="copied"), default=Value(value=True)),
            )
        )

    def silent(self, seconds: float) -> Self:
        """Startable tasks that were sent over ``seconds`` ago."""
        return self.startable().filter(sent_ts__lt=ago(seconds), due_ts__isnull=True)

    def released_by(self, flow_id: str, seq: int) -> Self:
        """Startable tasks that waited for a satisfied one, but for those that were left over."""
        satisfied = self.one(flow_id, seq).filter(exec_status__in=SATISFIED)
        dependents = satisfied.values_list("dependents", flat=True).first() or []
        return self.startable().filter(task_flow_id=flow_id, task_exec_seq__in=dependents, left_over=False)

    def taken_on_by(self, flow_id: str, seq: int) -> Self:
        """Startable tasks that the finish of one took on to send: its followers, and the next that was left over."""
        finished_ts = self.one(flow_id, seq).filter(exec_status=Status.FINISH).values("finished_ts")
        return self.startable().filter(task_flow_id=flow_id, sent_ts=Subquery(finished_ts))

    def orphaned(self, living: Collection[str], seconds: float) -> Self:
        """Running tasks whose worker is none of the living; one that just started counts from its claim."""
        running = self.filter(exec_status=Status.RUNNING, started_ts__lt=ago(seconds))
        return running.exclude(worker__in=living).exclude(program="")

    def inserted(self) -> Self:
        """Rows that others put straight into the table and nobody adopted yet."""
        return self.filter(program="")

    def take_unsent(self, limit: int) -> list[Message]:
        """Take on to send the most urgent tasks that nobody has sent yet, at most ``limit``: their messages."""
        return self.handed_over()._take(limit)

    def take_left_over(self, limit: int) -> list[Message]:
        """Take on to send the first ``limit`` of what was left over: their messages."""
        return self.left()._take(limit)

    def _take(self, limit: int) -> list[Message]:
        """Rows that another process is just taking are passed by, so each task is taken once."""
        with transaction.atomic(using=self.db):
            free = self.select_for_update(of=("self",), skip_locked=True)
            taken = list(free.order_by("task_priority", "pk").values_list("pk", flat=True)[:limit])
            chosen = self.model.objects.using(self.db).filter(pk__in=taken).order_by("task_priority", "pk")
            chosen.update(sent_ts=Now(), due_ts=None, left_over=False)
            return chosen.messages(alone=True)

    def mark_sent(self) -> int:
        """Remember that messages for these go out now; what was claimed meanwhile is left alone."""
        copied = Case(When(sent_ts__isnull=True, then="copied"), default=Value(value=True))
        return self.ready()._update_in_order(sent_ts=Now(), due_ts=None, left_over=False, copied=copied)

    def mark_unsent(self, *, left_over: bool = False) -> int:
        """Remember that messages for these did not go out; ``left_over`` ones are others' of their kind to send."""
        return self.ready()._update_in_order(sent_ts=None, left_over=left_over)

    def _update_in_order(self, **values: Any) -> int:
        """Update under locks taken in the one order: a bare UPDATE of many rows takes them in any."""
        with transaction.atomic(using=self.db):
            rows = self.select_for_update(of=("self",)).order_by(*IN_ORDER)
            locked = list(rows.values_list("pk", flat=True))
            return self.model.objects.using(self.db).filter(pk__in=locked).update(**values)

    def forget_sent(self) -> int:
        """Forget messages for tasks that wait for others again: they are to be sent anew when they are released."""
        known = Q(sent_ts__isnull=False) | Q(left_over=True)
        return self.filter(known, pending__gt=0).update(sent_ts=None, left_over=False)

    def messages(self, *, alone: bool = False) -> list[Message]:
        """One message per task; ``alone`` leaves out what could travel with it, for messages that may be duplicates."""
        rows = self.values_list("task_flow_id", *MESSAGE)
        return [message_of(*row[:6], None if alone else row[6]) for row in rows]
