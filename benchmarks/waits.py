"""WAITS: 100,000 delays that are due in one second, and what a million rows that wait cost the watcher.

``python -m benchmarks.waits [--quick] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django

django.setup()

from django.db import connection  # noqa: E402 - Django first
from django.db.models import Count, Max, Min  # noqa: E402

from benchmarks.contenders import server_url  # noqa: E402
from flowerapp import engine  # noqa: E402
from flowerapp.core.gates import DELAY, EVENT  # noqa: E402
from flowerapp.models import Flow, Task  # noqa: E402
from flowerapp.querysets import clock  # noqa: E402
from flowerapp.states import Status  # noqa: E402
from flowerapp.watcher import duties  # noqa: E402
from tests.acceptance.live import define  # noqa: E402
from tests.services import Service, Site, site, until  # noqa: E402

DELAYS, QUICK_DELAYS = 100_000, 10_000
PARKED, QUICK_PARKED = 1_000_000, 100_000
END_SECONDS, RESUME_SECONDS, ROUND_MS = 60, 1, 20
"""The bars: until all delays are Finish, until the first task behind one starts, and a round of the watcher."""
AHEAD = 5
"""Seconds before the delays are due, once all have begun."""
ROUNDS = 20


@contextmanager
def started() -> Iterator[Site]:
    """A database and a Redis number of our own, and this process on them."""
    with site(server_url(Service.POSTGRES), "redis", server_url(Service.REDIS)) as made, made.entered():
        yield made


def progress(text: str) -> None:
    """Say on stderr what is being done."""
    print(text, file=sys.stderr, flush=True)


# Delays that are due together


def delays_of_flows(made: Site, number: int) -> dict[str, Any]:
    """So many flows of a delay and a task behind it."""
    name = define({1: [], 2: [1]}, {1: {"program": DELAY, "parameters": {"duration": 86_400}}}, program="Noop")
    for first in range(0, number, 5_000):
        engine.register_many([name] * min(5_000, number - first))
        progress(f"registered {min(first + 5_000, number):,} of {number:,} flows")
    return _ended_together(made, f"WAITS, {number:,} flows of a delay and a task", number)


def delays_of_one_flow(made: Site, number: int) -> dict[str, Any]:
    """A flow in which so many delays follow a task, and a task follows them all."""
    wait = {"program": DELAY, "parameters": {"duration": 86_400}}
    last = number + 2
    edges = {1: [], **{seq: [1] for seq in range(2, last)}, last: [*range(2, last)]}
    engine.register(define(edges, dict.fromkeys(range(2, last), wait), program="Noop"))
    return _ended_together(made, f"WAITS, one flow 1 → {number:,} delays → 1", number)


def _ended_together(made: Site, title: str, number: int) -> dict[str, Any]:
    begun = Task.objects.begun_waits()
    until(lambda: begun.count() == number, 900, poll=0.5)
    sent = Task.objects.filter(exec_status=Status.WAIT, sent_ts__isnull=False).count()
    running = Task.objects.filter(exec_status=Status.RUNNING).count()
    due = clock.now() + timedelta(seconds=AHEAD)
    keys = list(begun.values_list("pk", flat=True))
    begun.update(due_ts=due)
    own = Task.objects.filter(pk__in=keys[:1]).values("task_id")
    tasks = Task.objects.filter(task_id__in=own)
    waits, others = tasks.filter(program=DELAY), tasks.filter(program="Noop", started_ts__gte=due)
    until(lambda: not waits.exclude(exec_status=Status.FINISH).exists(), 900, poll=0.25)
    ended = waits.aggregate(last=Max("finished_ts"))["last"]
    until(others.exists, 60)
    first = others.aggregate(first=Min("started_ts"))["first"]
    flows = Flow.objects.filter(task_id__in=own)
    until(lambda: not flows.exclude(exec_status=Status.FINISH).exists(), 1800, poll=1)
    return {
        "workload": title,
        "delays": number,
        "held_before": {"sent": sent, "running": running},
        "ended": _seconds(due, ended),
        "resumed": _seconds(due, first),
        "all": _seconds(due, flows.aggregate(last=Max("finished_ts"))["last"]),
        "doubled": tasks.values("task_flow_id", "task_exec_seq").annotate(n=Count("pk")).filter(n__gt=1).count(),
    }


def _seconds(since: datetime, ts: datetime) -> float:
    return round((ts - since).total_seconds(), 2)


# Rows that wait

_COPY = """
INSERT INTO kr_task_flow (task_flow_id, task_id, exec_status, started_ts, open_sinks)
SELECT 'parked-' || n, 'parked', 1, now(), 1 FROM generate_series(%(first)s, %(last)s) n;
INSERT INTO kr_task_stat (task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq, exec_status,
    task_priority, parameters, registered_ts, started_ts, program, parked, due_ts, depends_on, dependents)
