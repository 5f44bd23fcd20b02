"""Messages of low priority are lost while more urgent work keeps their queue busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery.app import app_or_default

from flowerapp import engine
from flowerapp.core.messages import FIRST_SENT
from flowerapp.executors.celery import queues
from flowerapp.models import Flow, HistoryEntry, Task
from tests.acceptance.live import Live, define, describe, wait_started
from tests.faults.conftest import live_site
from tests.faults.servers import RedisServer
from tests.faults.support import (
    BROKER_SECONDS,
    INTERVENTIONS,
    assert_sound,
    kill_worker,
    leader,
    wait_finished,
)
from tests.ledger import LEDGER
from tests.services import fresh_database, fresh_rabbitmq, until

LOW = 19
"""The nice value of what is lost."""
BURST = 2
"""Flows of the stream that are registered together."""
WIDTH = FIRST_SENT
"""Tasks of each; all are sent at once."""
PROCESSES = 2
BACKLOG = 1_500
"""Tasks of low priority that wait behind the stream."""


class Broker(NamedTuple):
    """A site on a broker whose queue the test may empty."""

    live: Live
    empty: Callable[[], object]


def purge() -> None:
    """Delete all messages of RabbitMQ's queue."""
    with app_or_default().connection_for_write() as connection:
        channel: Any = connection.channel()
        channel.queue_purge("default")


@pytest.fixture(params=["redis", "amqp"])
def broker(request: pytest.FixtureRequest, postgres_url: str, django_db_blocker: Any) -> Iterator[Broker]:
    """A Redis server of the test's own, or a virtual host of RabbitMQ."""
    with fresh_database(postgres_url) as database:
        if request.param == "redis":
            server: RedisServer = request.getfixturevalue("redis_server")
            with live_site(database, server.url, django_db_blocker) as live:
                yield Broker(live, server.client.flushdb)
        else:
            url = request.getfixturevalue("amqp_url")
            with fresh_rabbitmq(url) as vhost, live_site(database, vhost, django_db_blocker) as live:
                yield Broker(live, purge)


class Stream:
    """Bursts of tasks of nice 0, one after the other."""

    def __init__(self, seconds: float = 0.1) -> None:
        step = {"program": "EchoParamTimeSleep", "parameters": {"SLEEP_TIME_SECOND": seconds}}
        self.workflow = define({seq: [] for seq in range(1, WIDTH + 1)}, dict.fromkeys(range(1, WIDTH + 1), step))
        self.flows: list[Flow] = []

    def register_when_idle(self) -> None:
        """Register the next burst once the last is done, so that less urgent tasks may start in between."""
        if not Flow.objects.filter(task_id=self.workflow).open().exists():
            self.flows += [engine.register(self.workflow) for _ in range(BURST)]


def wait_while_streaming(stream: Stream, condition: Callable[[], Any], seconds: float, *flows: Flow) -> float:
    """Keep the stream going until the condition holds; the seconds that it took."""
    begun = time.monotonic()

    def reached() -> Any:
        stream.register_when_idle()
        return condition()

    until(reached, seconds, what=lambda: "\n".join(map(describe, flows)))
    return time.monotonic() - begun


def waiting(*flows: Flow) -> int:
    """Number of these flows that have not begun."""
    return Task.objects.filter(task_flow__in=[flow.pk for flow in flows], attempt=0).count()


def resent() -> set[str]:
    """Flows whose tasks were sent again."""
    return set(HistoryEntry.objects.filter(verb__in=INTERVENTIONS).values_list("task_flow_id", flat=True))


@pytest.mark.fault("less urgent messages are lost while the queue is busy", within=BROKER_SECONDS)
def test_less_urgent_messages_come_back_while_urgent_work_keeps_the_queue_busy(broker: Broker, gate: Path) -> None:
    """All messages of the queue are lost; then the stream begins, which lets others start at its pauses only."""
    live = broker.live
    live.site.start("-c", str(PROCESSES)).wait_ready()
    until(lambda: leader(live.site))
    holding = {"program": "Gate", "parameters": {"path": str(gate)}}
    busy = engine.register(define({1: [], 2: []}, {1: holding, 2: holding}), priority=-20)
    wait_started(busy, 1, 2)
    low = [engine.register(define({1: []}), priority=LOW) for _ in range(3)]
    broker.empty()
    stream = Stream()
    stream.register_when_idle()
    gate.touch()
    took = wait_while_streaming(stream, lambda: not waiting(*low), 2 * BROKER_SECONDS, *low)
    LEDGER.recovered(took)
    wait_finished(live, busy, *low, *stream.flows, seconds=BROKER_SECONDS)
    assert_sound(busy, *low, *stream.flows)
    assert resent() == {flow.pk for flow in low}


