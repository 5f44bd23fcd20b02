"""Limits on real workers: never more than they say, no slot idle, the most urgent next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.models import Flow, Task
from flowerapp.states import Status
from tests.acceptance import occupancy
from tests.acceptance.live import Live, deadlocks, define, starts, wait_started
from tests.probe import duties
from tests.services import Site, threads, until

CHILDREN = {"": 500, "long": 10_000}.get(os.environ.get("FLOWER_TEST_FAULTS", ""), 2_000)
"""As many as the tests have time for."""
MOST_MEGABYTES = 200
IDLE_SECONDS = 5.0
"""Longest time that a slot may be idle: far more than a handover takes on a busy machine. A slot that the end of its
task does not pass on stays idle for the rest of the flows, as the duty that would repair it is left out."""
SLOTS = 3

own = pytest.mark.parametrize("own", ["redis"], indirect=True)


def megabytes(site: Site) -> int:
    """The most memory that any process of the workers ever had."""
    groups = {worker.process.pid for worker in site.workers}
    peaks = [0]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(path.name)) in groups:
                lines = (path / "status").read_text().splitlines()
                peaks += [int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")]
        except OSError:
            continue
    return max(peaks)


@own
def test_thousands_of_children_at_most_ten_at_once(own: Live) -> None:
    occupancy.record()
    own.site.start_all(6, 6)
    steps = {1: {"child_program": "Noop", "max_concurrency": 10, "parameters": {"number": CHILDREN}}}
    flow = engine.register(define({1: []}, steps, program="Spread"))
    until(lambda: engine.get_flow(flow.pk).ended, 300, poll=0.2)
    own.finish(flow)
    assert flow.output == [{}] * CHILDREN
    most = occupancy.most(occupancy.of_children(flow.pk))
    assert 1 < most <= 10
    assert megabytes(own.site) < MOST_MEGABYTES
    assert deadlocks() == 0
    own.assert_faultless(flow)


def pooled_workflows() -> list[str]:
    """Four workflows of two steps whose second is in the pool."""
    engine.set_pool("shared", SLOTS)
    nap = {"program": "Nap", "pool": "shared", "parameters": {"seconds": 0.05}}
    return [define({1: [], 2: [1]}, {2: nap}, program="Noop") for _ in range(4)]


def assert_shared(flows: list[Flow]) -> None:
    """No more than the slots ran, all of them did, and none was idle."""
    moments = occupancy.of_pool("shared")
    assert occupancy.most(moments) == SLOTS
    assert Task.objects.filter(task_flow__in=flows, pool="shared", exec_status=Status.FINISH).count() == len(flows)
    idle = occupancy.longest_idle(moments, SLOTS)
    print(f"longest idle {idle:.3f} s")  # noqa: T201
    assert idle <= IDLE_SECONDS


@own
def test_a_pool_of_three_slots_under_four_workflows(own: Live) -> None:
    own.site.environment[duties.VARIABLE] = "admit"
    occupancy.record()
    own.site.start_all(3, 3)
    names = pooled_workflows()
    flows = [engine.register(names[number % 4]) for number in range(200)]
    own.finish(*flows, seconds=120)
    assert_shared(flows)
    assert deadlocks() == 0
    own.assert_faultless(*flows)


WAITING = 1000


def urgent_starts_next(live: Live, gate: Path, **columns: object) -> None:
    """With one process busy and many waiting at 0, one at −20 is the next to start."""
    busy = engine.register(define({1: []}, {1: {"parameters": {"path": str(gate)}, **columns}}, program="Gate"))
    wait_started(busy, 1)
    many = define({seq: [] for seq in range(1, WAITING + 1)}, {seq: dict(columns) for seq in range(1, WAITING + 1)})
    waiting = engine.register(many)
    until(lambda: not Task.objects.filter(task_flow=waiting, admitted=True).unsent().exists())
    urgent = engine.register(define({1: []}, {1: dict(columns)}), priority=-20)
    gate.touch()
    wait_started(urgent, 1, seconds=60)
    began = starts(urgent)[0].ts
    assert len([start for start in starts(waiting) if start.ts < began]) == 0
    engine.cancel(waiting.pk)
    live.finish(busy, urgent)


@pytest.mark.parametrize("own", ["redis", "amqp"], indirect=True)
def test_the_most_urgent_starts_next(own: Live, tmp_path: Path) -> None:
    own.site.start_all(1)
    urgent_starts_next(own, tmp_path / "gate")


@own
def test_the_most_urgent_in_a_waiting_list_starts_next(own: Live, tmp_path: Path) -> None:
    engine.set_pool("one", 1)
    own.site.start_all(2)
    urgent_starts_next(own, tmp_path / "gate", pool="one")


@pytest.mark.parametrize("own", ["sqlite"], indirect=True)
def test_the_most_urgent_starts_next_in_standalone(own: Live, tmp_path: Path) -> None:
    assert connection.vendor == "sqlite"
    with own.site.entered() as app, threads(app, concurrency=1):
        urgent_starts_next(own, tmp_path / "gate")


@own
def test_a_limited_workflow_takes_one_flow_after_the_other(own: Live) -> None:
    occupancy.record()
    own.site.start_all(4)
    name = define({1: [], 2: [1], 3: [1], 4: [2, 3]}, program="Noop")
    engine.plan_of(name)
    from flowerapp.models import Workflow

    Workflow.objects.create(task_id=name, max_active_flows=2)
    flows = [engine.register(name) for _ in range(40)]
    own.finish(*flows)
    times = sorted([(flow.started_ts, 1) for flow in flows] + [(flow.finished_ts, -1) for flow in flows])
    going = most = 0
    for _, change in times:
        going += change
        most = max(most, going)
    assert most == 2
    own.assert_faultless(*flows)
