"""A worker that is asked to stop lets running tasks end for a while, and then hands them back; none is a rescue."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from flowerapp import engine
from flowerapp.models import Flow, HistoryEntry, Worker
from flowerapp.states import Status
from tests.acceptance.live import Live, define, start_counts, task, wait_started
from tests.probe.tasks import wait_for
from tests.services import WorkerProcess, until

GRACE = 2
END_SECONDS = 8
"""Seconds that the end of a worker may take after the grace."""
POOLS = ["prefork", "threads", "solo"]
LONG = 60
"""A grace that no test waits for."""

redis = pytest.mark.parametrize("own", ["redis"], indirect=True)
brokers = pytest.mark.parametrize("own", ["redis", "amqp"], indirect=True)


def start(live: Live, grace: float, *options: str) -> WorkerProcess:
    """A worker with a grace."""
    live.site.environment["FLOWER_TEST_STOP_GRACE"] = str(grace)
    worker = live.site.start(*(options or ("-c", "2")))
    worker.wait_ready()
    return worker


def gated(gate: Path, program: str = "Gate") -> Flow:
    """A flow of two tasks; the first runs until the file exists, or for ten minutes."""
    steps = {1: {"program": program, "parameters": {"path": str(gate), "seconds": 600}}}
    flow = engine.register(define({1: [], 2: [1]}, steps))
    wait_started(flow, 1)
    return flow


def ask(worker: WorkerProcess, number: int = signal.SIGTERM) -> float:
    """Ask a worker to stop; seconds until it has ended, with its processes."""
    begun = time.monotonic()
    worker.process.send_signal(number)
    return ended(worker, begun)


def ended(worker: WorkerProcess, begun: float) -> float:
    """Wait until a worker has ended, with its processes; seconds since ``begun``."""
    until(lambda: worker.process.poll() is not None, 45, what=lambda: worker.text[-5000:])
    until(lambda: not group_lives(worker.process.pid), 5)
    return time.monotonic() - begun


def group_lives(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def assert_handed_back(flow: Flow, times: int = 1) -> None:
    """The first task waits again, and nothing counts as lost."""
    row = task(flow, 1)
    assert (row.status, row.rescues, row.attempt) == (Status.WAIT, 0, times)
    assert list(flow.history.values_list("verb", flat=True)) == ["hand_back"] * times
    assert not Worker.objects.filter(stopped_ts=None).exists()


@brokers
@pytest.mark.parametrize("pool", POOLS)
def test_what_still_runs_is_handed_back(own: Live, tmp_path: Path, pool: str) -> None:
    worker = start(own, GRACE, "-P", pool, "-c", "2")
    flow = gated(tmp_path / "gate")
    assert GRACE <= ask(worker) < GRACE + END_SECONDS
    assert_handed_back(flow)
    (tmp_path / "gate").touch()
    own.site.start_all(1)
    own.finish(flow, seconds=15)
    assert start_counts(flow) == {1: 2, 2: 1}
    assert list(flow.history.values_list("verb", flat=True)) == ["hand_back"]
    own.assert_faultless(flow)


@redis
@pytest.mark.parametrize("pool", POOLS)
def test_what_ends_within_the_grace_is_done(own: Live, tmp_path: Path, pool: str) -> None:
    worker = start(own, LONG, "-P", pool, "-c", "2")
    flow = gated(tmp_path / "gate")
    begun = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: "hutdown" in worker.text)
    (tmp_path / "gate").touch()
    assert ended(worker, begun) < END_SECONDS
    assert task(flow, 1).status is Status.FINISH
    assert not HistoryEntry.objects.exists()


@redis
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("pool", POOLS)
def test_a_second_signal_ends_the_grace(own: Live, tmp_path: Path, pool: str, number: int) -> None:
    worker = start(own, LONG, "-P", pool, "-c", "2")
    flow = gated(tmp_path / "gate")
    worker.process.send_signal(number)
    until(lambda: "hutdown" in worker.text)
    assert ask(worker, number) < END_SECONDS
    assert_handed_back(flow)


@redis
def test_a_signal_to_the_whole_group_lets_tasks_end(own: Live, tmp_path: Path) -> None:
    """As systemd sends it, to the processes of the pool too."""
    worker = start(own, LONG)
    flow = gated(tmp_path / "gate")
    begun = time.monotonic()
    os.killpg(worker.process.pid, signal.SIGTERM)
    until(lambda: "hutdown" in worker.text)
    (tmp_path / "gate").touch()
    assert ended(worker, begun) < END_SECONDS
    assert (task(flow, 1).status, task(flow, 1).attempt) == (Status.FINISH, 1)
    assert not HistoryEntry.objects.exists()


@redis
@pytest.mark.parametrize("program", ["Gate", "Stubborn"])
def test_a_cold_shutdown_hands_back_too(own: Live, tmp_path: Path, program: str) -> None:
    own.site.environment["FLOWER_TEST_SOFT_SHUTDOWN"] = "1"
    worker = start(own, LONG)
    flow = gated(tmp_path / "gate", program)
    assert ask(worker, signal.SIGQUIT) < END_SECONDS
    assert_handed_back(flow)


@redis
def test_many_stops_of_a_long_task_are_no_rescues(own: Live, tmp_path: Path) -> None:
    """One that does not heed the request to end, at that."""
    worker = start(own, 0)
    flow = gated(tmp_path / "gate", "Stubborn")
    for stops in range(1, 6):
        assert ask(worker) < END_SECONDS
        assert_handed_back(flow, stops)
        worker = start(own, 0)
        wait_counts(flow, stops + 1)
    (tmp_path / "gate").touch()
    own.finish(flow)
    assert start_counts(flow) == {1: 6, 2: 1}


def wait_counts(flow: Flow, number: int) -> None:
    """Wait until the first task has been started so often."""
    until(lambda: start_counts(flow)[1] == number, 15)


@redis
def test_no_task_is_continued_with(own: Live) -> None:
    own.site.environment["FLOWER_TEST_CONTINUE_SECONDS"] = "600"
    worker = start(own, LONG, "-c", "1")
    nap = {"program": "Nap", "parameters": {"seconds": 0.1}}
    seqs = range(1, 301)
    flow = engine.register(define({seq: [seq - 1] if seq > 1 else [] for seq in seqs}, dict.fromkeys(seqs, nap)))
    until(flow.tasks.filter(sent_ts=None, attempt=1).exists)
    assert ask(worker) < END_SECONDS
    assert not flow.tasks.filter(exec_status=Status.RUNNING).exists()
    done = flow.tasks.filter(exec_status=Status.FINISH).count()
    start(own, LONG, "-c", "1")
    until(lambda: flow.tasks.filter(exec_status=Status.FINISH).count() > done, 15)
    assert set(flow.history.values_list("verb", flat=True)) <= {"hand_back"}


@redis
@pytest.mark.parametrize("pool", POOLS)
def test_tasks_outside_of_flows_are_waited_for(own: Live, tmp_path: Path, pool: str) -> None:
    """As ever in Celery, though tasks of flows beside them are handed back."""
    worker = start(own, 0, "-P", pool, "-c", "2")
    wait_for.delay(str(tmp_path / "begun"), str(tmp_path / "end"))
    until((tmp_path / "begun").exists)
    flows = [] if pool == "solo" else [gated(tmp_path / "gate")]
    begun = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    for flow in flows:
        until(lambda: task(flow, 1).status is Status.WAIT, END_SECONDS)  # noqa: B023 - used at once
    until(lambda: time.monotonic() > begun + END_SECONDS, 2 * END_SECONDS)
    assert worker.process.poll() is None
    (tmp_path / "end").touch()
    ended(worker, begun)
    assert (tmp_path / "end").read_text() == "seen"
