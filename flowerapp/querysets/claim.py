"""Claim: take a ready task for execution, and begin its flow if it is the first of it.

On PostgreSQL this is one statement, ``CLAIM``; elsewhere ``ClaimQuerySet._claim_portably``. Both run under the same
tests.
"""

# ruff: noqa: S608 - what the statements are composed of are states and columns
from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.functions import Coalesce

from flowerapp import conf
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.querysets import prepared
from flowerapp.querysets.clock import Now
from flowerapp.querysets.db import atomic, in_sql
from flowerapp.querysets.streams import StreamQuerySet
from flowerapp.states import OPEN, SATISFIED, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A task that this worker may now run."""

    ref: TaskRef
    task_id: str
    task_seq: int
    program: str
    queue: str
    task_priority: int
    parameters: dict[str, Any]
    attempt: int
    retries: int
    run: int
    max_retries: int | None
    retry_delay: int | None
    time_limit: int | None
    pool: str
    parent_seq: int | None
    child_program: str
    when: str
    cache_key: str
    cache_seconds: int | None
    cache_scope: str
    begins: bool
    """Whether the flow began with this claim."""
    waited: float = 0.0
    """Seconds that its message waited to be taken; 0 if it had none, or where they are not known."""

    @property
    def flow_id(self) -> str:
        """``task_flow_id``."""
        return self.ref.flow_id

    @property
    def seq(self) -> int:
        """``task_exec_seq``."""
        return self.ref.seq


CLAIMED = (
    "task_id",
    "task_seq",
    "program",
    "queue",
    "task_priority",
    "parameters",
    "attempt",
    "retries",
    "run",
    "max_retries",
    "retry_delay",
    "time_limit",
    "pool",
    "parent_seq",
    "child_program",
    "when",
    "cache_key",
    "cache_seconds",
    "cache_scope",
)
"""Columns of a task that its claim has."""
_PARAMETERS = CLAIMED.index("parameters")


def claim_of(ref: TaskRef, begins: bool, *columns: Any, waited: float = 0.0) -> Claim:
    """A claim from the values of the columns ``CLAIMED``."""
    return Claim(ref=ref, begins=begins, waited=waited, **dict(zip(CLAIMED, columns, strict=True)))


# The statement. Its parameters: flow, seq, worker, pid, lease (seconds), and sent, whether a message brought the task.

_CLAIMED_TASK = f"""
UPDATE kr_task_stat t
   SET exec_status = {Status.RUNNING}, attempt = t.attempt + 1, worker = %(worker)s, pid = %(pid)s, due_ts = NULL,
       started_ts = STATEMENT_TIMESTAMP(), suspended_ts = NULL, deferred = FALSE,
       sent_ts = CASE WHEN %(sent)s THEN t.sent_ts END
  FROM kr_task_flow f
 WHERE t.task_flow_id = %(flow)s AND t.task_exec_seq = %(seq)s
   -- The task is ready. Wait is 0 and pending is never negative, so the sum is 0 only if both are. As two conditions
   -- they would match the partial indexes of ready tasks, and the planner could scan one of them for this one row.
   AND t.exec_status + t.pending = {Status.WAIT}
   AND NOT t.parked AND t.admitted AND t.program <> ''
   AND (t.due_ts IS NULL OR t.due_ts <= STATEMENT_TIMESTAMP())
   -- Its flow lets tasks start. The "+ 0" keeps the planner from the partial index of open flows, as above.
   AND f.task_flow_id = t.task_flow_id AND NOT f.held AND f.admitted
   AND f.exec_status + 0 IN ({in_sql(OPEN)})
   -- The worker's heartbeat is not overdue: a worker that others take for dead takes no work.
   AND NOT EXISTS (SELECT FROM kr_worker w
                    WHERE w.id = %(worker)s
                      AND w.seen_ts < STATEMENT_TIMESTAMP() - %(lease)s * INTERVAL '1 second')
RETURNING """ + ", ".join(
    [*(f"t.{name}" for name in CLAIMED), "COALESCE(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - t.sent_ts), 0)::float8"]
)
"""The task becomes Running, if it, its flow and its worker allow it; no row otherwise."""

_BEGUN_FLOW = f"""
UPDATE kr_task_flow f
   SET exec_status = {Status.RUNNING}, started_ts = COALESCE(f.started_ts, STATEMENT_TIMESTAMP()), suspended_ts = NULL
  FROM claimed_task
 WHERE f.task_flow_id = %(flow)s AND f.exec_status + 0 IN ({in_sql([Status.WAIT, Status.SUSPEND])}) AND NOT f.held
