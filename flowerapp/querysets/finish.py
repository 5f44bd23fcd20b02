"""Finish: record a success, release what waited for it, and take one task more, in one statement.

On PostgreSQL the statement is ``FINISH`` for a step and ``FINISH_CHILD`` for a child; elsewhere it is
``FinishQuerySet._finish_portably``. All run under the same tests. The parts of ``FINISH`` in order; each may read
those above it::

    finished             the task is recorded as Finish, or, if its condition is false, as Ignore; no row if this
    │                    attempt no longer runs: then nothing happens
    ├── process          may this process continue with a task, and with which programs?
    ├── next_deferred    the next deferred task of the same program and queue: claimed for the process, or to be sent
    ├── dependent        the tasks that wait for this one, locked, and how each is to change
    │   └── counted_down their count of unsatisfied dependencies is reduced; at 0 a task is released
    └── ended_flow       or, if no task waits for it: the flow's count of open sinks is reduced; 0 ends the flow

**Coalescing.** Where the next deferred task is claimed and has the same dependents, their counts are not touched: the
column ``coalesced`` of the claimed task remembers how many ends it has to report beside its own. The dependents could
not start before it anyway, and all that end at the same time would wait for each other's locks on them.
"""

# ruff: noqa: S608 - what the statements are composed of are states
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from django.db import connections, models
from django.db.models import Case, Exists, ExpressionWrapper, F, OuterRef, Q, Value, When

from flowerapp import conf
from flowerapp.core.messages import FIRST_SENT, TaskCall, TaskRef, first_sent
from flowerapp.querysets import prepared
from flowerapp.querysets.claim import CLAIMED, Claim, ClaimQuerySet, claim_of
from flowerapp.querysets.clock import Now
from flowerapp.querysets.db import atomic, batched, in_sql
from flowerapp.querysets.finish_child import FINISH_CHILD
from flowerapp.querysets.ready import MESSAGE, message_of
from flowerapp.querysets.successes import Completion, Success
from flowerapp.states import OPEN, Status


class Outcome(NamedTuple):
    """What a finish answers about the flow."""

    ended: bool
    limited: bool
    failed_seq: int | None
    deferred: bool
    claimed: str | None
    """The row of the claimed task as JSON."""


COLUMNS_OF_READY = (*MESSAGE, "admitted", "pool", "parked")
"""What a finish answers about each task that became ready."""


def completion_of(flow_id: str, outcome: Outcome, ready: Sequence[Sequence[Any]]) -> Completion:
    """What these answers lead to; each of ``ready`` has the columns ``COLUMNS_OF_READY``."""
    released, pools, waiting = [], set(), []
    for *call, canvas, admitted, pool, parked in ready:
        if parked:
            waiting.append(call[0])
        elif admitted:
            carried = json.loads(canvas) if isinstance(canvas, str) else canvas
            released.append(message_of(flow_id, *call, carried).of_pool(pool))
        elif pool:
            pools.add(pool)
    claimed = _claim_of_row(flow_id, json.loads(outcome.claimed)) if outcome.claimed else None
    stays = not outcome.ended and not released and claimed is None
    return Completion(
        released=tuple(released),
        deferred=outcome.deferred,
        pools=frozenset(pools),
        parked=tuple(waiting),
        ended=outcome.ended,
        limited=outcome.limited,
        claimed=claimed,
        may_be_stuck=stays and outcome.failed_seq is not None,
    )


def _completion_of_rows(flow_id: str, rows: Sequence[Any]) -> Completion:
    """What the rows of ``FINISH`` or ``FINISH_CHILD`` lead to."""
    facts = len(Outcome._fields)
    ready = [row[facts:] for row in rows if row[facts] is not None]
    return completion_of(flow_id, Outcome(*rows[0][:facts]), ready)


def _claim_of_row(flow_id: str, row: dict[str, Any]) -> Claim:
    return claim_of(TaskRef(flow_id, row["task_exec_seq"]), False, *[row[name] for name in CLAIMED])


# The statements. Parameters of both: flow, seq, attempt, output (JSON text) and first_sent (FIRST_SENT). FINISH also
# takes the status that the task ends in, with ignored_by; before, the status that it must have, and whether it is then
# parked; the process that could continue, worker and pid, with the programs that it would take, keeps, how many tasks
# of each program are deferred for it, and lease, in seconds.
#
# "exec_status + 0" and "pending + 0" are the column and no index: where the condition of a partial index stands as it
# is, the planner may scan that index for a row whose key it knows, if its statistics are older than the rows.

