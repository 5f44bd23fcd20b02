"""Every guarded status change, as named queryset methods that answer how many rows moved.

Zero rows is a normal answer: somebody else did it, or the task has moved on. The two statements of the hot path,
claim and finish, stand here in SQL for PostgreSQL beside their portable form.

Locks are always taken in this order: tasks by ascending seq, then their flow.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce, Now

from flowerapp.dispatch import Link, Message
from flowerapp.plan import Plan
from flowerapp.states import OPEN, SATISFIED, TRANSITIONS, Status
from flowerapp.values import text

if TYPE_CHECKING:
    from flowerapp.models import Flow, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A task that this worker may now run."""

    flow_id: str
    seq: int
    task_id: str
    task_seq: int
    program: str
    parameters: dict[str, Any]
    attempt: int
    retries: int
    run: int
    max_retries: int | None
    retry_delay: int | None
    time_limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a recorded success led to."""

    released: tuple[Message, ...]
    """Tasks that became ready by it; sent even while the flow is held, for it may be resumed at this moment."""
    may_be_stuck: bool
    """A task of the flow has failed and nothing was released: settle it."""


_CLAIM = """
WITH claimed AS (
    UPDATE kr_task_stat t
       SET exec_status = 1, attempt = t.attempt + 1, worker = %(worker)s, pid = %(pid)s, due_ts = NULL,
           started_ts = STATEMENT_TIMESTAMP(), suspended_ts = NULL
      FROM kr_task_flow f
     WHERE t.task_flow_id = %(flow)s AND t.task_exec_seq = %(seq)s
       AND t.exec_status = 0 AND t.pending = 0 AND NOT t.parked AND t.program <> ''
       AND (t.due_ts IS NULL OR t.due_ts <= STATEMENT_TIMESTAMP())
       AND f.task_flow_id = t.task_flow_id AND NOT f.held AND f.exec_status IN (0, 1, 2)
    RETURNING t.task_flow_id, t.task_id, t.task_seq, t.program, t.parameters, t.attempt, t.retries, t.run,
              t.max_retries, t.retry_delay, t.time_limit
), begun AS (
    UPDATE kr_task_flow f
       SET exec_status = 1, started_ts = COALESCE(f.started_ts, STATEMENT_TIMESTAMP()), suspended_ts = NULL
      FROM claimed
     WHERE f.task_flow_id = %(flow)s AND f.exec_status IN (0, 2) AND NOT f.held
)
SELECT task_id, task_seq, program, parameters, attempt, retries, run, max_retries, retry_delay, time_limit FROM claimed
"""

_FINISH = """
WITH done AS (
    UPDATE kr_task_stat
       SET exec_status = 3, output = %(output)s::jsonb, finished_ts = STATEMENT_TIMESTAMP(), error = '', traceback = ''
     WHERE task_flow_id = %(flow)s AND task_exec_seq = %(seq)s AND exec_status = 1 AND attempt = %(attempt)s
    RETURNING task_flow_id, dependents
), follower AS (
    SELECT t.id
      FROM done
     CROSS JOIN jsonb_array_elements_text(done.dependents) each(seq)
     CROSS JOIN LATERAL (
        SELECT id FROM kr_task_stat WHERE task_flow_id = %(flow)s AND task_exec_seq = each.seq::int FOR UPDATE
     ) t
     WHERE each.seq::int::text = each.seq  -- always true; tells the planner to expect few, so that it takes the index
), told AS (
    UPDATE kr_task_stat t
       SET pending = t.pending - 1,
           sent_ts = CASE WHEN t.pending = 1 THEN STATEMENT_TIMESTAMP() ELSE t.sent_ts END
      FROM follower
     WHERE t.id = follower.id AND t.pending > 0
    RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas,
              t.pending = 0 AND t.exec_status = 0 AS ready
), ended AS (
    UPDATE kr_task_flow f
       SET open_sinks = f.open_sinks - 1,
           exec_status = CASE WHEN f.open_sinks = 1 THEN 3 ELSE f.exec_status END,
           finished_ts = CASE WHEN f.open_sinks = 1 THEN STATEMENT_TIMESTAMP() END,
           held = f.held AND f.open_sinks > 1
      FROM done
     WHERE done.dependents = '[]'::jsonb AND f.task_flow_id = %(flow)s AND f.open_sinks > 0
       AND f.exec_status IN (0, 1, 2)
    RETURNING f.exec_status
)
SELECT f.failed_seq IS NOT NULL AND NOT EXISTS (SELECT FROM ended WHERE exec_status = 3),
       told.task_exec_seq, told.program, told.queue, told.task_priority, told.time_limit, told.canvas
  FROM done JOIN kr_task_flow f ON f.task_flow_id = %(flow)s LEFT JOIN told ON told.ready
 ORDER BY told.task_exec_seq