RETURNING f.started_ts = STATEMENT_TIMESTAMP() AS first_time
"""
"""A flow that waited, or was Suspend because nothing in it could continue, becomes Running with its task."""

CLAIM = prepared.composed(
    {"claimed_task": _CLAIMED_TASK, "begun_flow": _BEGUN_FLOW},
    "SELECT claimed_task.*, EXISTS (SELECT FROM begun_flow WHERE first_time) FROM claimed_task",
)
"""Returns the columns ``CLAIMED``, the seconds that the message waited, and whether the flow began, or no row."""


class ClaimQuerySet(StreamQuerySet):
    """Tasks, as the processes see them that run them."""

    def claim(self, ref: TaskRef, process: Process, *, sent: bool = True) -> Claim | None:
        """Take a ready task for execution by ``process``.

        ``sent`` is whether a message brought the task; a task that a process continues with was not sent.
        None if the task is not ready or already taken, if its flow is held or has ended, or if the worker's heartbeat
        is overdue, so that other workers take it for dead.
        """
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return self._claim_portably(ref, process, sent)
        lease = conf.get().LEASE_SECONDS
        values = {**process._asdict(), "flow": ref.flow_id, "seq": ref.seq, "lease": lease, "sent": sent}
        for *columns, waited, begins in prepared.rows(connection, CLAIM, values):
            columns[_PARAMETERS] = json.loads(columns[_PARAMETERS])
            return claim_of(ref, begins, *columns, waited=waited)
        return None

    def _claim_portably(self, ref: TaskRef, process: Process, sent: bool) -> Claim | None:
        with atomic(self.db):
            if not self._claimable(ref, process.worker).update(
                exec_status=Status.RUNNING,
                attempt=F("attempt") + 1,
                worker=process.worker,
                pid=process.pid,
                due_ts=None,
                started_ts=Now(),
                suspended_ts=None,
                deferred=False,
                **({} if sent else {"sent_ts": None}),
            ):
                return None
            begins = self._begin_flow(ref.flow_id)
            return claim_of(ref, begins, *self.at(ref).values_list(*CLAIMED).get())

    def _claimable(self, ref: TaskRef, worker: str) -> ClaimQuerySet:
        """The task, if it is ready and its flow and the worker allow its start."""
        flow = self._flows().filter(pk=OuterRef("task_flow_id"), held=False, admitted=True, exec_status__in=OPEN)
        workers: Any = self.model._meta.apps.get_model("flowerapp", "Worker").objects.using(self.db)
        overdue = workers.overdue(conf.get().LEASE_SECONDS).filter(pk=worker)
        ready = self.at(ref)._allowed("claim").ready()
        return ready.filter(Exists(flow)).exclude(Exists(overdue))

    def _begin_flow(self, flow_id: str) -> bool:
        """Make a flow that is Wait or Suspend and not held Running; whether it is its first start."""
        flow = self._flows().filter(pk=flow_id)
        status, held, started_ts = flow.values_list("exec_status", "held", "started_ts").get()
        if held or status not in (Status.WAIT, Status.SUSPEND):
            return False
        flow.update(exec_status=Status.RUNNING, started_ts=Coalesce("started_ts", Now()), suspended_ts=None)
        return started_ts is None

    def _flows(self) -> Any:
        """All flows, as a queryset."""
        flow_model: Any = self.model._meta.get_field("task_flow").related_model
        return flow_model.objects.using(self.db)

    def claimed_by(self, ref: TaskRef, process: Process) -> Claim | None:
        """What the finish of a task claimed for this process to continue with."""
        finished_ts = self.at(ref).filter(exec_status__in=SATISFIED).values("finished_ts")
        running = self.filter(task_flow_id=ref.flow_id, exec_status=Status.RUNNING, **process._asdict())
        return running.filter(started_ts=Subquery(finished_ts)).as_claim()

    def as_claim(self) -> Claim | None:
        """The first of these tasks as the claim of its present attempt; None if there is none."""
        row = self.values_list("task_flow_id", "task_exec_seq", *CLAIMED).first()
        return claim_of(TaskRef(*row[:2]), False, *row[2:]) if row else None
