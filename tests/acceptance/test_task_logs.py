"""Task logs on real workers: to the right task, live, bounded, and what survives a kill."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.models import Flow, Log
from flowerapp.states import Status
from tests.acceptance.live import Live, define, starts, task, wait_started
from tests.probe import tasks
from tests.services import until

SITES = pytest.mark.parametrize("shared_site", ["redis-2", "sqlite"], indirect=True)
own = pytest.mark.parametrize("own", ["redis"], indirect=True)


def single(program: str, **columns: Any) -> Flow:
    return engine.register(define({1: []}, {1: columns}, program=program))


def texts(flow: Flow, seq: int | None = None) -> list[str]:
    """The lines of a flow or a task."""
    lines = Log.objects.filter(task_flow=flow).order_by("id")
    return list((lines if seq is None else lines.filter(task_exec_seq=seq)).values_list("message", flat=True))


def until_logged(flow: Flow, *messages: str, seconds: float = 20) -> None:
    """Wait until the log of a flow has these lines."""
    until(lambda: set(messages) <= set(texts(flow)), seconds, what=lambda: str(texts(flow)[-20:]))


@SITES
def test_lines_of_concurrent_tasks_go_to_the_right_task(live: Live) -> None:
    width, lines = 12, 10
    step = {"program": "Speak", "parameters": {"lines": lines, "pause": 0.01}}
    flow = engine.register(define({seq: [] for seq in range(1, width + 1)}, dict.fromkeys(range(1, width + 1), step)))
    live.finish(flow)
    until(lambda: len(texts(flow)) == width * lines)
    for seq in range(1, width + 1):
        assert texts(flow, seq) == [f"says {seq}:{number}" for number in range(lines)]
    assert set(Log.objects.filter(task_flow=flow).values_list("source", flat=True)) == {"shop.speaker", "stdout"}
    live.assert_faultless(flow)


@SITES
def test_a_running_task_can_be_followed(live: Live, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    flow = single("SpeakAndStay", parameters={"path": str(gate)})
    wait_started(flow, 1)
    begun = time.monotonic()
    until_logged(flow, "attempt 1")
    assert time.monotonic() - begun < 10
    assert task(flow, 1).status is Status.RUNNING
    gate.touch()
    live.finish(flow)


@SITES
def test_print_without_an_end_and_a_process_of_its_own(live: Live) -> None:
    flow = single("Speak", parameters={"lines": 4, "end": ""})
    live.finish(flow)
    until_logged(flow, "says 1:0", "says 1:1says 1:3", "says 1:2")
    limited = single("SpeakWithLimit")
    live.wait(limited, Status.SUSPEND)
    until_logged(limited, "limited", "before the error")


@SITES
def test_a_hundred_thousand_lines_are_bounded(live: Live) -> None:
    flow = single("Speak", parameters={"lines": 100_000})
    live.finish(flow, seconds=120)
    until_logged(flow, "says 1:99999")
    assert len(texts(flow)) < 10_000
    assert any(text.endswith("lines left out") for text in texts(flow))


@pytest.mark.parametrize("shared_site", ["redis-2"], indirect=True)
def test_a_thread_of_the_program_and_a_task_of_the_host(live: Live) -> None:
    flow = single("SpeakInThreads")
    host = single(tasks.speaking.name, parameters={"x": 1})
    live.finish(flow, host)
    until_logged(flow, "in a thread")
    until_logged(host, "by the task's logger 1", "printed 1")


@pytest.mark.parametrize("shared_site", ["redis-2"], indirect=True)
def test_the_workers_log_has_the_lines_as_before(live: Live) -> None:
    flow = single("Speak", parameters={"lines": 2})
    live.finish(flow)
    until_logged(flow, "says 1:0", "says 1:1")
    assert live.news.count("says 1:0") == 1
    assert live.news.count("says 1:1") == 1


@own
def test_lines_survive_a_kill(own: Live, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.node.add_marker("fault")
    own.site.start_all(2)
    gate = tmp_path / "gate"
    flow = single("SpeakAndStay", parameters={"path": str(gate)})
    wait_started(flow, 1)
    until_logged(flow, "attempt 1")
    os.kill(starts(flow)[0].pid, signal.SIGKILL)
    until_logged(flow, "attempt 1", "attempt 2", seconds=40)
    gate.touch()
    own.finish(flow)
    assert [line.attempt for line in Log.objects.filter(task_flow=flow).order_by("id")] == [1, 2]


@own
def test_the_last_lines_are_written_when_a_worker_is_stopped(own: Live) -> None:
    own.site.start_all(2)
    flow = single("Speak", parameters={"lines": 2})
    own.finish(flow)
    for worker in own.site.workers:
        worker.process.terminate()
    for worker in own.site.workers:
        worker.process.wait(30)
    assert set(texts(flow)) == {"says 1:0", "says 1:1"}