"""


def _ago(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)


def _status_case(condition: Q, status: Status) -> Case:
    """``status`` where the condition holds, else the state as it is."""
    return Case(
        When(condition, then=Value(int(status))), default=F("exec_status"), output_field=models.SmallIntegerField()
    )


def _status(status: Status) -> Value:
    return Value(int(status), models.SmallIntegerField())


class TaskQuerySet(models.QuerySet["Task"]):
    """Tasks, and every change of their state."""

    def one(self, flow_id: str, seq: int) -> TaskQuerySet:
        """The task of that place."""
        return self.filter(task_flow_id=flow_id, task_exec_seq=seq)

    def for_update(self, flow_id: str) -> list[Task]:
        """All tasks of a flow by seq, locked where the database can."""
        return list(self.select_for_update().filter(task_flow_id=flow_id).order_by("task_exec_seq"))

    def _allowed(self, verb: str) -> TaskQuerySet:
        return self.filter(exec_status__in=TRANSITIONS[verb].source)

    def _attempt(self, verb: str, flow_id: str, seq: int, attempt: int) -> TaskQuerySet:
        return self.one(flow_id, seq)._allowed(verb).filter(attempt=attempt)

    # One start, one outcome.

    def claim(self, flow_id: str, seq: int, worker: str, pid: int) -> Claim | None:
        """Take a ready task for execution; None if it is not ready, taken, or its flow is held or ended."""
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return self._claim_portably(flow_id, seq, worker, pid)
        with connection.cursor() as cursor:
            cursor.execute(_CLAIM, {"worker": worker, "pid": pid, "flow": flow_id, "seq": seq})
            row = cursor.fetchone()
        return row and _claim(flow_id, seq, *row[:3], json.loads(row[3]), *row[4:])

    def _claim_portably(self, flow_id: str, seq: int, worker: str, pid: int) -> Claim | None:
        with transaction.atomic(using=self.db):
            flow_model: Any = self.model._meta.get_field("task_flow").related_model
            flows = flow_model.objects.using(self.db)
            moved = (
                self.one(flow_id, seq)
                ._allowed("claim")
                .ready()
                .filter(Exists(flows.filter(pk=OuterRef("task_flow_id"), held=False, exec_status__in=OPEN)))
                .update(
                    exec_status=Status.RUNNING,
                    attempt=F("attempt") + 1,
                    worker=worker,
                    pid=pid,
                    due_ts=None,
                    started_ts=Now(),
                    suspended_ts=None,
                )
            )
            if not moved:
                return None
            flows.filter(pk=flow_id, exec_status__in=[Status.WAIT, Status.SUSPEND], held=False).update(
                exec_status=Status.RUNNING, started_ts=Coalesce("started_ts", Now()), suspended_ts=None
            )
            return _claim(flow_id, seq, *self.one(flow_id, seq).values_list(*_CLAIMED).get())

    def finish(self, flow_id: str, seq: int, attempt: int, output: str) -> Finished | None:
        """Record a success (``output`` is JSON text), tell the followers, and end the flow with its last sink.

        None if this attempt is no longer the one that runs.
        """
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return self._finish_portably(flow_id, seq, attempt, output)
        with connection.cursor() as cursor:
            cursor.execute(_FINISH, {"output": output, "flow": flow_id, "seq": seq, "attempt": attempt})
            rows = cursor.fetchall()
        if not rows:
            return None
        released = tuple(
            _message(flow_id, *row[1:6], json.loads(row[6]) if row[6] else None) for row in rows if row[1] is not None
        )
        return Finished(released=released, may_be_stuck=rows[0][0] and not released)

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

    def satisfied(self, flow_id: str, seq: int) -> Finished:
        """Tell the followers of a task that was just finished or skipped, and end the flow with its last sink."""
        task = self.one(flow_id, seq).select_related("task_flow").get()
        waiting = self.filter(task_flow_id=flow_id, task_exec_seq__in=task.dependents, pending__gt=0)
        told = list(waiting.select_for_update().order_by("task_exec_seq").values_list("pk", flat=True))
        self.filter(pk__in=told).update(
            sent_ts=Case(When(pending=1, then=Now()), default="sent_ts"), pending=F("pending") - 1
        )
        ready = self.filter(pk__in=told, pending=0, exec_status=Status.WAIT).order_by("task_exec_seq")
        released = tuple(ready.messages())
        if not task.dependents:
            type(task.task_flow).objects.using(self.db).sink_satisfied(flow_id)
            task.task_flow.refresh_from_db()
        flow = task.task_flow
        stuck = flow.failed_seq is not None and not flow.ended and not released
        return Finished(released=released, may_be_stuck=stuck)

    def retry(self, flow_id: str, seq: int, attempt: int, delay: float, error: str, traceback: str) -> int:
        """Let this attempt be started again in ``delay`` seconds."""
        return self._attempt("retry", flow_id, seq, attempt).update(
            exec_status=Status.WAIT,
            due_ts=Now() + timedelta(seconds=delay),
            retries=F("retries") + 1,
            error=error,
            traceback=traceback,
            progress=None,
        )

    def park(self, flow_id: str, seq: int, attempt: int, seconds: float | None) -> int:
        """Let this attempt wait without a worker: for ``seconds``, or until it is woken."""
        due = None if seconds is None else Now() + timedelta(seconds=seconds)
        return self._attempt("park", flow_id, seq, attempt).update(
            exec_status=Status.WAIT, parked=True, due_ts=due, sent_ts=None, error="", traceback=""
        )

    def wake(self) -> int:
        """Let parked tasks be started again; they are to be sent by the caller, or by the watcher."""
        return self._allowed("wake").filter(parked=True).update(parked=False, due_ts=None, sent_ts=None)

    def settle(self, flow_id: str, seq: int, output: Any) -> Finished | None:
        """End a parked task with ``output``, without another start; None if it is not parked. In a transaction."""
        moved = (
            self.one(flow_id, seq)
            ._allowed("settle")
            .filter(parked=True)
            .update(
                exec_status=Status.FINISH,
                parked=False,
                due_ts=None,
                output=Value(output, models.JSONField()),
                finished_ts=Now(),
            )
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
                parked=False,
                retries=0,
                rescues=0,
                run=F("run") + 1,
            )
        )

    # What the watcher looks for.

    def ready(self) -> TaskQuerySet:
        """Tasks that may be claimed as far as they themselves are concerned."""
        due = Q(due_ts__isnull=True) | Q(due_ts__lte=Now())
        return self.filter(due, exec_status=Status.WAIT, pending=0, parked=False).exclude(program="")

    def startable(self) -> TaskQuerySet:
        """Ready tasks of flows that are neither held nor ended."""
        return self.ready().filter(task_flow__held=False, task_flow__exec_status__in=OPEN)

    def handed_over(self) -> TaskQuerySet:
        """Startable tasks that nobody sent yet: due retries, and rows of processes without a broker."""
        return self.startable().filter(Q(sent_ts__isnull=True) | Q(due_ts__isnull=False))

    def overslept(self) -> TaskQuerySet:
        """Parked tasks whose time has come."""
        return self.filter(exec_status=Status.WAIT, parked=True, due_ts__lte=Now())

    def silent(self, seconds: float) -> TaskQuerySet:
        """Startable tasks that were sent over ``seconds`` ago."""
        return self.startable().filter(sent_ts__lt=_ago(seconds), due_ts__isnull=True)

    def released_by(self, flow_id: str, seq: int) -> TaskQuerySet:
        """Startable tasks that waited for a satisfied one."""
        satisfied = self.one(flow_id, seq).filter(exec_status__in=SATISFIED)
        dependents = satisfied.values_list("dependents", flat=True).first() or []
        return self.startable().filter(task_flow_id=flow_id, task_exec_seq__in=dependents)

    def orphaned(self, living: Collection[str], seconds: float) -> TaskQuerySet:
        """Running tasks whose worker is none of the living; one that just started counts from its claim."""
        running = self.filter(exec_status=Status.RUNNING, started_ts__lt=_ago(seconds))
        return running.exclude(worker__in=living).exclude(program="")

    def inserted(self) -> TaskQuerySet:
        """Rows that others put straight into the table and nobody adopted yet."""
        return self.filter(program="")

    def mark_sent(self) -> int:
        """Remember that messages for these go out now; what was claimed meanwhile is left alone."""
        return self.ready().update(sent_ts=Now(), due_ts=None)

    def forget_sent(self) -> int:
        """Forget messages for tasks that wait for others again: they are to be sent anew when they are released."""
        return self.filter(pending__gt=0, sent_ts__isnull=False).update(sent_ts=None)

    def messages(self, *, alone: bool = False) -> list[Message]:
        """One message per task; ``alone`` leaves out what could travel with it, for messages that may be duplicates."""
        columns = ("task_flow_id", "task_exec_seq", "program", "queue", "task_priority", "time_limit", "canvas")
        rows = self.values_list(*columns)
        return [_message(*row[:6], None if alone else row[6]) for row in rows]


_CLAIMED = (
    "task_id",
    "task_seq",
    "program",
    "parameters",
    "attempt",
    "retries",
    "run",
    "max_retries",
    "retry_delay",
    "time_limit",
)


def _claim(flow_id: str, seq: int, *columns: Any) -> Claim:
    return Claim(flow_id=flow_id, seq=seq, **dict(zip(_CLAIMED, columns, strict=True)))


def _message(flow_id: str, *columns: Any) -> Message:
    seq, program, queue, priority, time_limit, canvas = columns
    head = Link(seq=seq, program=program, queue=queue, priority=priority, time_limit=time_limit)
    return Message.of(flow_id, head, canvas)


_GOING = Q(exec_status=Status.RUNNING) | Q(exec_status=Status.WAIT, pending=0)
"""Tasks that run, or wait for nothing but their turn or time."""


class FlowQuerySet(models.QuerySet["Flow"]):
    """Flows, and every change of their state."""

    def for_update(self, flow_id: str) -> Flow | None:
        """The flow, locked where the database can."""
        return self.select_for_update().filter(pk=flow_id).first()

    def open(self) -> FlowQuerySet:
        """Flows that have not ended."""
        return self.filter(exec_status__in=OPEN)

    def sink_satisfied(self, flow_id: str) -> int:
        """Count one sink down; the last ends the flow."""
        last = Q(open_sinks=1)
        return (
            self.open()
            .filter(pk=flow_id, open_sinks__gt=0)
            .update(
                exec_status=_status_case(last, Status.FINISH),
                finished_ts=Case(When(last, then=Now())),
                held=Case(When(last, then=Value(value=False)), default="held"),
                open_sinks=F("open_sinks") - 1,
            )
        )

    def point_to_failure(self, flow_id: str, seq: int) -> int:
        """Remember the first task that failed."""
        return self.filter(pk=flow_id, failed_seq__isnull=True).update(failed_seq=seq)

    def hold(self, flow_id: str) -> int:
        """Let no task of an open flow be started."""
        return (
            self.open().filter(pk=flow_id, held=False).update(held=True, exec_status=Status.SUSPEND, suspended_ts=Now())
        )

    def release(self, flow_id: str) -> int:
        """Undo ``hold``; the caller settles the state."""
        return self.open().filter(pk=flow_id, held=True).update(held=False)

    def cancel(self, flow_id: str) -> int:
        """End an open flow without its success."""
        return (
            self.open()
            .filter(pk=flow_id)
            .update(exec_status=Status.IGNORE, finished_ts=Now(), held=False, open_sinks=0, failed_seq=None)
        )

    def relinked(self, flow_id: str, open_sinks: int, failed_seq: int | None) -> int:
        """Store what an operator's verb made of the flow, open again; the caller settles the state."""
        return self.filter(pk=flow_id).update(
            open_sinks=open_sinks,
            failed_seq=failed_seq,
            exec_status=_status_case(Q(exec_status__in=sorted(SATISFIED)), Status.RUNNING),
            finished_ts=None,
        )

    def settle(self, flow_id: str) -> int:
        """Bring an open flow's state in line with its tasks.

        Lock, then look in a second statement: what commits meanwhile settles after us. Call it in a transaction.
        """
        flow = self.for_update(flow_id)
        if flow is None or flow.ended:
            return 0
        tasks = flow.tasks.using(self.db)
        values: dict[str, Any]
        if not tasks.filter(exec_status__in=OPEN).exists():
            ended = {"held": False, "open_sinks": 0, "failed_seq": None}
            values = {"exec_status": Status.FINISH, "finished_ts": Now(), **ended}
        elif flow.held or not tasks.filter(_GOING).exists():
            values = {"exec_status": Status.SUSPEND, "suspended_ts": Coalesce("suspended_ts", Now())}
        else:
            begun = Status.WAIT if flow.started_ts is None else Status.RUNNING
            values = {"exec_status": begun, "suspended_ts": None}
        if flow.exec_status == values["exec_status"]:
            return 0
        return self.open().filter(pk=flow_id).update(**values)

    def unsettled(self) -> FlowQuerySet:
        """Open flows that are not Suspend although nothing in them can go on."""
        task_model: Any = self.model._meta.get_field("tasks").related_model
        tasks = task_model.objects.filter(task_flow_id=OuterRef("pk"))
        going = tasks.filter(_GOING)
        return (
            self.filter(exec_status__in=[Status.WAIT, Status.RUNNING])
            .exclude(Exists(going))
            .exclude(Exists(tasks.filter(program="")))
        )

    def ended_before(self, days: float) -> FlowQuerySet:
        """Flows that ended over ``days`` ago."""
        return self.filter(exec_status__in=SATISFIED, finished_ts__lt=_ago(days * 86400))


