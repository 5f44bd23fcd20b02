"""The two statements of the hot path, in SQL for PostgreSQL, and what their rows become.

Their portable forms are ``TaskQuerySet._claim_portably`` and ``_finish_portably``; both run under the same tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    begins: bool
    """Whether the flow began with this claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a satisfied task led to."""

    released: tuple[Message, ...] = ()
    """Tasks that became ready by it; sent even while the flow is held, for it may be resumed at this moment."""
    more: bool = False
    """More tasks became ready than are sent at first: these are left over to those."""
    pools: frozenset[str] = frozenset()
    """Pools that tasks now wait for."""
    parents: tuple[int, ...] = ()
    """Seqs of tasks whose children have all ended."""
    ended: bool = False
    """It was the flow's last."""
    limited: bool = False
    """Another flow of the workflow may wait for the end of this one."""
    claimed: Claim | None = None
    """What was left over, or became ready, and is claimed for this process to go on with."""
    may_be_stuck: bool = False
    """A task of the flow has failed and nothing was released: settle it."""


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
)
"""Columns of a task that its claim tells."""

_ALIVE = """NOT EXISTS (SELECT FROM kr_worker w
                   WHERE w.id = %(worker)s AND w.seen_ts < STATEMENT_TIMESTAMP() - %(lease)s * INTERVAL '1 second')"""
"""A worker that others take for dead takes no work."""

_CLAIM = """
WITH claimed AS (
    UPDATE kr_task_stat t
       SET exec_status = 1, attempt = t.attempt + 1, worker = %(worker)s, pid = %(pid)s, due_ts = NULL,
           started_ts = STATEMENT_TIMESTAMP(), suspended_ts = NULL, left_over = FALSE,
           sent_ts = CASE WHEN %(sent)s THEN t.sent_ts END
      FROM kr_task_flow f
     WHERE t.task_flow_id = %(flow)s AND t.task_exec_seq = %(seq)s
       AND t.exec_status + t.pending = 0  -- both are 0; a sum, for the planner is to take the key and no partial index
       AND NOT t.parked AND t.admitted AND t.program <> ''
       AND (t.due_ts IS NULL OR t.due_ts <= STATEMENT_TIMESTAMP())
       AND f.task_flow_id = t.task_flow_id AND NOT f.held AND f.admitted
       AND f.exec_status + 0 IN (0, 1, 2)  -- as above
       AND {alive}
    RETURNING {returned}
), begun AS (
    UPDATE kr_task_flow f
       SET exec_status = 1, started_ts = COALESCE(f.started_ts, STATEMENT_TIMESTAMP()), suspended_ts = NULL
      FROM claimed
     WHERE f.task_flow_id = %(flow)s AND f.exec_status + 0 IN (0, 2) AND NOT f.held
    RETURNING f.started_ts = STATEMENT_TIMESTAMP() AS first
)
SELECT {columns}, EXISTS (SELECT FROM begun WHERE first) FROM claimed
"""
CLAIM = _CLAIM.format(alive=_ALIVE, returned=", ".join(f"t.{name}" for name in CLAIMED), columns=", ".join(CLAIMED))