SELECT 'parked-' || n, 1, -1, 'parked', 1, 0, 0, '{}', now(), now(),
       CASE WHEN n %% 2 = 0 THEN %(delay)s ELSE %(event)s END, TRUE,
       CASE WHEN n %% 2 = 0 THEN now() + interval '1 year' END, '[]', '[]'
  FROM generate_series(%(first)s, %(last)s) n;
INSERT INTO kr_wait (task_flow_id, task_exec_seq, event, anchor, looked)
SELECT 'parked-' || n, 1, 'never', md5(n::text), TRUE FROM generate_series(%(first)s, %(last)s) n WHERE n %% 2 = 1;
"""


def parked_rows(number: int) -> dict[str, Any]:
    """What a round of the leader costs over so many rows that wait, half for a time and half for an event."""
    before = _rounds()
    for first in range(1, number, 100_000):
        last = min(first + 99_999, number)
        with connection.cursor() as cursor:
            cursor.execute(_COPY, {"first": first, "last": last, "delay": DELAY, "event": EVENT})
        progress(f"{last:,} of {number:,} rows")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE kr_task_stat; ANALYZE kr_task_flow; ANALYZE kr_wait")
    return {"workload": f"WAITS, {number:,} rows that wait", "parked": number, "before": before, "rounds": _rounds()}


def _rounds() -> dict[str, float]:
    """Median milliseconds of each duty, and of a round of all."""
    rota = duties.rota()
    took: dict[str, list[float]] = {name: [] for name, *_ in rota}
    for _ in range(ROUNDS):
        for name, _, duty in rota:
            begun = time.perf_counter()
            duty()
            took[name].append(1000 * (time.perf_counter() - begun))
    medians = {name: round(statistics.median(times), 2) for name, times in took.items()}
    return {**medians, "round": round(sum(medians.values()), 2)}


# The report


def measure(quick: bool = False) -> Iterator[dict[str, Any]]:
    """All of it, over a tenth where it is to be quick."""
    number = QUICK_DELAYS if quick else DELAYS
    for shape in (delays_of_flows, delays_of_one_flow):
        with started() as made:
            made.start_all(2)
            yield shape(made, number)
    with started():
        yield parked_rows(QUICK_PARKED if quick else PARKED)


def lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    if "rounds" in result:
        rounds = result["rounds"]
        slow = ", ".join(f"{name} {ms}" for name, ms in sorted(rounds.items(), key=lambda row: -row[1])[1:5])
        return [
            f"{result['workload']}: a round of the watcher takes {rounds['round']} ms (bar {ROUND_MS}; without them "
            f"{result['before']['round']} ms); the longest duties: {slow}"
        ]
    held = result["held_before"]
    return [
        f"{result['workload']}: all ended {result['ended']} s after they were due (bar {END_SECONDS}), the first task "
        f"behind one started after {result['resumed']} s (bar {RESUME_SECONDS}), the last flow ended after "
        f"{result['all']} s; before that {held['sent']} messages and {held['running']} running tasks"
    ]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_DELAYS:,} delays")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for result in measure(options.quick):
        print(json.dumps(result) if options.json else "\n".join(lines(result)), flush=True)


if __name__ == "__main__":
    main()
