"""Children and pools while workers are killed: nothing is lost, no limit is exceeded, no slot leaks."""

from __future__ import annotations

import random
import time

import pytest

from flowerapp import engine, signals
from flowerapp.core import programs
from flowerapp.models import Flow, Hook, Task
from flowerapp.states import Status
from flowerapp.workflows import classes
from tests.acceptance import occupancy
from tests.acceptance.live import Live, define
from tests.effort import LONG
from tests.faults.support import WORKER_SECONDS, assert_sound, kill_worker, wait_finished
from tests.ledger import LEDGER
from tests.probe.workflows import VARIABLE, deadly
from tests.services import until

CHILDREN = 10_000 if LONG else 2_000
FLOWS = 200
SLOTS = 3
HOOK_SECONDS = 30.0


@pytest.mark.fault("a process is killed while it delivers an event", within=HOOK_SECONDS)
def test_events_of_a_killed_process_are_delivered(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event kills the process that first delivers it: of eleven, eight do."""
    monkeypatch.setattr(programs, "_programs", dict(programs._programs))
    monkeypatch.setattr(signals, "_methods", {})
    monkeypatch.setattr(classes, "_classes", {})
    live.site.environment[VARIABLE] = "1"
    live.site.start_all(2)
    flow = deadly().register()
    begun = time.monotonic()
    until(lambda: "all_over" in noted(flow), 4 * HOOK_SECONDS, what=lambda: str(noted(flow)) + live.news[-3000:])
    live.finish(flow)
    deaths = len(list(live.site.state.glob("died *")))
    LEDGER.recovered((time.monotonic() - begun) / deaths)
    assert deaths == 7
    names = noted(flow)
    assert names[0] == "start_flow"
    assert {name: names.count(name) for name in ("task_over", "task_all_over", "all_over")} == {
        "task_over": 3,
        "task_all_over": 2,
        "all_over": 1,
    }
    until(lambda: not Hook.objects.exists(), HOOK_SECONDS)
    assert_sound(flow)


def noted(flow: Flow) -> list[str]:
    """What the hooks have noted, each event once, in the order in which it happened."""
    notes = engine.get_state(flow.pk).get("heard", [])
    return [name for _, name in sorted({note[0]: note[1] for note in notes}.items())]


def done(flow: Flow) -> int:
    """Tasks of a flow that have finished."""
    return flow.tasks.filter(exec_status=Status.FINISH).count()


@pytest.mark.fault("a worker is killed among thousands of children", within=WORKER_SECONDS)
def test_a_worker_is_killed_among_thousands_of_children(live: Live) -> None:
    occupancy.record()
    live.site.start_all(2, 2)
    steps = {1: {"child_program": "Noop", "max_concurrency": 10, "parameters": {"number": CHILDREN}}}
    flow = engine.register(define({1: [], 2: [1]}, {**steps, 2: {"program": "Noop"}}, program="Spread"))
    until(lambda: done(flow) > CHILDREN // 3, 120)
    kill_worker(live.site.workers[0])
    at = done(flow)
    wait_finished(live, flow, seconds=300)
    assert at < CHILDREN
    assert_sound(flow)
    outputs = engine.get_task(flow.pk, 1).output
    assert outputs is not None
    assert len(outputs) == CHILDREN
    assert occupancy.most(occupancy.of_children(flow.pk)) <= 10


@pytest.mark.fault("workers are killed under a pool", within=WORKER_SECONDS)
def test_workers_are_killed_under_a_pool(live: Live) -> None:
    """Six processes in three workers, of which two are killed at random moments and replaced."""
    chance = random.Random(7)  # noqa: S311 - the same moments each time
    engine.set_pool("shared", SLOTS)
    occupancy.record()
    live.site.start_all(2, 2, 2)
    nap = {"program": "Nap", "pool": "shared", "parameters": {"seconds": 0.1}}
    names = [define({1: [], 2: [1]}, {2: nap}, program="Noop") for _ in range(4)]
    flows = [engine.register(names[number % 4]) for number in range(FLOWS)]
    pooled = Task.objects.filter(pool="shared", exec_status=Status.FINISH)
    for part in (1, 2):
        until(lambda part=part: pooled.count() >= part * FLOWS // 4 + chance.randrange(10), 120)  # type: ignore[misc]
        victim = chance.choice(live.site.workers)
        kill_worker(victim)
        live.site.stop(victim)
        live.site.start_all(2)
    wait_finished(live, *flows, seconds=180)
    assert_sound(*flows)
    moments = occupancy.of_pool("shared")
    assert occupancy.most(moments) <= SLOTS
    assert Task.objects.holding("shared").count() == 0
    LEDGER.recovered(occupancy.longest_idle(moments, 1))
    assert occupancy.longest_idle(moments, 1) < WORKER_SECONDS
    quiet = [engine.register(names[number % 4]) for number in range(40)]
    wait_finished(live, *quiet, seconds=60)
    after = occupancy.of_pool("shared")[len(moments) :]
    assert occupancy.most(after) == SLOTS
