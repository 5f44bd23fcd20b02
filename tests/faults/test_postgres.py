"""A PostgreSQL server that crashes, becomes unreachable, or hangs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from django.db.models import F
from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.models import Flow, Lease, Task, Worker
from flowerapp.watcher.leader import REVIVAL
from tests.acceptance.live import Live, define, start_counts, wait_started
from tests.effort import LONG
from tests.faults.servers import PostgresServer
from tests.faults.support import (
    alive,
    assert_sound,
    finished_counts,
    gated,
    leader,
    row_of,
    wait_finished,
    wait_going,
    when_connected,
)
from tests.faults.test_redis import chain, forks
from tests.services import until

PROCESSES = 2
CRASHING_SECONDS = 60 if LONG else 20
CRASH_EVERY = 4.0
"""Seconds between crashes."""
OUTAGES = (18, 10, 25) if LONG else (18,)
"""Seconds; a lease is 15, and outcomes wait for 30."""
SLEEPING = {"program": "EchoParamTimeSleep", "parameters": {"SLEEP_TIME_SECOND": 0.05}}
"""A step that does not touch the database."""


@pytest.mark.fault("PostgreSQL crashes every 4 s while flows are registered and run")
def test_it_crashes_again_and_again(on_postgres: Live, postgres_server: PostgresServer) -> None:
    live = on_postgres
    live.site.start_all(PROCESSES)
    names = [define(edges, program="Persist") for edges in (chain(40), forks(1, 58), forks(5, 6), chain(60))]
    flows: list[Flow] = []
    crashes = round(CRASHING_SECONDS / CRASH_EVERY)
    for crash in range(crashes):
        end = time.monotonic() + CRASH_EVERY
        flows += [register_steadily(name, f"{crash}") for name in names]
        wait_more_finished(live, 40 + 10 * (crash % 10), *flows)
        postgres_server.restart()
        wait_going(live, *flows)
        until(lambda end=end: time.monotonic() > end)  # type: ignore[misc] # a lambda in a loop
    wait_finished(live, *flows, seconds=120)
    assert alive(live.site)
    assert Flow.objects.count() == len(flows) == crashes * len(names)
    assert_sound(*flows)


@pytest.mark.parametrize("seconds", OUTAGES)
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("refusing", marks=pytest.mark.fault("PostgreSQL refuses connections for longer than a lease")),
        pytest.param("hanging", marks=pytest.mark.fault("PostgreSQL hangs for longer than a lease")),
    ],
)
def test_it_is_unreachable(
    on_postgres: Live, postgres_server: PostgresServer, gate: Path, how: str, seconds: float
) -> None:
    """No outcome is lost, and no worker is taken for dead because none could send a heartbeat.

    The leader is the first to come round again, if it can be. Each of two workers runs a task all the while, and one
    has a process left for tasks that do not touch the database. None is started again, but where a crash has cut off
    the answer to its claim.
    """
    live = on_postgres
    live.site.start_all(2, 2)
    running = gated(gate, {1: [], 2: [], 3: [], 4: [1, 2, 3], 5: [4]}, 1, 2, 3)
    wait_started(running, 1, 2, 3)
    flows = [engine.register(define(edges, dict.fromkeys(edges, SLEEPING))) for edges in (chain(30), forks(2, 30))]
    wait_more_finished(live, 20, *flows)
    wait_heartbeat(live)
    with postgres_server.unreachable(how):
        back = time.monotonic() + seconds
        until(lambda: time.monotonic() > back)
    wait_going(live, *flows)
    until(when_connected(lambda: Worker.objects.alive(3).count() == 2))
    until(when_connected(lambda: Lease.objects.filter(expires_ts__gt=Now()).exists()))
    later = time.monotonic() + 1.5 * REVIVAL
    until(lambda: time.monotonic() > later)
    gate.touch()
    wait_finished(live, running, *flows, seconds=60)
    assert alive(live.site)
    assert_sound(running, *flows)
    assert start_counts(running) == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
    again = Task.objects.filter(task_flow_id__in=[flow.pk for flow in flows]).exclude(attempt=1)
    assert not again.exclude(attempt=1 + F("rescues")).exists()
    assert again.count() <= (1 if how == "refusing" else 0), live.news[-5000:]


def register_steadily(name: str, key: str) -> Flow:
    """Register, again and again while the database is unreachable; the key makes it one flow."""
    flow: Flow = until(when_connected(lambda: engine.register(name, idempotency_key=key)))
    return flow


def wait_heartbeat(live: Live) -> None:
    """Wait until a worker that does not lead has just sent a heartbeat: its next comes in two seconds."""
    leading = until(lambda: leader(live.site))
    other = next(worker for worker in live.site.workers if worker is not leading)
    before = row_of(other).seen_ts
    until(lambda: row_of(other).seen_ts > before)


def wait_more_finished(live: Live, number: int, *flows: Flow) -> None:
    """Wait until so many more tasks of these flows have finished."""
    reached = until(when_connected(lambda: (total_finished(*flows),)))[0] + number
    until(when_connected(lambda: total_finished(*flows) >= reached), 60, what=lambda: live.news[-5000:])


def total_finished(*flows: Flow) -> int:
    """Finished tasks of all these flows."""
    return finished_counts(*[flow.pk for flow in flows]).total()