_FINISHED = """
UPDATE kr_task_stat
   SET exec_status = %(status)s, ignored_by = %(ignored_by)s, output = %(output)s::jsonb, parked = FALSE,
       finished_ts = STATEMENT_TIMESTAMP(), error = '', traceback = ''
 WHERE task_flow_id = %(flow)s AND task_exec_seq = %(seq)s AND attempt = %(attempt)s
   AND exec_status + 0 = %(before)s AND parked = %(parked)s AND (pending + 0 = 0 OR NOT %(parked)s)
RETURNING dependents, parent_seq, task_priority, program, queue, coalesced
"""

_PROCESS = f"""
SELECT %(programs)s::text[] AS programs, %(keeps)s::int[] AS keeps,
       f.exec_status + 0 = {Status.RUNNING} AND NOT f.held AND f.admitted
       AND NOT EXISTS (SELECT FROM kr_worker w
                        WHERE w.id = %(worker)s
                          AND w.seen_ts < STATEMENT_TIMESTAMP() - %(lease)s * INTERVAL '1 second') AS may_claim
  FROM kr_task_flow f
 WHERE f.task_flow_id = %(flow)s AND %(programs)s::text[] <> '{{}}'
"""
"""One row if the process would continue at all; it may if its flow lets tasks start and its heartbeat is on time."""

_NEXT_DEFERRED = f"""
UPDATE kr_task_stat t
   SET sent_ts = CASE WHEN NOT chosen.claimed THEN STATEMENT_TIMESTAMP() END, deferred = FALSE,
       coalesced = CASE WHEN chosen.claimed AND chosen.same_dependents THEN t.coalesced + chosen.coalesced + 1
                        ELSE t.coalesced END,
       exec_status = CASE WHEN chosen.claimed THEN {Status.RUNNING} ELSE t.exec_status END,
       attempt = t.attempt + chosen.claimed::int,
       worker = CASE WHEN chosen.claimed THEN %(worker)s ELSE t.worker END,
       pid = CASE WHEN chosen.claimed THEN %(pid)s ELSE t.pid END,
       started_ts = CASE WHEN chosen.claimed THEN STATEMENT_TIMESTAMP() ELSE t.started_ts END
  FROM (SELECT candidate.id, finished.coalesced, candidate.dependents = finished.dependents AS same_dependents,
               -- Claimed, if a message would bring it to the same place.
               candidate.exec_status = {Status.WAIT} AND candidate.queue = finished.queue
               AND candidate.task_priority = finished.task_priority
               AND candidate.time_limit IS NULL AND candidate.due_ts IS NULL
               AND EXISTS (SELECT FROM process WHERE may_claim AND candidate.program = ANY (programs)) AS claimed
          FROM finished
         CROSS JOIN LATERAL (
            -- The first after the finished task in the order of priority and seq; one that another process has locked
            -- is that process's to take. The conditions are those of the index of deferred tasks.
            SELECT id, exec_status, task_priority, program, queue, time_limit, due_ts, dependents
              FROM kr_task_stat
             WHERE deferred AND exec_status = {Status.WAIT} AND pending + 0 = 0 AND admitted AND NOT parked
               AND task_flow_id = %(flow)s AND queue = finished.queue AND program = finished.program
               AND (task_priority, task_exec_seq) > (finished.task_priority, %(seq)s)
             ORDER BY task_priority, task_exec_seq LIMIT 1 FOR UPDATE SKIP LOCKED
         ) candidate
        OFFSET 0  -- a fence: without it the planner would work "claimed" out again for each column that is set
       ) chosen
 WHERE t.id = chosen.id
RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas, t.admitted, t.pool, t.parked,
          NOT chosen.claimed AS ready, FALSE AS deferred, chosen.claimed AND chosen.same_dependents AS coalesces,
          chosen.claimed, t.task_id, t.task_seq, CASE WHEN chosen.claimed THEN t.parameters END AS parameters,
          t.attempt, t.retries, t.run, t.max_retries, t.retry_delay, t.parent_seq, t.child_program, t.when,
          t.cache_key, t.cache_seconds, t.cache_scope
"""
"""The first of the deferred tasks is either claimed, or ready to be sent. If its dependents are the same, its own
finish counts them down for both."""

