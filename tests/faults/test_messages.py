"""Messages that are never sent, lost, delivered twice or in reverse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.canvas import place_of
from flowerapp.models import Flow
from tests.acceptance.live import Live, define, start_counts
from tests.faults.support import BROKER_SECONDS, assert_sound, wait_finished
from tests.faults.test_redis import chain, forks
from tests.services import ROOT, until

REGISTER_AND_DIE = """
import os, signal, sys
import django
django.setup()
from flowerapp import dispatch, engine
class Killed:
    def __call__(self, messages):
        os.kill(os.getpid(), signal.SIGKILL)
    def connected(self):
        return True
dispatch.use(Killed())
engine.register(sys.argv[1])
"""


class Queues:
    """The messages that wait on a site's Redis, by queue."""

    def __init__(self, live: Live) -> None:
        import redis

        self.client: Any = redis.Redis.from_url(live.site.environment["CELERY_BROKER_URL"])

    def keys(self, queue: str = "default") -> list[bytes]:
        """The lists of a queue, one for each priority in use."""
        found = self.client.keys(f"{queue}*")
        return [key for key in found if self.client.type(key) == b"list"]

    def messages(self, queue: str = "default") -> list[bytes]:
        """All messages of a queue."""
        return [message for key in self.keys(queue) for message in self.client.lrange(key, 0, -1)]

    def place(self, message: bytes) -> tuple[str, int]:
        """The task that a message is about."""
        found = place_of(json.loads(message)["headers"]["id"])
        assert found is not None
        return found

    def lose(self, flow: Flow, seq: int) -> None:
        """Delete the message about a task."""
        for key in self.keys():
            for message in self.client.lrange(key, 0, -1):
                if self.place(message) == (flow.pk, seq):
                    self.client.lrem(key, 0, message)

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


def test_the_registering_process_dies_between_commit_and_send(live: Live) -> None:
    live.site.start_all(2)
    name = define(forks(1, 3))
    command = [sys.executable, "-c", REGISTER_AND_DIE, name]
    died = subprocess.run(command, env={**os.environ, **live.site.environment}, cwd=ROOT, timeout=60)
    assert died.returncode == -9
    flow = Flow.objects.get(task_id=name)
    wait_finished(live, flow, seconds=BROKER_SECONDS)
    assert_sound(flow)
    assert set(start_counts(flow).values()) == {1}


def test_waiting_messages_come_twice_and_in_reverse(live: Live, queues: Queues) -> None:
    name, other = define(forks(1, 6)), define(chain(25))
    flows = [engine.register(each) for each in (name, other) for _ in range(10)]
    assert queues.double_in_reverse() == 2 * len(flows)
    live.site.start_all(2, 2)
    live.finish(*flows)
    assert_sound(*flows)
    assert all(set(start_counts(flow).values()) == {1} for flow in flows)
    live.assert_faultless(*flows)


def test_every_message_comes_twice(live: Live) -> None:
    """Also those that the workers send."""
    live.site.environment["FLOWER_PROBE_TWICE"] = "1"
    live.site.start_all(2, 2)
    flows = [engine.register(define(edges)) for edges in (chain(60), forks(5, 8), forks(1, 60))]
    live.finish(*flows)
    assert_sound(*flows)
    assert all(set(start_counts(flow).values()) == {1} for flow in flows)
    live.assert_faultless(*flows)


def test_the_messages_of_a_chords_header_are_lost_one_by_one(live: Live, queues: Queues) -> None:
    width = 4
    edges = forks(1, width) | {width + 3: [width + 2]}
    name = define(edges, {1: {"queue": "roots"}})
    flows = [engine.register(name) for _ in range(width)]
    live.site.start("-Q", "roots", "-c", "1").wait_ready()
    until(lambda: len(queues.messages()) == width * len(flows))
    for number, flow in enumerate(flows):
        queues.lose(flow, 2 + number)
    assert len(queues.messages()) == (width - 1) * len(flows)
    live.site.start("-Q", "default", "-c", "2").wait_ready()
    wait_finished(live, *flows, seconds=BROKER_SECONDS)
    assert_sound(*flows)
    assert all(start_counts(flow) == dict.fromkeys(edges, 1) for flow in flows)
