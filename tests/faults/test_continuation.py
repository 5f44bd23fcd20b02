"""Processes that are killed at a task that they continued with, without a message."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flowerapp import engine
from flowerapp.core.messages import FIRST_SENT
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import Live, define, start_counts, task
from tests.faults.support import (
    CHILD_SECONDS,
    WORKER_SECONDS,
    assert_effects,
    assert_sound,
    database_clock,
    kill_worker,
    recovered,
    wait_finished,
)
from tests.probe.crash import VARIABLE, Step, Wish
from tests.services import until

CHAIN = {1: [], 2: [1], 3: [2], 4: [3]}
WIDE: dict[int, list[int]] = {seq: [] for seq in range(1, 4 * FIRST_SENT)} | {
    4 * FIRST_SENT: list(range(1, 4 * FIRST_SENT))
}
STEPS = (Step.CLAIMED, Step.PERFORMED, Step.FINISHED)
TIMES = 3


@pytest.fixture
def wishes(live: Live, tmp_path: Path) -> Path:
    """A directory of wishes that workers heed which are started from now on."""
    live.site.environment[VARIABLE] = str(tmp_path)
    return tmp_path


def warm(live: Live) -> None:
    """Let the processes of the worker know the program Effect as quick."""
    wait_finished(
        live, engine.register(define({seq: [] for seq in range(1, 3 * FIRST_SENT)}, program="Effect")), seconds=60
    )


def held(live: Live, directory: Path, edges: dict[int, list[int]], seq: int, step: Step) -> tuple[Flow, Wish]:
    """A flow that has come to a step of a task, whose process continued with it."""
    name = define(edges, program="Effect")
    for _ in range(20):
        warm(live)
        flow = engine.register(name)
        wish = Wish(directory, flow.pk, seq, step)
        wish.make()
        until(lambda: wish.pid or not flow.tasks.exclude(exec_status=Status.FINISH).exists())  # noqa: B023 - used at once
        if wish.pid and task(flow, seq).sent_ts is None:
            return flow, wish
        if wish.pid:
            os.kill(wish.pid, signal.SIGKILL)
    raise AssertionError(f"no process continued with task {seq}")


def kill_and_wait(live: Live, flow: Flow, wish: Wish, awaited: int, step: Step) -> None:
    """Kill the process, and assert that the flow continues in time."""
    since = database_clock()
    os.kill(until(lambda: wish.pid), signal.SIGKILL)
    recovered(flow, awaited, since, CHILD_SECONDS)
    wait_finished(live, flow, seconds=WORKER_SECONDS)
    assert_sound(flow)
    assert_effects(flow)
    assert sum(start_counts(flow).values()) == flow.tasks.count() + (step is Step.PERFORMED)


@pytest.mark.fault("a pool process is killed at a task that it continued with", within=CHILD_SECONDS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.value)
def test_a_process_is_killed_in_a_chain(live: Live, wishes: Path, step: Step) -> None:
    live.site.start_all(2)
    for _ in range(TIMES):
        flow, wish = held(live, wishes, CHAIN, 3, step)
        kill_and_wait(live, flow, wish, 4 if step is Step.FINISHED else 3, step)


@pytest.mark.fault("a pool process is killed at a deferred task", within=CHILD_SECONDS)
@pytest.mark.parametrize("step", STEPS[1:], ids=lambda step: step.value)
def test_a_process_is_killed_in_a_wide_flow(live: Live, wishes: Path, step: Step) -> None:
    """After the finish it has claimed the next already, and no other process knows of it."""
    live.site.start_all(2)
    for _ in range(TIMES):
        flow, wish = held(live, wishes, WIDE, FIRST_SENT + 2, step)
        running = flow.tasks.filter(exec_status=Status.RUNNING, pid=wish.pid).values_list("task_exec_seq")
        (seq,) = running.get()
        kill_and_wait(live, flow, wish, seq, step)


@pytest.mark.fault("a worker is killed at tasks that its processes continued with", within=WORKER_SECONDS)
def test_a_worker_is_killed(live: Live, wishes: Path) -> None:
    live.site.start_all(2)
    (victim,) = live.site.workers
    flow, wish = held(live, wishes, CHAIN, 3, Step.PERFORMED)
    live.site.start("-c", "2").wait_ready()
    since = database_clock()
    assert wish.pid
    kill_worker(victim)
    recovered(flow, 3, since, WORKER_SECONDS)
    wait_finished(live, flow, seconds=WORKER_SECONDS)
    assert_sound(flow)
    assert_effects(flow)