_DEPENDENT = f"""
SELECT t.id, finished.coalesced, t.sendable,
       -- Claimed: the first that can be sent, if a message would bring it to the same place, and no other is claimed.
       row_number() OVER (PARTITION BY t.sendable ORDER BY t.task_priority, t.task_exec_seq) = 1 AND t.sendable
       AND t.exec_status = {Status.WAIT} AND t.queue = finished.queue AND t.task_priority = finished.task_priority
       AND t.time_limit IS NULL AND t.due_ts IS NULL
       AND EXISTS (SELECT FROM process WHERE may_claim AND t.program = ANY (programs))
       AND NOT EXISTS (SELECT FROM next_deferred WHERE claimed) AS claimed,
       -- Surplus: all but the first of the same program and queue, as first_sent() has it.
       row_number() OVER alike > %(first_sent)s AS surplus,
       -- Kept: all but the first, if they are so few that the process is to run all itself, as no other waits for work.
       t.queue = finished.queue AND t.task_priority = finished.task_priority AND t.time_limit IS NULL
       AND row_number() OVER alike > 1
       AND COUNT(*) OVER (PARTITION BY t.sendable, t.queue, t.program) <= 1 + COALESCE(
           (SELECT keeps[array_position(programs, t.program)] FROM process WHERE may_claim), 0) AS kept
  FROM finished
 CROSS JOIN jsonb_array_elements_text(finished.dependents) entry(seq)
 CROSS JOIN LATERAL (
    -- One lookup by key for each seq, in the order of the list, which is sorted: so locks are taken in ascending order.
    SELECT id, task_exec_seq, exec_status, task_priority, program, queue, time_limit, due_ts,
           pending = 1 + finished.coalesced AND admitted AND NOT parked AS sendable
      FROM kr_task_stat WHERE task_flow_id = %(flow)s AND task_exec_seq = entry.seq::int FOR UPDATE
 ) t
 WHERE entry.seq::int::text = entry.seq  -- always true; the planner expects few such rows, so it takes the key's index
   AND NOT EXISTS (SELECT FROM next_deferred WHERE coalesces)
WINDOW alike AS (PARTITION BY t.sendable, t.queue, t.program ORDER BY t.task_priority, t.task_exec_seq)
"""
"""No row if the claimed task reports this end with its own."""

_COUNTED_DOWN = f"""
UPDATE kr_task_stat t
   SET pending = t.pending - 1 - dependent.coalesced,
       deferred = dependent.sendable AND (dependent.surplus OR dependent.kept),
       sent_ts = CASE WHEN dependent.sendable AND NOT (dependent.claimed OR dependent.surplus OR dependent.kept)
                      THEN STATEMENT_TIMESTAMP()
                      WHEN NOT dependent.claimed THEN t.sent_ts END,
       exec_status = CASE WHEN dependent.claimed THEN {Status.RUNNING} ELSE t.exec_status END,
       attempt = t.attempt + dependent.claimed::int,
       worker = CASE WHEN dependent.claimed THEN %(worker)s ELSE t.worker END,
       pid = CASE WHEN dependent.claimed THEN %(pid)s ELSE t.pid END,
       started_ts = CASE WHEN dependent.claimed THEN STATEMENT_TIMESTAMP() ELSE t.started_ts END
  FROM dependent
 WHERE t.id = dependent.id AND t.pending > dependent.coalesced
RETURNING t.task_exec_seq, t.program, t.queue, t.task_priority, t.time_limit, t.canvas, t.admitted, t.pool, t.parked,
          t.pending = 0 AND t.exec_status = {Status.WAIT} AS ready,
          dependent.sendable AND (dependent.surplus OR dependent.kept) AS deferred,
          dependent.sendable AND dependent.surplus AS surplus,
          dependent.claimed, t.task_id, t.task_seq, CASE WHEN dependent.claimed THEN t.parameters END AS parameters,
          t.attempt, t.retries, t.run, t.max_retries, t.retry_delay, t.parent_seq, t.child_program, t.when,
          t.cache_key, t.cache_seconds, t.cache_scope
"""
"""A dependent whose count reaches 0 is claimed, or taken on to be sent, or deferred, or waits for a slot of its pool,
or, if it is parked, is a parent whose children have all ended, or a gate."""

