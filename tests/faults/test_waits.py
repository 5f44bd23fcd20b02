"""Waits while workers, Redis and the processes that end them are killed: nothing is lost, nothing ends twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, COUNTDOWN, DELAY, EVENT, RELEASE
from flowerapp.models import Flow, Latch, Task, Wait
from flowerapp.states import Status
from tests.acceptance.live import Live, define, starts, wait_state
from tests.effort import LONG
from tests.faults.servers import RedisServer
from tests.faults.support import BROKER_SECONDS, WORKER_SECONDS, assert_sound, kill_worker, leader, wait_finished
from tests.ledger import LEDGER
from tests.services import Site, until

FLOWS = 200 if LONG else 40
"""Flows of each kind."""
TAKEN_UP_SECONDS = 10.0
"""What a dead process left undone is taken up within this."""


def waits(program: str, **parameters: Any) -> dict[str, Any]:
    """Columns of a step that waits."""
    return {"program": program, "parameters": parameters}


def many(name: str, number: int = FLOWS) -> list[Flow]:
    """Flows of a workflow, each with a number of its own as its input."""
    return engine.register_many([{"task_id": name, "input": {"id": n}} for n in range(number)])


def begun(number: int, program: str) -> None:
    """Wait until so many waits of a program have begun, whether they have ended or not."""
    until(lambda: Task.objects.filter(program=program, started_ts__isnull=False).count() == number, 60)


def run_killed(site: Site, code: str) -> None:
    """Run code in a process of its own, which kills itself where the code says ``die``."""
    setup = """
        import os, signal, django
        django.setup()
        def die(*args, **options):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    text = textwrap.dedent(setup) + textwrap.dedent(code)
    ended = subprocess.run(
        [sys.executable, "-c", text], env={**os.environ, **site.environment}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.fault("workers, the leader and Redis are killed while flows wait", within=WORKER_SECONDS + BROKER_SECONDS)
def test_flows_wait_through_the_loss_of_workers_and_messages(on_redis: Live, redis_server: RedisServer) -> None:
    on_redis.site.start_all(2, 2)
    edges = {1: [], 2: [1], 3: [2]}
    delayed = many(define(edges, {2: waits(DELAY, duration=8)}))
    paid = many(define(edges, {2: waits(EVENT, event="paid", match="input")}))
    holders = many(define({1: [], 2: [1], 3: [2], 4: [3], 5: [4]}, {
        2: waits(ACQUIRE, name="port"),
        3: waits(DELAY, duration=10),
        4: waits(RELEASE, name="port"),
    }))  # fmt: skip
    begun(FLOWS * 2, DELAY)
    counted = many(define(edges, {2: waits(COUNTDOWN, name="port")}), 5)
    begun(5, COUNTDOWN)
    begun(FLOWS, EVENT)
    killed = leader(on_redis.site) or on_redis.site.workers[0]
    for number in range(FLOWS // 2):
        engine.emit("paid", {"id": number})
    kill_worker(killed)
    broken = time.monotonic()
    redis_server.stop()
    for number in range(FLOWS // 2, FLOWS):
        engine.emit("paid", {"id": number, "output": {"id": number}})
    redis_server.start()
    on_redis.site.start("-c", "2").wait_ready()
    wait_finished(on_redis, *delayed, *paid, *holders, *counted, seconds=120)
    LEDGER.recovered(time.monotonic() - broken - 10)
    assert not Wait.objects.exists()
    assert not Latch.objects.exists()
    assert_sound(*delayed, *paid, *holders, *counted)
    for flow in delayed:
        waited = flow.tasks.get(task_seq=2)
        assert waited.finished_ts is not None
        assert waited.started_ts is not None
        assert (waited.finished_ts - waited.started_ts).total_seconds() >= 8


@pytest.mark.fault("a process is killed after it has reported an event", within=TAKEN_UP_SECONDS)
def test_an_event_is_offered_though_its_process_died(live: Live) -> None:
    live.site.start_all(2)
    flows = many(define({1: [], 2: [1]}, {1: waits(EVENT, event="paid", receipt=False)}))
    begun(FLOWS, EVENT)
    run_killed(live.site, """
        from flowerapp import engine
        from flowerapp.engine import events
        events.offer = die
        engine.emit("paid")
    """)  # fmt: skip
    LEDGER.recovered(wait_finished(live, *flows, seconds=TAKEN_UP_SECONDS + 10))
    assert_sound(*flows)
    assert all(len(starts(flow, 2)) == 1 for flow in flows)


@pytest.mark.fault("a process is killed while an event ends waits", within=TAKEN_UP_SECONDS + 20)
def test_the_other_waits_of_an_event_end_too(live: Live) -> None:
    """The process dies after it has ended some and before it has sent what follows them."""
    live.site.start_all(2)
    flows = many(define({1: [], 2: [1]}, {1: waits(EVENT, event="paid", receipt=False)}), 600)
    begun(600, EVENT)
    run_killed(live.site, """
        from flowerapp import engine
        from flowerapp.engine import propagation
        propagation.follow_waits = die
        engine.emit("paid")
    """)  # fmt: skip
    LEDGER.recovered(wait_finished(live, *flows, seconds=60))
    assert_sound(*flows)


@pytest.mark.fault("a process is killed when a latch has come to zero", within=TAKEN_UP_SECONDS)
def test_a_countdown_ends_though_the_process_that_released_died(live: Live) -> None:
    live.site.start_all(2)
    holder = engine.register(define({1: []}, {1: waits(ACQUIRE, name="port")}))
    live.finish(holder)
    flows = many(define({1: [], 2: [1]}, {1: waits(COUNTDOWN, name="port")}))
    begun(FLOWS, COUNTDOWN)
    release = define({1: []}, {1: waits(RELEASE, name="port")})
    run_killed(live.site, f"""
        from flowerapp import engine
        from flowerapp.engine import propagation
        propagation.end_countdowns = die
        engine.register({release!r})
    """)  # fmt: skip
    LEDGER.recovered(wait_finished(live, *flows, seconds=TAKEN_UP_SECONDS + 10))
    assert_sound(*flows)


@pytest.mark.fault("a process is killed before a wait looks for earlier events", within=TAKEN_UP_SECONDS)
def test_an_earlier_event_ends_a_wait_though_its_process_died(live: Live) -> None:
    live.site.start_all(2)
    engine.emit("paid", {"id": 1})
    name = define({1: [], 2: [1]}, {1: waits(EVENT, event="paid", since="any")})
    run_killed(live.site, f"""
        from flowerapp import engine
        from flowerapp.engine import propagation
        propagation.look_back = die
        engine.register({name!r})
    """)  # fmt: skip
    flow = Flow.objects.get(task_id=name)
    LEDGER.recovered(wait_finished(live, flow, seconds=TAKEN_UP_SECONDS + 10))
    assert_sound(flow)


@pytest.mark.fault("a flow is cancelled by a process that dies before it gives back its latch", within=TAKEN_UP_SECONDS)
def test_what_a_cancelled_flow_holds_is_given_back_though_the_process_died(live: Live) -> None:
    live.site.start_all(2)
    edges = {1: [], 2: [1]}
    holder = engine.register(define(edges, {1: waits(ACQUIRE, name="port"), 2: waits(DELAY, duration=3600)}))
    wait_state(holder, Status.FINISH, 1)
    flows = many(define(edges, {1: waits(COUNTDOWN, name="port")}))
    begun(FLOWS, COUNTDOWN)
    run_killed(live.site, f"""
        from flowerapp import engine
        from flowerapp.engine import due_waits
        due_waits.give_back_of = die
        engine.cancel({holder.pk!r})
    """)  # fmt: skip
    LEDGER.recovered(wait_finished(live, *flows, seconds=TAKEN_UP_SECONDS + 10))
    assert_sound(*flows)
