"""Messages that are never sent, lost, delivered twice or in reverse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.messages import TaskRef
from flowerapp.executors.celery.routes import ref_of
from flowerapp.models import Flow, HistoryEntry, Task
from tests.acceptance.live import Live, define, start_counts
from tests.faults.support import (
    BROKER_SECONDS,
    assert_sound,
    signal_group,
    wait_finished,
    wait_going,
    wait_starts,
)
from tests.faults.test_redis import chain, forks
from tests.ledger import LEDGER
from tests.probe.models import Start
from tests.services import ROOT, until

REGISTER_AND_DIE = """
import os, signal, sys
import django
django.setup()
from flowerapp import engine
from flowerapp.core import executor
class Killed(executor.NoExecutor):
    def send(self, messages):
        os.kill(os.getpid(), signal.SIGKILL)
    def connected(self):
        return True
executor.use(Killed())
engine.register(sys.argv[1])
"""


class Queues:
    """The messages that wait on a site's Redis, by queue."""

    def __init__(self, live: Live) -> None:
        import redis

        self.client: Any = redis.Redis.from_url(live.site.environment["CELERY_BROKER_URL"])

    def keys(self, queue: str = "default") -> list[bytes]:
        """The lists of a queue, one for each priority in use."""
        keys = self.client.keys(f"{queue}*")
        return [key for key in keys if self.client.type(key) == b"list"]

    def messages(self, queue: str = "default") -> list[bytes]:
        """All messages of a queue."""
        return [message for key in self.keys(queue) for message in self.client.lrange(key, 0, -1)]

    def length(self, queue: str = "default") -> int:
        """Number of messages of a queue."""
        return sum(self.client.llen(key) for key in self.keys(queue))

    def place(self, message: bytes) -> TaskRef:
        """The task that a message is about."""
        ref = ref_of(json.loads(message)["headers"]["id"])
        assert ref is not None
        return ref

    def places(self, queue: str = "default") -> list[TaskRef]:
        """The tasks that the messages of a queue are about."""
        return [self.place(message) for message in self.messages(queue)]

    def lose(self, flow_id: str, seq: int, queue: str = "default") -> int:
        """Delete the message about a task; the number deleted."""
        lost = 0
        for key in self.keys(queue):
            for message in self.client.lrange(key, 0, -1):
                if self.place(message) == (flow_id, seq):
                    lost += self.client.lrem(key, 0, message)
        return lost

    def double_in_reverse(self, queue: str = "default") -> int:
        """Put two copies of each message in reverse order; the number of copies."""
        count = 0
        for key in self.keys(queue):
            messages = self.client.lrange(key, 0, -1)
            twice = [message for message in reversed(messages) for _ in range(2)]
            with self.client.pipeline() as pipeline:
                pipeline.delete(key)
                pipeline.rpush(key, *twice)
                pipeline.execute()
            count += len(twice)
        return count

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


@pytest.fixture
def queues(live: Live) -> Iterator[Queues]:
    """The messages that wait on this test's Redis."""
    made = Queues(live)
    yield made
    made.close()


@pytest.mark.fault("the registering process is killed between commit and send", within=BROKER_SECONDS)
def test_the_registering_process_dies_between_commit_and_send(live: Live) -> None:
    live.site.start_all(2)
    name = define(forks(1, 3))
    command = [sys.executable, "-c", REGISTER_AND_DIE, name]
    died = subprocess.run(command, env={**os.environ, **live.site.environment}, cwd=ROOT, timeout=60)
    assert died.returncode == -signal.SIGKILL
    flow = Flow.objects.get(task_id=name)
    wait_starts(flow, 1, 1, BROKER_SECONDS)
    wait_finished(live, flow, seconds=BROKER_SECONDS)
    assert_sound(flow)
    assert set(start_counts(flow).values()) == {1}


