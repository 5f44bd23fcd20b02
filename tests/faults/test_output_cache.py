"""What fills an entry of the output cache is killed, while another flow waits for the output."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from pathlib import Path

import pytest

from flowerapp import engine
from flowerapp.models import CachedOutput, Flow, Task
from flowerapp.states import Status
from tests.acceptance.live import Live, define, describe, starts, task, wait_started
from tests.faults.support import (
    CHILD_SECONDS,
    WORKER_SECONDS,
    assert_sound,
    database_clock,
    kill_worker,
    leader,
    runner_of,
)
from tests.ledger import LEDGER
from tests.probe.models import Start
from tests.services import until

WAITING = 3
"""Flows that wait for the output."""


def cached(path: Path) -> list[Flow]:
    """A flow whose program waits for a file, and others that wait for its output, parked."""
    step = {"program": "Gate", "parameters": {"path": str(path), "seconds": 600}, "cache_seconds": 600}
    name = define({1: [], 2: [1]}, {1: step})
    first = engine.register(name)
    wait_started(first, 1)
    others = [engine.register(name) for _ in range(WAITING)]
    for flow in others:
        until(lambda: task(flow, 1).parked, what=lambda: describe(flow))  # noqa: B023 - used at once
    return [first, *others]


def started_again(flows: list[Flow], since: datetime, seconds: float) -> None:
    """Wait until the program of any of these flows is started after a time, and enter how long that took."""
    keys = [flow.pk for flow in flows]
    again = Start.objects.filter(flow_id__in=keys, seq=1, ts__gt=since).order_by("ts")
    start = until(again.first, 2 * seconds, what=lambda: "\n".join(map(describe, flows)))
    LEDGER.recovered((start.ts - since).total_seconds())


def assert_run_once(flows: list[Flow]) -> None:
    """One program was killed, one stored its output, and all others took that."""
    assert_sound(*flows)
    assert sum(len(starts(flow, 1)) for flow in flows) == 2
    rows = Task.objects.filter(task_flow__in=flows, task_exec_seq=1)
    assert rows.filter(cached_from__isnull=True).count() == 1
    assert {str(row.output) for row in rows} == {str(task(flows[0], 1).output)}
    assert CachedOutput.objects.filter(filled_ts__isnull=False, task_id=flows[0].task_id).count() == 1


@pytest.mark.fault("a pool process that fills the output cache is killed", within=CHILD_SECONDS)
def test_a_pool_process_that_fills_the_cache_is_killed(live: Live, tmp_path: Path) -> None:
    live.site.start_all(2)
    for number in range(3):
        gate = tmp_path / str(number)
        flows = cached(gate)
        since = database_clock()
        os.kill(until(lambda: task(flows[0], 1).pid), signal.SIGKILL)  # noqa: B023 - used at once
        started_again(flows, since, CHILD_SECONDS)
        gate.touch()
        live.finish(*flows)
        assert_run_once(flows)


@pytest.mark.fault("a worker that fills the output cache is killed", within=WORKER_SECONDS)
def test_a_worker_that_fills_the_cache_is_killed(live: Live, tmp_path: Path) -> None:
    live.site.start_all(2)
    (left,) = live.site.workers
    until(lambda: leader(live.site) is left)
    live.site.start_all(2)
    gate = tmp_path / "gate"
    flows = cached(gate)
    victim = runner_of(live.site, flows[0], 1)
    since = database_clock()
    kill_worker(victim)
    started_again(flows, since, WORKER_SECONDS)
    gate.touch()
    live.finish(*flows)
    assert_run_once(flows)


@pytest.mark.fault("a flow that fills the output cache is cancelled")
def test_a_flow_that_fills_the_cache_is_cancelled(live: Live, tmp_path: Path) -> None:
    live.site.start_all(4)
    gate = tmp_path / "gate"
    first, *others = cached(gate)
    engine.cancel(first.pk)
    until(lambda: sum(len(starts(flow, 1)) for flow in others), what=lambda: "\n".join(map(describe, others)))
    gate.touch()
    live.finish(*others)
    assert_sound(*others)
    assert_sound(first, ended=Status.IGNORE)
    assert sum(len(starts(flow, 1)) for flow in others) == 1
