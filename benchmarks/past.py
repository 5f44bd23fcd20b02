"""Test data: flows that the engine has made, and a history of a million finished tasks like theirs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from benchmarks import ours
from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import propagation
from flowerapp.models import Flow, Pool, Task, Workflow
from flowerapp.querysets import Success
from flowerapp.states import Status

DAYS = 100
"""Days over which the history is spread."""
FINISHED, OPEN = 60, 4
"""Flows of each workflow that the engine itself registers: more than a page shows have ended, and some are open."""
WORKER = "history"
POOL = "history"


def report_progress(text: str) -> None:
    """Print a line with the time to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# The few


@dataclass(frozen=True, slots=True)
class Few:
    """The flows that the engine has made."""

    workflows: list[str]
    ended: list[Flow]
    ready: Flow
    """Its first task may be claimed."""
    begun: Flow
    """Its first task runs."""
    ending: Flow
    """Its last task runs."""
    failed: Flow


def _run(flow: Flow, seqs: range) -> None:
    for seq in seqs:
        ref = TaskRef(flow.pk, seq)
        claim = Task.objects.claim(ref, Process(WORKER, 1))
        if claim is None or not Task.objects.finish(Success(ref=ref, attempt=claim.attempt, output="{}")):
            raise RuntimeError(f"{ref} could not be run")


def _fail(flow: Flow) -> None:
    Task.objects.claim(TaskRef(flow.pk, 1), Process(WORKER, 1))
    Task.objects.fail(TaskRef(flow.pk, 1), 1, "ValueError: no", "")
    Flow.objects.point_to_failure(flow.pk, 1)
    with transaction.atomic():
        propagation.settle(flow.pk)


def made_few() -> Few:
    """Workflows, flows that have ended, and open ones in every state that a duty looks for."""
    chain = {1: [], 2: [1], 3: [2]}
    workflows = [ours.chain(3), ours.define("chain-3-b", chain), ours.define("chain-3-c", chain)]
    Pool.objects.create(name=POOL, slots=1)
    ended = [engine.register(name) for _ in range(FINISHED) for name in workflows]
    for flow in ended:
        _run(flow, range(1, 4))
    ready, begun, ending, failed, *others = [engine.register(name) for _ in range(OPEN) for name in workflows]
    Task.objects.claim(TaskRef(begun.pk, 1), Process(WORKER, 1))
    _run(ending, range(1, 3))
    Task.objects.claim(TaskRef(ending.pk, 3), Process(WORKER, 1))
    _fail(failed)
    pooled, limited, *others = others
    Task.objects.at(TaskRef(pooled.pk, 1)).update(pool=POOL, admitted=False)
    Workflow.objects.update_or_create(task_id=limited.task_id, defaults={"max_active_flows": 1})
    Flow.objects.filter(pk=limited.pk).update(limited=True, admitted=False)
    sent = [flow.pk for flow in [ready, *others[: len(others) // 2]]]
    long_ago = timedelta(hours=1)
    Task.objects.filter(task_flow_id__in=sent, task_exec_seq=1).update(sent_ts=ready.registered_ts - long_ago)
    Task.objects.filter(exec_status=Status.RUNNING).update(started_ts=ready.registered_ts - long_ago)
    return Few(workflows, ended, ready, begun, ending, failed)


# The history

_NAMES = """
CREATE TEMPORARY TABLE name AS
SELECT n, ts, (%(templates)s::text[])[1 + n %% %(kinds)s] AS template,
       CONCAT_WS('-', SUBSTR(ms, 1, 8), SUBSTR(ms, 9, 4), '7' || SUBSTR(hash, 1, 3), '8' || SUBSTR(hash, 4, 3),
                 SUBSTR(hash, 7, 12)) AS id
  FROM GENERATE_SERIES(%(first)s::bigint, %(last)s) n
 CROSS JOIN LATERAL (
    SELECT NOW() - INTERVAL '1 hour' - %(days)s * INTERVAL '1 day' * (1 - n::float8 / %(flows)s)
 ) registered(ts)
 CROSS JOIN LATERAL (
    SELECT LPAD(TO_HEX(FLOOR(EXTRACT(EPOCH FROM ts) * 1000)::bigint), 12, '0'), MD5(n::text)
 ) parts(ms, hash)
"""
_FLOW_VALUES = {
    "task_flow_id": "name.id",
    "registered_ts": "name.ts",
    "started_ts": "name.ts + INTERVAL '1 second'",
    "finished_ts": "name.ts + INTERVAL '5 seconds'",
}
_TASK_VALUES = {
    "task_flow_id": "name.id",
    "registered_ts": "name.ts",
    "sent_ts": "name.ts + t.task_exec_seq * INTERVAL '1 second'",
    "started_ts": "name.ts + t.task_exec_seq * INTERVAL '1.2 seconds'",
    "finished_ts": "name.ts + t.task_exec_seq * INTERVAL '1.5 seconds'",
}


def _copies(model: Any, values: Mapping[str, str], *without: str) -> str:
    """A statement that copies finished rows of the engine under the names of other flows."""
    columns = [field.column for field in model._meta.concrete_fields if field.column not in without]
    expressions = ", ".join(values.get(name, f"t.{name}") for name in columns)
    table = model._meta.db_table
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {expressions} FROM name "  # noqa: S608 - names of ours
        f"JOIN {table} t ON t.task_flow_id = name.template ORDER BY name.n"
    )


def add_history(few: Few, first: int, last: int, flows: int) -> None:
    """Insert the flows numbered ``first`` to ``last``, of ``flows`` in all, with their tasks."""
    templates = [next(flow.pk for flow in few.ended if flow.task_id == name) for name in few.workflows]
    values: dict[str, Any] = {"templates": templates, "kinds": len(templates), "days": DAYS, "flows": flows}
    step = 33_334
    for begin in range(first, last + 1, step):
        end = min(begin + step - 1, last)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_NAMES, {**values, "first": begin, "last": end})
            cursor.execute(_copies(Flow, _FLOW_VALUES))
            cursor.execute(_copies(Task, _TASK_VALUES, "id"))
            cursor.execute("DROP TABLE name")
        report_progress(f"{3 * end:,} of {3 * flows:,} finished tasks")


def vacuum(tables: str = "") -> None:
    """Vacuum and analyze these tables, or all."""
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE, INDEX_CLEANUP ON) {tables}")