class DefinitionQuerySet(models.QuerySet[Any]):
    """Steps of workflows."""

    def plan(self, task_id: str) -> Plan | None:
        """The stored workflow as a plan, unchecked; None if there are no rows."""
        nodes = []
        before: int | None = None
        for row in self.filter(task_id=task_id).order_by("task_seq"):
            nodes.append(row.node(before))
            before = row.task_seq
        return Plan(task_id, tuple(nodes)) if nodes else None

    def workflows(self) -> Any:
        """Names of all workflows that have steps, each once, with the number of steps."""
        return self.order_by("task_id").values("task_id").annotate(steps=models.Count("task_seq"))


class WorkflowQuerySet(models.QuerySet[Any]):
    """Headers of workflows."""

    def add_missing(self, task_ids: Iterable[str]) -> None:
        """Make headers for workflows that were written by SQL, so that they can be listed and linked."""
        self.bulk_create([self.model(task_id=each) for each in task_ids], ignore_conflicts=True)


class EventQuerySet(models.QuerySet[Any]):
    """The history."""

    def record(
        self, verb: str, flow_id: str, seq: int | None = None, *, details: dict[str, Any] | None = None, **facts: Any
    ) -> None:
        """Write one transition, in the transaction that makes it; ``facts`` are the other columns."""
        facts["actor"] = text(facts.get("actor", ""))[:150]
        facts["reason"] = text(facts.get("reason", ""))
        self.create(verb=verb, task_flow_id=flow_id, task_exec_seq=seq, details=details or {}, **facts)

    def record_all(self, verb: str, places: Sequence[tuple[str, int]], reason: str) -> None:
        """Write the same transition by the watcher for many tasks."""
        rows = [
            self.model(verb=verb, task_flow_id=flow_id, task_exec_seq=seq, actor="watcher", reason=reason)
            for flow_id, seq in places
        ]
        self.bulk_create(rows, batch_size=500)