_FINISH = """
WITH done AS (
    UPDATE kr_task_stat
       SET exec_status = 3, output = %(output)s::jsonb, finished_ts = STATEMENT_TIMESTAMP(), error = '', traceback = ''
     WHERE task_flow_id = %(flow)s AND task_exec_seq = %(seq)s AND exec_status + 0 = 1 AND attempt = %(attempt)s
    RETURNING dependents, parent_seq, task_priority, program, queue, owed
){also}, follower AS (
    SELECT t.id, done.owed, t.goes_out, {here} AS here,
           row_number() OVER (PARTITION BY t.goes_out, t.queue, t.program ORDER BY t.task_priority, t.task_exec_seq)
               > %(first)s AS later
      FROM done
     CROSS JOIN jsonb_array_elements_text(done.dependents) each(seq)
     CROSS JOIN LATERAL (
        SELECT id, task_exec_seq, exec_status, task_priority, program, queue, time_limit, due_ts,
               pending = 1 + done.owed AND admitted AND NOT parked AS goes_out
          FROM kr_task_stat WHERE task_flow_id = %(flow)s AND task_exec_seq = each.seq::int FOR UPDATE
     ) t
     WHERE each.seq::int::text = each.seq  -- always true; tells the planner to expect few, so that it takes the index
       AND {tells}
), told AS (
    UPDATE kr_task_stat t
       SET pending = t.pending - 1 - follower.owed, left_over = follower.goes_out AND follower.later,
           sent_ts = CASE WHEN follower.goes_out AND NOT (follower.here OR follower.later) THEN STATEMENT_TIMESTAMP()
                          WHEN NOT follower.here THEN t.sent_ts END{sets}
      FROM follower
     WHERE t.id = follower.id AND t.pending > follower.owed
    RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas, t.admitted, t.pool,
              t.parked, t.pending = 0 AND t.exec_status = 0 AS ready, t.admitted AND follower.later AS later{returns}
), ended AS (
    UPDATE kr_task_flow f
       SET open_sinks = f.open_sinks - 1 - done.owed,
           exec_status = CASE WHEN f.open_sinks = 1 + done.owed THEN 3 ELSE f.exec_status END,
           finished_ts = CASE WHEN f.open_sinks = 1 + done.owed THEN STATEMENT_TIMESTAMP() END,
           held = f.held AND f.open_sinks > 1 + done.owed
      FROM done
     WHERE done.dependents = '[]'::jsonb AND f.task_flow_id = %(flow)s AND f.open_sinks > done.owed
       AND f.exec_status + 0 IN (0, 1, 2) AND {tells}
    RETURNING f.exec_status
)
SELECT EXISTS (SELECT FROM ended WHERE exec_status = 3), f.limited, f.failed_seq,
       EXISTS (SELECT FROM told WHERE told.ready AND told.later), {taken}, ready.task_exec_seq, ready.program,
       ready.queue, ready.task_priority, ready.time_limit, ready.canvas, ready.admitted, ready.pool, ready.parked
  FROM done
  JOIN kr_task_flow f ON f.task_flow_id = %(flow)s
  LEFT JOIN (SELECT {columns} FROM {of} UNION ALL SELECT {columns} FROM told) ready ON ready.ready AND NOT ready.later
 ORDER BY ready.task_exec_seq
"""

_NEXT = """, process AS (
    SELECT %(programs)s::text[] AS programs,
           f.exec_status + 0 = 1 AND NOT f.held AND f.admitted AND {alive} AS may_claim
      FROM kr_task_flow f WHERE f.task_flow_id = %(flow)s AND %(programs)s::text[] <> '{{}}'
), next AS (
    UPDATE kr_task_stat t
       SET sent_ts = CASE WHEN NOT chosen.here THEN STATEMENT_TIMESTAMP() END, left_over = FALSE,
           owed = CASE WHEN chosen.here AND chosen.same THEN t.owed + chosen.owed + 1 ELSE t.owed END{sets}
      FROM (SELECT one.id, done.owed, one.dependents = done.dependents AS same, {fits} AS here
              FROM done
             CROSS JOIN LATERAL (
                SELECT id, exec_status, task_priority, program, queue, time_limit, due_ts, dependents FROM kr_task_stat
                 WHERE left_over AND exec_status = 0 AND pending + 0 = 0 AND admitted AND NOT parked  -- as above
                   AND task_flow_id = %(flow)s AND queue = done.queue AND program = done.program
                   AND (task_priority, task_exec_seq) > (done.task_priority, %(seq)s)
                 ORDER BY task_priority, task_exec_seq LIMIT 1 FOR UPDATE SKIP LOCKED
             ) one OFFSET 0) chosen  -- else "here" would be worked out for each column
     WHERE t.id = chosen.id
    RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas, t.admitted, t.pool,
              t.parked, NOT chosen.here AS ready, FALSE AS later, chosen.here AND chosen.same AS owes{returns}
)"""

_FITS = """{it}.exec_status = 0 AND {it}.queue = done.queue AND {it}.task_priority = done.task_priority
            AND {it}.time_limit IS NULL AND {it}.due_ts IS NULL
            AND EXISTS (SELECT FROM process WHERE may_claim AND {it}.program = ANY (programs))"""
"""What a process goes on with: a message would bring it to the same place."""

_FIRST = """(row_number() OVER (PARTITION BY t.goes_out ORDER BY t.task_priority, t.task_exec_seq) = 1
            AND t.goes_out AND {fits} AND NOT EXISTS (SELECT FROM next WHERE here))"""

_CLAIM_SETS = """,
           exec_status = CASE WHEN {it}.here THEN 1 ELSE t.exec_status END, attempt = t.attempt + {it}.here::int,
           worker = CASE WHEN {it}.here THEN %(worker)s ELSE t.worker END,
           pid = CASE WHEN {it}.here THEN %(pid)s ELSE t.pid END,
           started_ts = CASE WHEN {it}.here THEN STATEMENT_TIMESTAMP() ELSE t.started_ts END"""