@pytest.mark.fault("every message comes twice and in reverse")
def test_every_message_comes_twice_and_those_that_wait_in_reverse(live: Live, queues: Queues) -> None:
    """Also those that the workers send; and in the middle of it all that wait are doubled and turned round again."""
    live.site.environment["FLOWER_PROBE_TWICE"] = "1"
    flows = [engine.register(define(edges)) for edges in (chain(60), forks(5, 8), forks(1, 60), forks(3, 40))]
    assert queues.double_in_reverse() == 2 * len(flows)
    live.site.start_all(2, 2)
    turned = 0
    for reached in (20, 80, 140):
        until(lambda reached=reached: Start.objects.count() >= reached)  # type: ignore[misc] # a lambda in a loop
        for worker in live.site.workers:
            signal_group(worker, signal.SIGSTOP)
        turned += queues.double_in_reverse()
        for worker in live.site.workers:
            signal_group(worker, signal.SIGCONT)
    assert turned > 40
    live.finish(*flows)
    assert_sound(*flows)
    assert all(set(start_counts(flow).values()) == {1} for flow in flows)
    live.assert_faultless(*flows)


@pytest.mark.fault("single messages of chains and chords are lost", within=BROKER_SECONDS)
def test_each_message_of_a_chord_and_a_chains_next_are_lost_one_by_one(live: Live, queues: Queues) -> None:
    """Each in a flow of its own: those of the header, the body's, and the second and a later one of a chain.

    What is to be lost waits in a queue without workers until it is gone.
    """
    width = 4
    fork_join = forks(1, width) | {width + 3: [width + 2]}
    lost = [(fork_join, seq) for seq in range(2, width + 3)] + [(chain(6), 2), (chain(6), 5)]
    flows = [engine.register(define(edges, {seq: {"queue": "late"}})) for edges, seq in lost]
    live.site.start("-Q", "default", "-c", "2").wait_ready()
    places = {(flow.pk, seq) for flow, (_, seq) in zip(flows, lost, strict=True)}
    until(lambda: set(queues.places("late")) == places, what=lambda: str(queues.places("late")))
    assert [queues.lose(*place, "late") for place in places] == [1] * len(places)
    live.site.start("-Q", "late", "-c", "1").wait_ready()
    wait_going(live, *flows)
    wait_finished(live, *flows, seconds=BROKER_SECONDS)
    assert_sound(*flows)
    assert all(start_counts(flow) == dict.fromkeys(edges, 1) for flow, (edges, _) in zip(flows, lost, strict=True))


@pytest.mark.fault("a few messages are lost from a queue that is never empty", within=BROKER_SECONDS)
def test_a_few_messages_are_lost_from_a_queue_that_is_never_empty(live: Live, queues: Queues) -> None:
    """New tasks come as quickly as the old are done, so the queue always holds more messages than were lost."""
    short, few = 40, 5
    single = define({1: []}, {1: {"program": "EchoParamTimeSleep", "parameters": {"SLEEP_TIME_SECOND": 0.05}}})
    flows = [engine.register(single) for _ in range(2 * short)]
    assert sum(queues.lose(flow.pk, 1) for flow in flows[short : short + few]) == few
    begun = time.monotonic()
    waiting = Task.objects.filter(task_flow_id__in=[flow.pk for flow in flows[short : short + few]], attempt=0)
    live.site.start_all(2)
    lengths = []
    while waiting.exists():
        lengths.append(queues.length())
        flows += [engine.register(single) for _ in range(short - lengths[-1])]
        assert time.monotonic() - begun < 2 * BROKER_SECONDS, f"{waiting.count()} of {few} were not started"
    LEDGER.recovered(time.monotonic() - begun)
    assert min(lengths) > few
    wait_finished(live, *flows, seconds=BROKER_SECONDS)
    assert_sound(*flows)
    resent = {event.task_flow_id for event in HistoryEntry.objects.filter(verb="resend")}
    assert resent == {flow.pk for flow in flows[short : short + few]}
