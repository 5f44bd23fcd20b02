"""Listeners of the stream that are killed, and a Redis that loses the stream."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.plan import Node, Plan
from flowerapp.models import Flow, Task
from flowerapp.states import Status
from tests.acceptance.live import Live, task
from tests.effort import LONG
from tests.faults import stream_listener
from tests.faults.servers import RedisServer
from tests.faults.support import BROKER_SECONDS, assert_sound, leader, rescues, timed, wait_finished
from tests.faults.test_remote import Running, taken_over
from tests.ledger import LEDGER
from tests.services import until

SECONDS = stream_listener.LEASE + 7.0
"""A listener is lost: another has its task within this. The lease, a look of the watcher, and a receipt."""
TIMES = 10 if LONG else 2


class Listeners:
    """Processes that listen."""

    def __init__(self, live: Live, directory: Path, stack: ExitStack) -> None:
        self.live, self.directory, self.stack, self.number = live, directory, stack, 0

    def start(self) -> Running:
        """Start one."""
        self.number += 1
        name, environment = f"listener-{self.number}", self.live.site.environment
        url = environment["CELERY_BROKER_URL"]
        started = Running(self.directory / f"{name}.log", stream_listener.__file__, url, name, environment=environment)
        self.stack.callback(started.kill)
        return started


@pytest.fixture
def listeners(on_redis: Live, tmp_path: Path) -> Iterator[Listeners]:
    """Two workers of Celery, whose broker has the stream."""
    with ExitStack() as stack:
        on_redis.site.start_all(1, 1)
        yield Listeners(on_redis, tmp_path, stack)


def planned(gate: Path | None = None, **options: Any) -> Flow:
    """``docs:a → Record → docs:c`` beside ``docs:b``, all joined; the first waits for ``gate``."""
    parameters = {"gate": str(gate)} if gate else {}
    nodes = (
        Node(seq=1, program="", remote="docs:a", parameters=parameters, **options),
        Node(seq=2, program="", remote="docs:b"),
        Node(seq=3, program="Record", depends_on=(1,)),
        Node(seq=4, program="", remote="docs:c", depends_on=(3,)),
        Node(seq=5, program="Record", depends_on=(2, 4)),
    )
    return engine.register_plan(Plan("printed", nodes))


def runner_of(flow: Flow, *running: Running) -> Running:
    """The listener that does task 1."""
    name = until(lambda: task(flow, 1).status is Status.RUNNING and task(flow, 1).worker, SECONDS)
    return next(process for process in running if process.log.stem == str(name).removeprefix("remote:"))


@pytest.mark.fault("a listener of the stream is killed", within=SECONDS)
def test_a_listener_is_killed(on_redis: Live, listeners: Listeners, gate: Path) -> None:
    running = [listeners.start(), listeners.start()]
    for number in range(TIMES):
        at = gate.with_name(f"gate-{number}")
        flow = planned(at)
        runner_of(flow, *running).kill()
        running.append(listeners.start())
        taken_over(flow, 2)
        at.touch()
        wait_finished(on_redis, flow, seconds=30)
        assert_sound(flow)
        assert task(flow, 1).output["attempt"] == 2
        assert rescues(flow) >= 1


@pytest.mark.fault("Redis loses the stream", within=BROKER_SECONDS)
def test_redis_is_restarted_empty(on_redis: Live, listeners: Listeners, redis_server: RedisServer, gate: Path) -> None:
    listeners.start()
    flows = [planned(gate), *(planned() for _ in range(20))]
    until(lambda: task(flows[0], 1).status is Status.RUNNING, SECONDS)
    for _ in range(TIMES):
        redis_server.stop()
        flows += [planned() for _ in range(5)]
        redis_server.start()
        before = _ended(flows)
        LEDGER.recovered(timed(lambda: _ended(flows) > before, 2 * BROKER_SECONDS, flows[-1]))  # noqa: B023 - used at once
    gate.touch()
    wait_finished(on_redis, *flows, seconds=60)
    assert_sound(*flows)


def _ended(flows: list[Flow]) -> int:
    """How many remote tasks have ended."""
    remote = Task.objects.filter(task_flow_id__in=[flow.pk for flow in flows]).remote()
    return int(remote.filter(exec_status=Status.FINISH).count())


def _open(flows: list[Flow]) -> int:
    return Flow.objects.filter(pk__in=[flow.pk for flow in flows]).open().count()


@pytest.mark.fault("the worker that serves the stream is killed")
def test_the_leader_is_killed(on_redis: Live, listeners: Listeners, gate: Path) -> None:
    listeners.start()
    flow = planned(gate)
    until(lambda: task(flow, 1).status is Status.RUNNING, SECONDS)
    served = leader(on_redis.site)
    assert served is not None
    on_redis.site.stop(served)
    more = [planned() for _ in range(5)]
    gate.touch()
    wait_finished(on_redis, flow, *more, seconds=60)
    assert_sound(flow, *more)


@pytest.mark.fault("listeners of the stream are killed at random")
def test_listeners_are_killed_at_random(on_redis: Live, listeners: Listeners) -> None:
    running = [listeners.start() for _ in range(3)]
    flows = [planned() for _ in range(15 * TIMES)]
    for _ in range(5 * TIMES):
        open_before = _open(flows)
        running.pop(random.randrange(len(running))).kill()  # noqa: S311 - which one
        running.append(listeners.start())
        if not open_before:
            break
        until(lambda: _open(flows) < open_before, 60)  # noqa: B023 - used at once
    wait_finished(on_redis, *flows, seconds=90)
    assert_sound(*flows)
