"""A Redis server that loses everything, becomes unreachable, or hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import Live, define, starts, wait_started
from tests.effort import LONG
from tests.faults.servers import RedisServer
from tests.faults.support import BROKER_SECONDS, alive, assert_sound, gated, wait_finished, wait_going
from tests.probe.models import Start
from tests.services import until

REGISTER_SECONDS = 5.0
"""Registering while Redis refuses connections takes at most this."""
COMMIT_SECONDS = 3.0
"""While it hangs, a flow that is registered is in the database within this."""
SOCKET_SECONDS = 30.0
"""No client waits longer for one answer of Redis: ``socket_timeout`` of the reference project."""
AWAY_SECONDS = 30.0 if LONG else 12.0
HANGING_SECONDS = SOCKET_SECONDS + 15.0 if LONG else 15.0
RESTARTS = 10 if LONG else 3
FLUSHES = 10 if LONG else 2


def chain(length: int, first: int = 1) -> dict[int, list[int]]:
    """A chain whose first task has no dependencies."""
    return {seq: [seq - 1] if seq > first else [] for seq in range(first, first + length)}


def forks(number: int, width: int) -> dict[int, list[int]]:
    """So many forks of a width, one after the other: each the chord's header of the next join."""
    edges: dict[int, list[int]] = {1: []}
    for _ in range(number):
        fork = max(edges)
        branches = range(fork + 1, fork + width + 1)
        edges |= {seq: [fork] for seq in branches} | {fork + width + 1: list(branches)}
    return edges


def lose_again_and_again(live: Live, gate: Path, lose: Callable[[], None], times: int) -> None:
    """Lose all messages in the middle of busy flows of a thousand tasks each, and again once these continue.

    A task that runs all the while is not started again.
    """
    live.site.start_all(3)
    waiting = {"program": "Gate", "parameters": {"path": str(gate), "seconds": 100 * times}}
    running = engine.register(define({1: [], 2: [1]}, {1: waiting}))
    wait_started(running, 1)
    share = 300 * times
    shapes = (chain(share), chain(share), forks(5 * times, 80), forks(50 * times, 6), forks(1, share))
    flows = [engine.register(define(edges)) for edges in shapes]
    total = sum(flow.tasks.count() for flow in flows)
    for time_number in range(1, times + 1):
        share_done = total * time_number // (times + 2)
        until(lambda share_done=share_done: Start.objects.count() > share_done, 30 + total / 50)  # type: ignore[misc] # a lambda in a loop
        lose()
        wait_going(live, *flows)
    assert Flow.objects.filter(pk__in=[flow.pk for flow in flows]).open().exists()
    gate.touch()
    wait_finished(live, running, *flows, seconds=60 + total / 50)
    assert alive(live.site)
    assert_sound(running, *flows)
    assert len(starts(running, 1)) == 1


@pytest.mark.fault("Redis is restarted empty in the middle of busy flows", within=BROKER_SECONDS)
def test_it_is_restarted_empty_again_and_again(on_redis: Live, redis_server: RedisServer, gate: Path) -> None:
    def restart() -> None:
        redis_server.stop()
        redis_server.start()

    lose_again_and_again(on_redis, gate, restart, RESTARTS)


@pytest.mark.fault("Redis is emptied by FLUSHALL", within=BROKER_SECONDS)
def test_it_is_flushed_again_and_again(on_redis: Live, redis_server: RedisServer, gate: Path) -> None:
    lose_again_and_again(on_redis, gate, redis_server.client.flushall, FLUSHES)


@pytest.mark.fault("Redis refuses connections while a task runs and flows are registered", within=BROKER_SECONDS)
def test_it_is_unreachable_while_flows_are_registered(on_redis: Live, redis_server: RedisServer, gate: Path) -> None:
    live = on_redis
    live.site.start_all(2)
    running = gated(gate, chain(4), 1)
    busy = engine.register(define(forks(4, 60)))
    wait_started(running, 1)
    names = [define(chain(5)), define(forks(1, 5))]
    flows: list[Flow] = []
    with redis_server.unreachable("refusing"):
        back = time.monotonic() + AWAY_SECONDS
        gate.touch()
        while time.monotonic() < back:
            begun = time.monotonic()
            flows += [engine.register(name) for name in names]
            assert time.monotonic() - begun < REGISTER_SECONDS * len(names)
            until(lambda begun=begun: time.monotonic() > begun + 1)  # type: ignore[misc] # a lambda in a loop
        assert all(flow.status is Status.WAIT for flow in flows)
    wait_going(live, running, busy, *flows)
    wait_finished(live, running, busy, *flows, seconds=BROKER_SECONDS)
    assert alive(live.site)
    assert_sound(running, busy, *flows)
    assert len(starts(running, 1)) == 1


@pytest.mark.fault("Redis hangs in mid-flow while flows are registered", within=BROKER_SECONDS)
def test_it_hangs_while_flows_are_registered(on_redis: Live, redis_server: RedisServer) -> None:
    """The rows are there at once, and register returns when Redis does, or gives up sending."""
    live = on_redis
    live.site.start_all(2)
    busy = [engine.register(define(edges)) for edges in (chain(300), forks(3, 100))]
    until(lambda: Start.objects.count() > 100)
    names = [define(chain(5)), define(forks(1, 5))]
    with ThreadPoolExecutor(len(names)) as pool:
        with redis_server.unreachable("hanging"):
            back = time.monotonic() + HANGING_SECONDS
            calls = [pool.submit(register_in_thread, name) for name in names]
            committed = Flow.objects.filter(task_id__in=names)
            until(lambda: committed.count() == len(names), COMMIT_SECONDS)
            until(lambda: time.monotonic() > back, 2 * HANGING_SECONDS)
        flows = busy + [result(call) for call in calls]
    wait_going(live, *flows)
    wait_finished(live, *flows, seconds=BROKER_SECONDS)
    assert alive(live.site)
    assert_sound(*flows)


def register_in_thread(name: str) -> Flow:
    """Register, and leave no connection of this thread behind."""
    try:
        return engine.register(name)
    finally:
        connection.close()


def result(call: Future[Flow]) -> Flow:
    """What a call returned, which it must have done when Redis is back."""
    return call.result(5)
