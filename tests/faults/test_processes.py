"""Processes that are killed, stopped or told to end while they run a task."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flowerapp import conf, engine
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import Live, define, start_counts, starts, states, task, wait_started
from tests.faults.support import (
    CHILD_SECONDS,
    LEADER_SECONDS,
    WORKER_SECONDS,
    assert_sound,
    gated,
    kill_worker,
    leader,
    rescues,
    row_of,
    runner_of,
    signal_group,
    timed,
    wait_starts,
)
from tests.services import WorkerProcess, until

EDGES = {1: [], 2: [1], 3: [1], 4: [1], 5: [2, 3, 4], 6: [5], 7: [6]}
"""A fork, its join, and a chain after it."""
TWO = {1: [], 2: [], 3: [1, 2], 4: [3]}


def two_on_two(live: Live, gate: Path) -> tuple[Flow, list[WorkerProcess]]:
    """A flow whose two roots run on a worker of one process each."""
    live.site.start_all(1, 1)
    flow = gated(gate, TWO, 1, 2)
    wait_started(flow, 1, 2)
    runners = [runner_of(live.site, flow, seq) for seq in (1, 2)]
    assert runners[0] is not runners[1]
    return flow, runners


@pytest.mark.parametrize("seq", [1, 3, 5, 6])
def test_a_pool_process_is_killed(live: Live, gate: Path, seq: int) -> None:
    live.site.start_all(2)
    flow = gated(gate, EDGES, seq)
    wait_started(flow, seq)
    os.kill(task(flow, seq).pid or 0, signal.SIGKILL)
    timed(lambda: rescues(flow) == 1, CHILD_SECONDS, flow)
    wait_starts(flow, seq, 2, 3 * CHILD_SECONDS)
    gate.touch()
    live.finish(flow)
    assert_sound(flow)
    assert start_counts(flow) == dict.fromkeys(EDGES, 1) | {seq: 2}
    assert rescues(flow) == 1


def test_a_worker_is_killed(live: Live, gate: Path) -> None:
    flow, _ = two_on_two(live, gate)
    until(lambda: leader(live.site))
    victim = next(each for each in live.site.workers if each is not leader(live.site))
    seq = next(seq for seq in (1, 2) if runner_of(live.site, flow, seq) is victim)
    kill_worker(victim)
    other = live.site.start("-c", "1")
    other.wait_ready()
    wait_starts(flow, seq, 2, WORKER_SECONDS)
    gate.touch()
    live.finish(flow)
    assert_sound(flow)
    assert start_counts(flow) == dict.fromkeys(TWO, 1) | {seq: 2}


def test_the_leader_is_killed(live: Live, gate: Path) -> None:
    flow, runners = two_on_two(live, gate)
    victim = until(lambda: leader(live.site))
    seq = 1 + runners.index(victim)
    left = runners[2 - seq]
    kill_worker(victim)
    timed(lambda: leader(live.site) is left, LEADER_SECONDS, flow)
    live.site.start("-c", "1").wait_ready()
    wait_starts(flow, seq, 2, WORKER_SECONDS)
    gate.touch()
    live.finish(flow)
    assert_sound(flow)
    assert start_counts(flow) == dict.fromkeys(TWO, 1) | {seq: 2}


def test_a_task_that_ends_its_process_each_time_is_suspended(live: Live) -> None:
    live.site.start_all(2)
    flows = [
        engine.register(define({1: [], 2: [1], 3: [2]}, {2: {"program": "KillItself", "parameters": {"number": each}}}))
        for each in (int(signal.SIGKILL), int(signal.SIGTERM))
    ]
    cap = conf.get().MAX_RESCUES
    for flow in flows:
        live.wait(flow, Status.SUSPEND, 60)
        assert states(flow) == {1: Status.FINISH, 2: Status.SUSPEND, 3: Status.WAIT}
        assert len(starts(flow, 2)) == cap + 1
        assert f"lost {cap + 1} times" in task(flow, 2).error
    assert_sound(*flows, ended=Status.SUSPEND)


def test_a_worker_is_told_to_end(live: Live, gate: Path) -> None:
    live.site.start_all(2)
    flow = gated(gate, EDGES, 1, 2, 3)
    wait_started(flow, 1)
    (worker,) = live.site.workers
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: "hutdown" in worker.text)
    gate.touch()
    worker.process.wait(30)
    assert states(flow)[1] is Status.FINISH
    live.site.start_all(2)
    live.finish(flow)
    assert_sound(flow)
    assert start_counts(flow) == dict.fromkeys(EDGES, 1)
    assert rescues(flow) == 0


def test_a_worker_is_told_to_end_at_once(live: Live, gate: Path) -> None:
    worker = live.site.start("-c", "2", "--", "worker.soft_shutdown_timeout=2")
    worker.wait_ready()
    flow = gated(gate, EDGES, 2, 3)
    wait_started(flow, 2, 3)
    worker.process.send_signal(signal.SIGQUIT)
    worker.process.wait(30)
    live.site.start_all(2)
    gate.touch()
    live.finish(flow, seconds=WORKER_SECONDS)
    assert_sound(flow)
    assert start_counts(flow) == dict.fromkeys(EDGES, 1) | {2: 2, 3: 2}


def test_a_worker_is_stopped_for_longer_than_its_lease(live: Live, gate: Path) -> None:
    live.site.start_all(1)
    (stopped,) = live.site.workers
    flow = gated(gate, {1: [], 2: [1]}, 1)
    wait_started(flow, 1)
    signal_group(stopped, signal.SIGSTOP)
    live.site.start_all(1)
    other = live.site.workers[-1]
    wait_starts(flow, 1, 2, WORKER_SECONDS)
    gate.touch()
    live.finish(flow)
    assert runner_of(live.site, flow, 1) is other
    signal_group(stopped, signal.SIGCONT)
    until(lambda: "late outcome" in stopped.text, what=lambda: stopped.text[-3000:])
    live.site.stop(other)
    later = live.run({1: [], 2: [1]})
    assert runner_of(live.site, later, 2) is stopped
    assert row_of(stopped).stopped_ts is None
    assert_sound(flow, later)
    assert start_counts(flow) == {1: 2, 2: 1}
