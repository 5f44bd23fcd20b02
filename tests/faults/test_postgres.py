"""A PostgreSQL server that crashes and comes back."""

from __future__ import annotations

import time
from pathlib import Path

from django.db.models.functions import Now

from flowerapp import conf, engine
from flowerapp.models import Flow, Lease, Worker
from flowerapp.watcher import REVIVAL
from tests.acceptance.live import Live, define, start_counts, wait_started
from tests.faults.servers import PostgresServer
from tests.faults.support import alive, assert_sound, gated, rescues, steady, wait_finished
from tests.faults.test_redis import chain, forks
from tests.probe.models import Start
from tests.services import until

CRASHES = 5


def test_it_crashes_again_and_again(on_postgres: Live, postgres_server: PostgresServer) -> None:
    live = on_postgres
    live.site.start_all(2)
    flows = [engine.register(define(edges, program="Persist")) for edges in (chain(200), forks(1, 98))]
    total = 300
    for crash in range(1, CRASHES + 1):
        reached = total * crash // (CRASHES + 2)
        until(steady(lambda reached=reached: _finished(flows) >= reached), 60, what=lambda: live.news[-5000:])  # type: ignore[misc] # a lambda in a loop
        postgres_server.restart()
    wait_finished(live, *flows, seconds=90)
    assert alive(live.site)
    assert_sound(*flows)


def test_it_is_away_for_longer_than_a_lease(on_postgres: Live, postgres_server: PostgresServer, gate: Path) -> None:
    """Nobody can give a sign of life meanwhile, and nobody is taken for dead afterwards."""
    live = on_postgres
    live.site.start_all(1, 1)
    flow = gated(gate, {1: [], 2: [], 3: [1, 2], 4: [3]}, 1, 2)
    wait_started(flow, 1, 2)
    postgres_server.stop()
    back = time.monotonic() + conf.get().LEASE_SECONDS + 3
    until(lambda: time.monotonic() > back)
    postgres_server.start()
    until(steady(lambda: Worker.objects.living(3).count() == 2))
    until(steady(lambda: Lease.objects.filter(expires_ts__gt=Now()).exists()))
    later = time.monotonic() + 2 * REVIVAL
    until(lambda: time.monotonic() > later)
    gate.touch()
    wait_finished(live, flow, seconds=30)
    assert alive(live.site)
    assert_sound(flow)
    assert start_counts(flow) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert rescues(flow) == 0


def _finished(flows: list[Flow]) -> int:
    return Start.objects.filter(flow_id__in=[flow.pk for flow in flows]).count()