_ENDED_FLOW = f"""
UPDATE kr_task_flow f
   SET open_sinks = f.open_sinks - 1 - finished.coalesced,
       exec_status = CASE WHEN f.open_sinks = 1 + finished.coalesced THEN {Status.FINISH} ELSE f.exec_status END,
       finished_ts = CASE WHEN f.open_sinks = 1 + finished.coalesced THEN STATEMENT_TIMESTAMP() END,
       held = f.held AND f.open_sinks > 1 + finished.coalesced
  FROM finished
 WHERE finished.dependents = '[]'::jsonb AND f.task_flow_id = %(flow)s AND f.open_sinks > finished.coalesced
   AND f.exec_status + 0 IN ({in_sql(OPEN)}) AND NOT EXISTS (SELECT FROM next_deferred WHERE coalesces)
RETURNING f.exec_status
"""

_RESULT = f"""
SELECT EXISTS (SELECT FROM ended_flow WHERE exec_status = {Status.FINISH}), f.limited, f.failed_seq,
       EXISTS (SELECT FROM counted_down WHERE counted_down.ready AND admitted AND surplus),
       COALESCE((SELECT row_to_json(next_deferred)::text FROM next_deferred WHERE claimed),
                (SELECT row_to_json(counted_down)::text FROM counted_down WHERE claimed)),
       released.task_exec_seq, released.program, released.queue, released.task_priority, released.time_limit,
       released.canvas, released.admitted, released.pool, released.parked
  FROM finished
  JOIN kr_task_flow f ON f.task_flow_id = %(flow)s
  LEFT JOIN (SELECT task_exec_seq, program, queue, task_priority, time_limit, canvas, admitted, pool, parked,
                    ready, deferred FROM next_deferred
             UNION ALL
             SELECT task_exec_seq, program, queue, task_priority, time_limit, canvas, admitted, pool, parked,
                    ready, deferred FROM counted_down) released ON released.ready AND NOT released.deferred
 ORDER BY released.task_exec_seq
"""
"""No row if this attempt no longer runs; else ``Outcome`` and ``COLUMNS_OF_READY``, one row for each task that became
ready and is not deferred, or one row with NULLs."""

FINISH = prepared.composed(
    {
        "finished": _FINISHED,
        "process": _PROCESS,
        "next_deferred": _NEXT_DEFERRED,
        "dependent": _DEPENDENT,
        "counted_down": _COUNTED_DOWN,
        "ended_flow": _ENDED_FLOW,
    },
    _RESULT,
)
"""The finish of a step."""


