"""Backlogs: what waits for long is not sent again, and neither is what is still being sent."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowerapp import conf, engine
from flowerapp.core.messages import FIRST_SENT
from flowerapp.models import Flow, HistoryEntry, Task
from tests.acceptance.live import Live, define, wait_started
from tests.effort import LONG
from tests.faults.support import (
    INTERVENTIONS,
    alive,
    assert_sound,
    finished_counts,
    leader,
    signal_group,
    wait_finished,
)
from tests.faults.test_messages import Queues
from tests.services import until

BACKLOG = 100_000 if LONG else 10_000
"""Ready tasks that no worker takes."""
STALL_SECONDS = 300 if LONG else 60
"""How long they wait; the watcher looks for lost messages every 2 s, and after 10 s."""
WIDTH = 100_000 if LONG else 20_000
"""Tasks of one flow that are all ready when it is registered."""
SLOWEST = 50.0
"""Tasks per second that any machine gets done."""
QUEUES = ("default", "east", "west")
TAKEN = 8
"""Most messages that a worker of two processes has taken and not claimed or answered."""


@pytest.fixture
def queues(live: Live) -> Iterator[Queues]:
    """The messages that wait on this test's Redis."""
    made = Queues(live)
    yield made
    made.close()


def start_leader(live: Live) -> None:
    """Start a worker that leads and serves a queue without tasks."""
    live.site.start("-Q", "elsewhere", "-c", "1").wait_ready()
    until(lambda: leader(live.site))


def interventions() -> int:
    """What the watcher had to repair, in all flows."""
    return HistoryEntry.objects.filter(verb__in=INTERVENTIONS).count()


def messages(queues: Queues) -> int:
    """Messages of all queues."""
    return sum(queues.length(name) for name in QUEUES)


def assert_steady(queues: Queues, number: int, seconds: float) -> None:
    """Assert that soon there are this many messages, for so many seconds no others, and that nothing is repaired."""
    until(lambda: messages(queues) >= number, what=lambda: f"{messages(queues)} messages")
    end = time.monotonic() + seconds

    def over() -> bool:
        assert (messages(queues), interventions()) == (number, 0)
        return time.monotonic() > end

    until(over, 2 * seconds, poll=0.5)


def assert_each_started_once(*flows: Flow) -> None:
    """Assert that no task of these flows was claimed more than once."""
    assert not Task.objects.filter(task_flow_id__in=[flow.pk for flow in flows]).exclude(attempt=1).exists()


@pytest.mark.fault("a backlog waits for a busy worker")
def test_a_backlog_is_not_sent_again(live: Live, queues: Queues, gate: Path) -> None:
    """Several queues and priorities; the workers that serve them are busy, and another leads."""
    start_leader(live)
    for worker in [live.site.start("-Q", ",".join(QUEUES), "-c", "1") for _ in range(2)]:
        worker.wait_ready()
    waiting = {"program": "Gate", "parameters": {"path": str(gate), "seconds": 10 * STALL_SECONDS}}
    busy = engine.register(define({1: [], 2: []}, {1: waiting, 2: waiting}))
    wait_started(busy, 1, 2)
    width = len(QUEUES) * FIRST_SENT
    steps = {
        seq: {"queue": ("", "east", "west")[seq % 3], "task_priority": (-10, 0, 5, 10)[seq % 4]}
        for seq in range(1, width + 1)
    }
    name = define({seq: [] for seq in steps}, steps, program="Noop")
    flows = [engine.register(name, priority=number % 10 - 5) for number in range(BACKLOG // width)]
    assert_steady(queues, len(flows) * width, STALL_SECONDS)
    gate.touch()
    wait_finished(live, busy, *flows, seconds=30 + BACKLOG / SLOWEST)
    assert_sound(busy, *flows)
    assert_each_started_once(busy, *flows)
    assert interventions() == 0


@pytest.mark.fault("a wide flow waits for a worker")
def test_deferred_tasks_wait_without_messages(live: Live, queues: Queues) -> None:
    """The first few are sent, not again, and the others follow them once there is a worker."""
    start_leader(live)
    flow = engine.register(define({seq: [] for seq in range(1, WIDTH + 1)}, program="Noop"))
    assert_steady(queues, FIRST_SENT, conf.get().RESEND_AFTER + 5)
    live.site.start_all(2)
    wait_finished(live, flow, seconds=30 + WIDTH / SLOWEST)
    assert_sound(flow)
    assert_each_started_once(flow)
    assert interventions() == 0


if LONG:

    @pytest.mark.fault("a backlog waits for a worker that is frozen")
    def test_the_backlog_of_a_frozen_worker_is_not_sent_again(live: Live, queues: Queues) -> None:
        """Only what the worker had taken when it was frozen goes to another."""
        start_leader(live)
        live.site.start_all(2)
        stopped = live.site.workers[-1]
        width = BACKLOG // 10
        name = define({seq: [] for seq in range(1, width + 1)}, program="Noop")
        flows = [engine.register(name) for _ in range(2)]
        until(lambda: finished_counts(*[flow.pk for flow in flows]).total() > width / 2)
        signal_group(stopped, signal.SIGSTOP)
        flows += [engine.register(name) for _ in range(8)]
        end = time.monotonic() + STALL_SECONDS
        until(lambda: time.monotonic() > end, 2 * STALL_SECONDS)
        assert interventions() <= TAKEN
        signal_group(stopped, signal.SIGCONT)
        wait_finished(live, *flows, seconds=30 + BACKLOG / SLOWEST)
        assert alive(live.site)
        assert_sound(*flows)
        assert interventions() <= TAKEN
