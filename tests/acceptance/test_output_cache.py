"""The output cache with real workers: two at once run once, and the second holds no process meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowerapp import engine
from flowerapp.models import Task
from flowerapp.states import Status
from tests.acceptance.live import Live, define, describe, start_counts, starts, task, wait_started
from tests.services import until

sites = pytest.mark.parametrize("shared_site", ["redis-2", "amqp-2"], indirect=True)


@sites
def test_two_at_once_run_once_and_hold_one_process(live: Live, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    step = {"program": "Gate", "parameters": {"path": str(gate), "seconds": 60}, "cache_seconds": 600}
    name = define({1: [], 2: [1]}, {1: step})
    first = engine.register(name)
    wait_started(first, 1)
    others = [engine.register(name) for _ in range(5)]
    for flow in others:
        until(lambda: task(flow, 1).parked, what=lambda: describe(flow))  # noqa: B023 - used at once
    live.run({1: []})  # one of the two processes is free
    gate.touch()
    live.finish(first, *others)
    assert start_counts(first) == {1: 1, 2: 1}
    assert [len(starts(flow, 1)) for flow in others] == [0] * 5
    source = {"flow_id": first.pk, "seq": 1}
    rows = Task.objects.filter(task_flow__in=others, task_exec_seq=1)
    assert [row.cached_from for row in rows] == [source] * 5
    live.assert_faultless(first, *others)


@sites
def test_many_at_once_run_once(live: Live) -> None:
    name = define({1: [], 2: [1]}, {1: {"cache_seconds": 600}})
    flows = engine.register_many([engine.Registration(name) for _ in range(60)])
    live.finish(*flows)
    assert sum(len(starts(flow, 1)) for flow in flows) == 1
    assert all(task(flow, 2).status is Status.FINISH for flow in flows)
    live.assert_faultless(*flows)
