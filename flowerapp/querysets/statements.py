"""The two statements of the hot path, in SQL for PostgreSQL, and what their rows become.

Their portable forms are ``TaskQuerySet._claim_portably`` and ``_finish_portably``; both run under the same tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from flowerapp.dispatch import Link, Message
from flowerapp.states import Status


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


CLAIM = """
WITH claimed AS (
    UPDATE kr_task_stat t
       SET exec_status = 1, attempt = t.attempt + 1, worker = %(worker)s, pid = %(pid)s, due_ts = NULL,
           started_ts = STATEMENT_TIMESTAMP(), suspended_ts = NULL
      FROM kr_task_flow f
     WHERE t.task_flow_id = %(flow)s AND t.task_exec_seq = %(seq)s
       AND t.exec_status + t.pending = 0  -- both are 0; a sum, for the planner is to take the key and no partial index
       AND NOT t.parked AND t.program <> ''
       AND (t.due_ts IS NULL OR t.due_ts <= STATEMENT_TIMESTAMP())
       AND f.task_flow_id = t.task_flow_id AND NOT f.held AND f.exec_status IN (0, 1, 2)
       AND NOT EXISTS (SELECT FROM kr_worker w
                        WHERE w.id = %(worker)s AND w.seen_ts < STATEMENT_TIMESTAMP() - %(lease)s * INTERVAL '1 second')
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


FINISH = """
WITH done AS (
    UPDATE kr_task_stat
       SET exec_status = 3, output = %(output)s::jsonb, finished_ts = STATEMENT_TIMESTAMP(), error = '', traceback = ''
     WHERE task_flow_id = %(flow)s AND task_exec_seq = %(seq)s AND exec_status + 0 = 1 AND attempt = %(attempt)s
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


CLAIMED = (
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


def claim_of(flow_id: str, seq: int, *columns: Any) -> Claim:
    """A claim from the columns ``CLAIMED``."""
    return Claim(flow_id=flow_id, seq=seq, **dict(zip(CLAIMED, columns, strict=True)))


def message_of(flow_id: str, *columns: Any) -> Message:
    """A message from the columns seq, program, queue, priority, time limit and canvas."""
    seq, program, queue, priority, time_limit, canvas = columns
    head = Link(seq=seq, program=program, queue=queue, priority=priority, time_limit=time_limit)
    return Message.of(flow_id, head, canvas)


def ago(seconds: float) -> Any:
    """The database's time, ``seconds`` before now."""
    return Now() - timedelta(seconds=seconds)


def status_case(condition: Q, status: Status) -> Case:
    """``status`` where the condition holds, else the state as it is."""
    return Case(
        When(condition, then=Value(int(status))), default=F("exec_status"), output_field=models.SmallIntegerField()
    )