@pytest.mark.fault("a less urgent backlog waits behind urgent work")
def test_a_less_urgent_backlog_behind_a_stream_is_not_sent_again(broker: Broker) -> None:
    """It waits for longer than messages take to be missed, while others are sent, taken and done all the time."""
    live = broker.live
    live.site.start("-c", str(PROCESSES)).wait_ready()
    until(lambda: leader(live.site))
    stream = Stream(0.02)
    stream.register_when_idle()
    name = define({seq: [] for seq in range(1, 16)}, program="Noop")
    backlog: list[Flow] = []

    def grow() -> bool:
        if len(backlog) < BACKLOG // 15:
            backlog.append(engine.register(name, priority=LOW - 4 * (len(backlog) % 3)))
        return is_over()

    begun = time.monotonic()

    def is_over() -> bool:
        return time.monotonic() - begun > 20

    wait_while_streaming(stream, grow, 60, *backlog[:1])
    wait_finished(live, *backlog, *stream.flows, seconds=30 + BACKLOG / 50)
    assert_sound(*backlog, *stream.flows)
    assert HistoryEntry.objects.filter(verb__in=INTERVENTIONS).count() <= BACKLOG / 100


@pytest.mark.fault("a killed worker had taken less urgent messages", within=BROKER_SECONDS)
def test_what_a_killed_worker_had_taken_comes_back_while_the_queue_is_busy(broker: Broker, gate: Path) -> None:
    """It had taken all messages beyond those that it ran; another worker serves the queue then."""
    live = broker.live
    holding = {"program": "Gate", "parameters": {"path": str(gate)}}
    busy = engine.register(define({1: []}, {1: holding}), priority=-20)
    low = [engine.register(define({1: []}), priority=LOW) for _ in range(3)]
    greedy = live.site.start("-c", "1", "--prefetch-multiplier", "8")
    greedy.wait_ready()
    wait_started(busy, 1)
    until(lambda: queues.sizes(["default"])["default"].messages == 0)
    kill_worker(greedy)
    live.site.workers.remove(greedy)
    gate.touch()
    live.site.start("-c", str(PROCESSES)).wait_ready()
    until(lambda: leader(live.site))
    stream = Stream()
    took = wait_while_streaming(stream, lambda: not waiting(*low), 2 * BROKER_SECONDS, *low)
    LEDGER.recovered(took)
    wait_finished(live, busy, *low, *stream.flows, seconds=2 * BROKER_SECONDS)
    assert_sound(busy, *low, *stream.flows)
    assert resent() <= {flow.pk for flow in (busy, *low)}


@pytest.mark.fault("messages are lost and the broker does not say how many it holds", within=BROKER_SECONDS)
def test_lost_messages_come_back_though_the_sizes_of_queues_are_unknown(broker: Broker, gate: Path) -> None:
    live = broker.live
    live.site.environment["FLOWER_PROBE_UNCOUNTED"] = "1"
    live.site.start("-c", str(PROCESSES)).wait_ready()
    until(lambda: leader(live.site))
    holding = {"program": "Gate", "parameters": {"path": str(gate)}}
    busy = engine.register(define({1: [], 2: []}, {1: holding, 2: holding}), priority=-20)
    wait_started(busy, 1, 2)
    low = [engine.register(define({1: []}), priority=LOW) for _ in range(3)]
    broker.empty()
    gate.touch()
    begun = time.monotonic()
    until(lambda: not waiting(*low), 2 * BROKER_SECONDS, what=lambda: describe(low[0]) + live.news[-3000:])
    LEDGER.recovered(time.monotonic() - begun)
    wait_finished(live, busy, *low, seconds=BROKER_SECONDS)
    assert_sound(busy, *low)
    assert resent() == {flow.pk for flow in low}