class FinishQuerySet(ClaimQuerySet):
    """Tasks that succeed, and those that they release."""

    def finish(self, success: Success) -> Completion | None:
        """Record a success, or that a condition is false, release the dependents, and end the flow with its last sink.

        The finish of a child also starts its next sibling. The finish of a step takes on one deferred task more and, on
        PostgreSQL, claims one for the process to continue with, if it is one of the candidates, deferred or just
        released, and of the same queue and priority. None if this attempt no longer runs.
        """
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return self._finish_portably(success)
        flow_id, seq = success.ref
        values = {"flow": flow_id, "seq": seq, "attempt": success.attempt, "output": success.output}
        values["first_sent"] = FIRST_SENT
        if success.child:
            rows = prepared.rows(connection, FINISH_CHILD, values)
        else:
            values |= {**success.process._asdict(), "programs": list(success.candidates)}
            values["keeps"] = list(success.keeps)
            values |= {"status": int(success.status), "ignored_by": success.ignored_by}
            values |= {"before": int(success.before), "parked": success.parked}
            values["lease"] = conf.get().LEASE_SECONDS
            rows = prepared.rows(connection, FINISH, values)
        return _completion_of_rows(flow_id, rows) if rows else None

    def _finish_portably(self, success: Success) -> Completion | None:
        with atomic(self.db):
            moved = self._finishable(success).update(
                exec_status=success.status,
                ignored_by=success.ignored_by,
                parked=False,
                output=None if success.output is None else Value(json.loads(success.output), models.JSONField()),
                finished_ts=Now(),
                error="",
                traceback="",
            )
            return self.satisfied(success.ref) if moved else None

    def _finishable(self, success: Success) -> FinishQuerySet:
        """The task, while this attempt of it runs, or the gate, while it is ready."""
        own = self.at(success.ref).filter(attempt=success.attempt, exec_status=success.before, parked=success.parked)
        return own.filter(pending=0) if success.parked else own

    def satisfied(self, ref: TaskRef) -> Completion:
        """Release the dependents of a task that has just become Finish or Ignore, and end the flow with its last sink.

        All of ``FINISH`` and ``FINISH_CHILD`` but the first part, without a claim. In a transaction.
        """
        task = self._satisfied_task(ref)
        released, deferred = self._count_down(ref.flow_id, task)
        if task.parent_seq is not None:
            released += self.next_children(TaskRef(ref.flow_id, task.parent_seq))
        ended = not task.dependents and self._ends_flow(ref.flow_id, task.ends)
        outcome = Outcome(ended, task.limited, task.failed_seq, deferred, claimed=None)
        completion = completion_of(ref.flow_id, outcome, self._ready_among(released))
        if not task.followed:
            return completion
        return replace(completion, released=(*completion.released, *self.take_next_deferred(ref)))

    def _satisfied_task(self, ref: TaskRef) -> _Satisfied:
        deferred = self.filter(task_flow_id=ref.flow_id, exec_status=Status.WAIT, deferred=True)
        followed = Exists(deferred.filter(queue=OuterRef("queue"), program=OuterRef("program")))
        columns = ("coalesced", "dependents", "parent_seq", "task_flow__limited", "task_flow__failed_seq")
        return _Satisfied(*self.at(ref).annotate(followed=followed).values_list(*columns, "followed").get())

    def _count_down(self, flow_id: str, task: _Satisfied) -> tuple[list[int], bool]:
        """Reduce the dependents' counts: keys of those that are not deferred, and whether any is."""
        sendable = Q(pending=task.ends, admitted=True, parked=False)
        waiting = self.filter(task_flow_id=flow_id, task_exec_seq__in=task.dependents, pending__gte=task.ends)
        locked = waiting.select_for_update().order_by("task_exec_seq")
        marked = locked.annotate(sendable=ExpressionWrapper(sendable, models.BooleanField()))
        rows = list(marked.values_list("pk", "sendable", "task_exec_seq", "program", "queue", "task_priority"))
        deferred = deferred_among([call for _, sends, *call in rows if sends])
        first = [key for key, _, seq, *_ in rows if seq not in deferred]
        counted = {"pending": F("pending") - task.ends}
        self._update_all(first, **counted, sent_ts=Case(When(sendable, then=Now()), default="sent_ts"))
        self._update_all([key for key, _, seq, *_ in rows if seq in deferred], **counted, deferred=True)
        return first, bool(deferred)

    def _update_all(self, keys: Sequence[int], **values: Any) -> None:
        for batch in batched(keys):
            self.filter(pk__in=batch).update(**values)

    def _ends_flow(self, flow_id: str, ends: int) -> bool:
        """Reduce a flow's count of open sinks by ``ends``; whether that ends the flow."""
        flow = self._flows().filter(pk=flow_id)
        return bool(flow.sinks_satisfied([flow_id], ends) and flow.get().ended)

    def _ready_among(self, keys: Sequence[int]) -> list[tuple[Any, ...]]:
        """The columns ``COLUMNS_OF_READY`` of those of these tasks that are ready."""
        ready = self.filter(pending=0, exec_status=Status.WAIT).order_by("task_exec_seq")
        return [row for batch in batched(keys) for row in ready.filter(pk__in=batch).values_list(*COLUMNS_OF_READY)]


class _Satisfied(NamedTuple):
    """What the portable form reads of a task that was just satisfied."""

    coalesced: int
    dependents: list[int]
    parent_seq: int | None
    limited: bool
    failed_seq: int | None
    followed: bool
    """Whether tasks of its program and queue are deferred."""

    @property
    def ends(self) -> int:
        """Ends that its dependents count down: its own, and those that it reports for others."""
        return 1 + self.coalesced


def deferred_among(calls: Sequence[Sequence[Any]]) -> set[int]:
    """Seqs of tasks that are released together and not sent at first; of each: seq, program, queue and priority."""
    released = [TaskCall(seq=seq, program=program, queue=queue, priority=nice) for seq, program, queue, nice in calls]
    return {call.seq for call in released} - first_sent(released)