_CLAIM_RETURNS = """, {it}.here, t.task_id, t.task_seq,
              CASE WHEN {it}.here THEN t.parameters END AS parameters, t.attempt, t.retries, t.run, t.max_retries,
              t.retry_delay, t.parent_seq, t.child_program"""

_TURN = """, turn AS (
    UPDATE kr_task_stat t
       SET pending = 0, sent_ts = CASE WHEN t.admitted THEN STATEMENT_TIMESTAMP() END
      FROM (SELECT c.id
              FROM done JOIN kr_task_stat c ON c.task_flow_id = %(flow)s AND c.parent_seq = done.parent_seq
             WHERE c.exec_status = 0 AND c.pending > 0
             ORDER BY c.child_index LIMIT 1 FOR UPDATE OF c SKIP LOCKED) first
     WHERE t.id = first.id
    RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas, t.admitted, t.pool,
              t.parked, TRUE AS ready, FALSE AS later
)"""

_READY = "task_exec_seq, program, queue, task_priority, time_limit, canvas, admitted, pool, parked, ready, later"
_TAKEN = """COALESCE((SELECT row_to_json(next)::text FROM next WHERE here),
                (SELECT row_to_json(told)::text FROM told WHERE here))"""


def _claiming(it: str) -> dict[str, str]:
    """To claim a task where a column of ``it`` says so."""
    return {"sets": _CLAIM_SETS.format(it=it), "returns": _CLAIM_RETURNS.format(it=it)}


FINISH = _FINISH.format(
    also=_NEXT.format(alive=_ALIVE, fits=_FITS.format(it="one"), **_claiming("chosen")),
    of="next",
    here=_FIRST.format(fits=_FITS.format(it="t")),
    tells="NOT EXISTS (SELECT FROM next WHERE owes)",
    taken=_TAKEN,
    columns=_READY,
    **_claiming("follower"),
)
"""One more task is claimed where this process goes on with it: the next that was left over, else the first follower.

A next one that is not for this process is taken on to be sent. If its followers are those of the one that ended, they
are told of both ends with its own: until then they could not start, and those who end at the same time would wait for
each other's locks on them.
"""
FINISH_CHILD = _FINISH.format(
    also=_TURN, of="turn", here="FALSE", tells="TRUE", taken="NULL", columns=_READY, sets="", returns=""
)
"""A child's end is its next sibling's turn too."""


def claim_of(flow_id: str, seq: int, begins: bool, *columns: Any) -> Claim:
    """A claim from the columns ``CLAIMED``."""
    return Claim(flow_id=flow_id, seq=seq, begins=begins, **dict(zip(CLAIMED, columns, strict=True)))


def message_of(flow_id: str, *columns: Any) -> Message:
    """A message from the columns seq, program, queue, priority, time limit and canvas."""
    seq, program, queue, priority, time_limit, canvas = columns
    head = Link(seq=seq, program=program, queue=queue, priority=priority, time_limit=time_limit)
    return Message.of(flow_id, head, canvas)


def _claimed_of(flow_id: str, row: dict[str, Any]) -> Claim:
    return claim_of(flow_id, row["task_exec_seq"], False, *[row[name] for name in CLAIMED])


def finished_of(flow_id: str, rows: Sequence[Any]) -> Finished:
    """What the rows of ``FINISH`` say: five columns about the flow, then those of each task that became ready."""
    ended, limited, failed_seq, more, claimed = rows[0][:5]
    released, pools, parents = [], set(), []
    for seq, program, queue, priority, time_limit, canvas, admitted, pool, parked in (row[5:] for row in rows):
        if parked:
            parents.append(seq)
        elif admitted:
            canvas = json.loads(canvas) if isinstance(canvas, str) else canvas
            released.append(message_of(flow_id, seq, program, queue, priority, time_limit, canvas))
        elif pool:
            pools.add(pool)
    return Finished(
        released=tuple(released),
        more=more,
        pools=frozenset(pools),
        parents=tuple(parents),
        ended=ended,
        limited=limited,
        claimed=_claimed_of(flow_id, json.loads(claimed)) if claimed else None,
        may_be_stuck=failed_seq is not None and not ended and not released and not claimed,
    )


def ago(seconds: float) -> Any:
    """The database's time, ``seconds`` before now."""
    return Now() - timedelta(seconds=seconds)


def status_case(condition: Q, status: Status) -> Case:
    """``status`` where the condition holds, else the state as it is."""
    return Case(
        When(condition, then=Value(int(status))), default=F("exec_status"), output_field=models.SmallIntegerField()
    )