class WorkerQuerySet(models.QuerySet[Any]):
    """Running workers."""

    def living(self, seconds: float) -> WorkerQuerySet:
        """Workers that gave a sign of life within ``seconds`` and did not say goodbye."""
        return self.filter(seen_ts__gte=_ago(seconds), stopped_ts__isnull=True)

    def seen(self, worker: str) -> int:
        """Renew a worker's sign of life."""
        return self.filter(pk=worker).update(seen_ts=Now(), stopped_ts=None)

    def stopped(self, worker: str) -> int:
        """Say goodbye."""
        return self.filter(pk=worker).update(stopped_ts=Now())

    def forget(self, seconds: float) -> int:
        """Delete rows of workers that are long gone and vouch for no task."""
        return self.filter(seen_ts__lt=_ago(seconds)).delete()[0]


class LeaseQuerySet(models.QuerySet[Any]):
    """Duties that one worker at a time has."""

    def take(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a duty for ``seconds``; False while another holds it."""
        free = Q(holder=holder) | Q(expires_ts__lte=Now())
        until = Now() + timedelta(seconds=seconds)
        if self.filter(free, pk=name).update(holder=holder, expires_ts=until):
            return True
        if self.filter(pk=name).exists():
            return False
        return bool(self._insert_first(name, holder, seconds))

    def _insert_first(self, name: str, holder: str, seconds: float) -> bool:
        self.bulk_create([self.model(name=name, holder=holder, expires_ts=Now())], ignore_conflicts=True)
        return self.take(name, holder, seconds)

    def give_up(self, name: str, holder: str) -> int:
        """Lay a duty down, so that another need not wait."""
        return self.filter(pk=name, holder=holder).update(expires_ts=Now())


def batched(items: Sequence[Any], size: int = 500) -> Iterable[Sequence[Any]]:
    """``items`` in slices of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))
