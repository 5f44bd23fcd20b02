"""Finish a child: record its success, send its next sibling, and count its parent down, in one statement.

The portable form is ``FinishQuerySet._finish_portably``, as for every finish. ``FINISH_CHILD`` releases the next
sibling where ``FINISH`` takes on a deferred task, and it claims nothing. Its parts::

    finished             the child is recorded as Finish; no row if this attempt no longer runs: then nothing happens
    ├── next_child       the next sibling that waits for a place is released
    ├── dependent        the tasks that wait for this one, which is its parent, locked
    │   └── counted_down their count of unsatisfied dependencies is reduced; a parent that reaches 0 is released
    └── ended_flow       or, if no task waits for it: the flow's count of open sinks is reduced; 0 ends the flow

Parameters: flow, seq, attempt, output (JSON text) and first_sent. ``finish.py`` explains the hints for the planner.
"""

# ruff: noqa: S608 - what the statement is composed of are states
from __future__ import annotations

from flowerapp.querysets import prepared
from flowerapp.querysets.db import in_sql
from flowerapp.states import OPEN, Status

_FINISHED = f"""
UPDATE kr_task_stat
   SET exec_status = {Status.FINISH}, output = %(output)s::jsonb, finished_ts = STATEMENT_TIMESTAMP(),
       error = '', traceback = ''
 WHERE task_flow_id = %(flow)s AND task_exec_seq = %(seq)s
   AND exec_status + 0 = {Status.RUNNING} AND attempt = %(attempt)s
RETURNING dependents, parent_seq, task_priority, program, queue, coalesced
"""

_NEXT_CHILD = f"""
UPDATE kr_task_stat t
   SET pending = 0, sent_ts = CASE WHEN t.admitted THEN STATEMENT_TIMESTAMP() END
  FROM (SELECT c.id
          FROM finished JOIN kr_task_stat c ON c.task_flow_id = %(flow)s AND c.parent_seq = finished.parent_seq
         WHERE c.exec_status = {Status.WAIT} AND c.pending > 0
         ORDER BY c.child_index LIMIT 1 FOR UPDATE OF c SKIP LOCKED) chosen
 WHERE t.id = chosen.id
RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas, t.admitted, t.pool, t.parked,
          TRUE AS ready, FALSE AS deferred
"""
"""The first child that waits for a place; one that another process has locked is that process's to release."""

_DEPENDENT = """
SELECT t.id, finished.coalesced, t.sendable,
       row_number() OVER (PARTITION BY t.sendable, t.queue, t.program ORDER BY t.task_priority, t.task_exec_seq)
           > %(first_sent)s AS deferred
  FROM finished
 CROSS JOIN jsonb_array_elements_text(finished.dependents) entry(seq)
 CROSS JOIN LATERAL (
    SELECT id, task_exec_seq, task_priority, program, queue,
           pending = 1 + finished.coalesced AND admitted AND NOT parked AS sendable
      FROM kr_task_stat WHERE task_flow_id = %(flow)s AND task_exec_seq = entry.seq::int FOR UPDATE
 ) t
 WHERE entry.seq::int::text = entry.seq
"""

_COUNTED_DOWN = f"""
UPDATE kr_task_stat t
   SET pending = t.pending - 1 - dependent.coalesced, deferred = dependent.sendable AND dependent.deferred,
       sent_ts = CASE WHEN dependent.sendable AND NOT dependent.deferred THEN STATEMENT_TIMESTAMP() ELSE t.sent_ts END
  FROM dependent
 WHERE t.id = dependent.id AND t.pending > dependent.coalesced
RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas, t.admitted, t.pool, t.parked,
          t.pending = 0 AND t.exec_status = {Status.WAIT} AS ready, t.admitted AND dependent.deferred AS deferred
"""

_ENDED_FLOW = f"""
UPDATE kr_task_flow f
   SET open_sinks = f.open_sinks - 1 - finished.coalesced,
       exec_status = CASE WHEN f.open_sinks = 1 + finished.coalesced THEN {Status.FINISH} ELSE f.exec_status END,
       finished_ts = CASE WHEN f.open_sinks = 1 + finished.coalesced THEN STATEMENT_TIMESTAMP() END,
       held = f.held AND f.open_sinks > 1 + finished.coalesced
  FROM finished
 WHERE finished.dependents = '[]'::jsonb AND f.task_flow_id = %(flow)s AND f.open_sinks > finished.coalesced
   AND f.exec_status + 0 IN ({in_sql(OPEN)})
RETURNING f.exec_status
"""

_RESULT = f"""
SELECT EXISTS (SELECT FROM ended_flow WHERE exec_status = {Status.FINISH}), f.limited, f.failed_seq,
       EXISTS (SELECT FROM counted_down WHERE counted_down.ready AND counted_down.deferred),
       NULL,
       released.task_exec_seq, released.program, released.queue, released.task_priority, released.time_limit,
       released.canvas, released.admitted, released.pool, released.parked
  FROM finished
  JOIN kr_task_flow f ON f.task_flow_id = %(flow)s
  LEFT JOIN (SELECT task_exec_seq, program, queue, task_priority, time_limit, canvas, admitted, pool, parked,
                    ready, deferred FROM next_child
             UNION ALL
             SELECT task_exec_seq, program, queue, task_priority, time_limit, canvas, admitted, pool, parked,
                    ready, deferred FROM counted_down) released ON released.ready AND NOT released.deferred
 ORDER BY released.task_exec_seq
"""

FINISH_CHILD = prepared.composed(
    {
        "finished": _FINISHED,
        "next_child": _NEXT_CHILD,
        "dependent": _DEPENDENT,
        "counted_down": _COUNTED_DOWN,
        "ended_flow": _ENDED_FLOW,
    },
    _RESULT,
)
"""Returns what ``FINISH`` does, where no task is claimed."""
