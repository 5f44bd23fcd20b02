"""A Redis server that loses everything, or goes away."""

from __future__ import annotations

import time
from pathlib import Path

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import Live, define, starts, wait_started
from tests.faults.servers import RedisServer
from tests.faults.support import BROKER_SECONDS, alive, assert_sound, gated, wait_finished
from tests.probe.models import Start
from tests.services import until

REGISTER_SECONDS = 5.0
"""Registering while Redis is away takes at most this."""
AWAY_SECONDS = 15.0


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


def test_it_is_restarted_empty_in_mid_flow(on_redis: Live, redis_server: RedisServer, gate: Path) -> None:
    live = on_redis
    live.site.start_all(2)
    steps = {30: {"program": "Gate", "parameters": {"path": str(gate)}}}
    flows = [
        engine.register(define(edges, steps))
        for edges in (chain(50), chain(50), forks(8, 10), forks(1, 60), forks(20, 2))
    ]
    until(lambda: Start.objects.count() > 80)
    redis_server.kill()
    redis_server.start()
    gate.touch()
    wait_finished(live, *flows, seconds=BROKER_SECONDS)
    assert alive(live.site)
    assert sum(flow.tasks.count() for flow in flows) == 312
    assert_sound(*flows)


def test_it_is_flushed_with_a_backlog(on_redis: Live, redis_server: RedisServer, gate: Path) -> None:
    live = on_redis
    live.site.start_all(1)
    busy = gated(gate, {1: [], 2: [1]}, 1)
    wait_started(busy, 1)
    name = define(chain(4))
    flows = [engine.register(name) for _ in range(40)]
    assert redis_server.client.dbsize()
    redis_server.client.flushall()
    gate.touch()
    wait_finished(live, busy, *flows, seconds=BROKER_SECONDS)
    assert alive(live.site)
    assert_sound(busy, *flows)
    assert len(starts(busy, 1)) == 1


def test_it_is_away_while_flows_are_registered(on_redis: Live, redis_server: RedisServer, gate: Path) -> None:
    live = on_redis
    live.site.start_all(2)
    running = gated(gate, chain(4), 1)
    wait_started(running, 1)
    redis_server.kill()
    back = time.monotonic() + AWAY_SECONDS
    gate.touch()
    names = [define(chain(5)), define(forks(1, 5))]
    flows: list[Flow] = []
    while time.monotonic() < back:
        begun = time.monotonic()
        flows += [engine.register(name) for name in names]
        assert time.monotonic() - begun < REGISTER_SECONDS * len(names)
        until(lambda begun=begun: time.monotonic() > begun + 1)  # type: ignore[misc] # a lambda in a loop
    assert all(flow.status is Status.WAIT for flow in flows)
    redis_server.start()
    wait_finished(live, running, *flows, seconds=BROKER_SECONDS)
    assert alive(live.site)
    assert_sound(running, *flows)
    assert len(starts(running, 1)) == 1
