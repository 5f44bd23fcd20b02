"""Processes that are killed, frozen or asked to stop while they run a task."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from flowerapp import conf, engine
from flowerapp.models import Flow, Lease
from flowerapp.states import Status
from flowerapp.watcher.leader import LEASE
from tests.acceptance.live import Live, define, start_counts, starts, states, task, wait_started
from tests.effort import LONG
from tests.faults.support import (
    CHILD_SECONDS,
    LEADER_SECONDS,
    WORKER_SECONDS,
    assert_sound,
    database_clock,
    gated,
    kill_worker,
    leader,
    programs_are_called,
    recovered,
    rescues,
    row_of,
    runner_of,
    signal_group,
    timed,
)
from tests.ledger import LEDGER
from tests.services import until

EDGES = {1: [], 2: [1], 3: [1], 4: [1], 5: [2, 3, 4], 6: [5], 7: [6]}
"""A fork, its join, and a chain after it."""
TWO = {1: [], 2: [], 3: [1, 2], 4: [3]}


TIMES = 10 if LONG else 3
"""How often a test repeats its kill."""
STOPPED = 60.0 if LONG else 0.0
"""Seconds that a worker is frozen at least; until another has taken over in any case."""
HELD = 60 if LONG else 20
"""Seconds that a program holds the interpreter lock; more than the lease."""


class Gates:
    """A flow of gates: each task waits for a file of its own."""

    def __init__(self, directory: Path, edges: dict[int, list[int]], *gates: int) -> None:
        self.directory = directory
        steps = {seq: {"program": "Gate", "parameters": {"path": str(self.path(seq)), "seconds": 600}} for seq in gates}
        self.flow = engine.register(define(edges, steps))

    def path(self, seq: int) -> Path:
        """The file that a task waits for."""
        return self.directory / str(seq)

    def open(self, *seqs: int) -> None:
        """Let these tasks continue."""
        for seq in seqs:
            self.path(seq).touch()


@pytest.mark.fault("a pool process is killed", within=CHILD_SECONDS)
def test_a_pool_process_is_killed(live: Live, tmp_path: Path) -> None:
    """At a root, in a branch, at the join, and in a chain."""
    live.site.start_all(2)
    for number in range(TIMES):
        killed: dict[int, Flow] = {}
        for seq in (1, 3, 5, 6):
            gate = tmp_path / f"{number} {seq}"
            flow = killed[seq] = gated(gate, EDGES, seq)
            wait_started(flow, seq)
            since = database_clock()
            os.kill(until(lambda: task(flow, seq).pid), signal.SIGKILL)  # noqa: B023 - used at once
            recovered(flow, seq, since, CHILD_SECONDS)
            gate.touch()
        live.finish(*killed.values())
        assert_sound(*killed.values())
        for seq, flow in killed.items():
            assert start_counts(flow) == dict.fromkeys(EDGES, 1) | {seq: 2}
            assert rescues(flow) == 1


@pytest.mark.fault("a worker is killed", within=WORKER_SECONDS)
def test_workers_are_killed(live: Live, tmp_path: Path) -> None:
    """All but the one that leads, which has as many processes as they together."""
    live.site.start_all(3)
    (left,) = live.site.workers
    until(lambda: leader(live.site) is left)
    for number in range(TIMES // 3):
        live.site.start_all(1, 1, 1)
        victims = [worker for worker in live.site.workers if worker is not left]
        roots = range(1, 7)
        directory = tmp_path / str(number)
        directory.mkdir()
        gates = Gates(directory, {seq: [] for seq in roots} | {7: list(roots), 8: [7]}, *roots)
        wait_started(gates.flow, *roots)
        lost = [seq for seq in roots if runner_of(live.site, gates.flow, seq) in victims]
        since = database_clock()
        for victim in victims:
            kill_worker(victim)
        gates.open(*set(roots) - set(lost))
        for seq in lost:
            recovered(gates.flow, seq, since, WORKER_SECONDS)
        gates.open(*lost)
        live.finish(gates.flow)
        assert_sound(gates.flow)
        assert start_counts(gates.flow) == dict.fromkeys([*roots, 7, 8], 1) | dict.fromkeys(lost, 2)
        live.site.stop(*victims)


@pytest.mark.fault("the leader is killed", within=LEADER_SECONDS)
def test_the_leader_is_killed(live: Live, tmp_path: Path) -> None:
    live.site.start_all(1, 1)
    roots = range(1, TIMES + 2)
    gates = Gates(tmp_path, {seq: [] for seq in roots} | {TIMES + 2: list(roots)}, *roots)
    for _ in range(TIMES):
        victim = until(lambda: leader(live.site), what=lambda: live.news[-3000:])
        identity = row_of(victim).pk
        until(lambda identity=identity: programs_are_called(identity))  # type: ignore[misc] # a lambda in a loop
        kill_worker(victim)
        replacement = live.site.start("-c", "1")
        others = Lease.objects.filter(pk=LEASE).exclude(holder=identity)
        LEDGER.recovered(timed(others.exists, 2 * LEADER_SECONDS, gates.flow))
        replacement.wait_ready()
    gates.open(*roots)
    live.finish(gates.flow)
    assert_sound(gates.flow)
    assert rescues(gates.flow) == sum(start_counts(gates.flow).values()) - len(roots) - 1 == TIMES


@pytest.mark.fault("a program holds the interpreter lock for longer than the lease")
def test_a_program_holds_the_interpreter_lock(live: Live, on_redis: Live) -> None:
    """Of a pool process, and of a whole worker of threads with its watcher."""
    assert conf.get().LEASE_SECONDS < HELD
    flows: list[tuple[str, Live, Flow, list[Flow]]] = []
    for site, pool in ((live, "prefork"), (on_redis, "threads")):
        with site.site.entered():
            site.site.start("-P", pool, "-c", "2").wait_ready()
            holder = engine.register(
                define({1: [], 2: [1]}, {1: {"program": "HoldLock", "parameters": {"seconds": HELD}}})
            )
            wait_started(holder, 1)
            name = define(EDGES)
            flows.append((pool, site, holder, [engine.register(name) for _ in range(5)]))
    for pool, site, holder, others in flows:
        with site.site.entered():
            live.finish(holder, *others, seconds=HELD + WORKER_SECONDS)
            assert_sound(holder, *others)
            assert start_counts(holder) == {1: 1, 2: 1}
            assert all(start_counts(flow) == dict.fromkeys(EDGES, 1) for flow in others)
            assert sum(rescues(flow) for flow in (holder, *others)) == 0
            over = starts(holder, 1)[0].ts + timedelta(seconds=HELD - 1)
            meanwhile = [start for flow in others for start in starts(flow) if start.ts < over]
            assert bool(meanwhile) is (pool == "prefork"), (
                "a pool process is held alone, a worker of threads as a whole"
            )
            assert "late result" not in site.news


@pytest.mark.fault("a task ends its process each time")
def test_a_task_that_ends_its_process_each_time_is_suspended(live: Live) -> None:
    live.site.start_all(2)
    flows = [
        engine.register(
            define({1: [], 2: [1], 3: [2]}, {2: {"program": "KillItself", "parameters": {"number": number}}})
        )
        for number in (int(signal.SIGKILL), int(signal.SIGTERM))
    ]
    cap = conf.get().MAX_RESCUES
    for flow in flows:
        live.wait(flow, Status.SUSPEND, 60)
        assert states(flow) == {1: Status.FINISH, 2: Status.SUSPEND, 3: Status.WAIT}
        assert len(starts(flow, 2)) == cap + 1
        assert f"lost {cap + 1} times" in task(flow, 2).error
    assert_sound(*flows, ended=Status.SUSPEND)


@pytest.mark.fault("a worker is asked to stop")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_worker_is_asked_to_stop(live: Live, gate: Path, number: signal.Signals) -> None:
    live.site.start_all(2)
    flow = gated(gate, EDGES, 1, 2, 3)
    wait_started(flow, 1)
    (worker,) = live.site.workers
    worker.process.send_signal(number)
    until(lambda: "hutdown" in worker.text)
    gate.touch()
    worker.process.wait(30)
    assert states(flow)[1] is Status.FINISH
    live.site.start_all(2)
    live.finish(flow)
    assert_sound(flow)
    assert start_counts(flow) == dict.fromkeys(EDGES, 1)
    assert rescues(flow) == 0


@pytest.mark.fault("a worker is asked to stop at once", within=WORKER_SECONDS)
def test_a_worker_is_asked_to_stop_at_once(live: Live, gate: Path) -> None:
    worker = live.site.start("-c", "2", "--", "worker.soft_shutdown_timeout=2")
    worker.wait_ready()
    flow = gated(gate, EDGES, 2, 3)
    wait_started(flow, 2, 3)
    worker.process.send_signal(signal.SIGQUIT)
    worker.process.wait(30)
    since = database_clock()
    live.site.start_all(2)
    for seq in (2, 3):
        recovered(flow, seq, since, WORKER_SECONDS)
    gate.touch()
    live.finish(flow, seconds=WORKER_SECONDS)
    assert_sound(flow)
    assert start_counts(flow) == dict.fromkeys(EDGES, 1) | {2: 2, 3: 2}


@pytest.mark.fault("a worker is frozen for longer than its lease", within=WORKER_SECONDS)
def test_a_worker_is_frozen_for_longer_than_its_lease(live: Live, gate: Path) -> None:
    live.site.start_all(1)
    (stopped,) = live.site.workers
    flow = gated(gate, {1: [], 2: [1]}, 1)
    wait_started(flow, 1)
    live.site.start("-c", "1").wait_ready()
    other = live.site.workers[-1]
    signal_group(stopped, signal.SIGSTOP)
    since, begun = database_clock(), time.monotonic()
    recovered(flow, 1, since, WORKER_SECONDS)
    gate.touch()
    live.finish(flow)
    assert runner_of(live.site, flow, 1) is other
    until(lambda: time.monotonic() >= begun + STOPPED, 2 * STOPPED)
    signal_group(stopped, signal.SIGCONT)
    until(lambda: "late result" in stopped.text, what=lambda: stopped.text[-3000:])
    live.site.stop(other)
    later = live.run({1: [], 2: [1]})
    assert runner_of(live.site, later, 2) is stopped
    assert row_of(stopped).stopped_ts is None
    assert_sound(flow, later)
    assert start_counts(flow) == {1: 2, 2: 1}
