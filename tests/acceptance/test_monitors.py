"""What monitors see, by Celery's task events, of tasks that a process continues with: each as if it had a message."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.app import app_or_default
from django.db.models.functions import Extract

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import Live, define, task, wait_started
from tests.acceptance.monitors import EventMonitor, event_monitor
from tests.engine.support import check
from tests.probe.programs import ListedError
from tests.services import until

LENGTH = 40
CHAIN = {seq: [seq - 1] if seq > 1 else [] for seq in range(1, LENGTH + 1)}
EACH = ["task-received", "task-started", "task-succeeded"]
SUCCESSES = {key: ["SUCCESS"] for key in CHAIN}
BROKERS = pytest.mark.parametrize("own", ["redis", "amqp"], indirect=True)


@pytest.fixture(autouse=True)
def _continues_long(own: Live) -> None:
    own.site.environment["FLOWER_TEST_CONTINUE_SECONDS"] = "5"


@pytest.fixture
def monitor(own: Live) -> Iterator[EventMonitor]:
    with event_monitor(app_or_default()) as monitor:
        yield monitor


def warm(live: Live, path: Path | None = None) -> None:
    """Let the one process of the only worker know these programs as quick."""
    gate: dict[str, Any] = {"program": "Gate", "parameters": {"path": str(path)}} if path else {}
    until_first = {"program": "FailUntil", "parameters": {"start": 1}}
    steps = {1: gate, 3: until_first, 4: {"program": "FailUnlisted"}}
    flow = engine.register(define({1: [], 2: [1], 3: [2], 4: [3]}, steps))
    live.wait(flow, Status.SUSPEND)


def without_message(flow: Flow) -> int:
    """Tasks of a flow that a process continued with."""
    return flow.tasks.filter(sent_ts=None, attempt__gt=0).count()


def await_states(live: Live, monitor: EventMonitor, flow: Flow, expected: dict[int, list[str]]) -> None:
    """Wait until the monitor shows these states."""
    until(lambda: monitor.states(flow.pk) == expected, what=lambda: f"{monitor.kinds(flow.pk)}\n{live.news[-3000:]}")


@BROKERS
def test_a_monitor_sees_each_task_that_a_process_continued_with(own: Live, monitor: EventMonitor) -> None:
    """Once, with a name, a worker, times in order, and the task before it; many events come in one message."""
    own.site.start("-c", "1", "-E").wait_ready()
    warm(own)
    before = monitor.messages
    flow = own.run(CHAIN)
    await_states(own, monitor, flow, SUCCESSES)
    assert without_message(flow) > LENGTH / 2
    assert list(monitor.kinds(flow.pk).values()) == [EACH] * LENGTH
    shown = {seq: tasks[0] for seq, tasks in monitor.tasks(flow.pk).items()}
    (worker,) = own.site.workers
    ends = dict(flow.tasks.values_list("task_exec_seq", Extract("finished_ts", "epoch")))
    for seq, seen in shown.items():
        assert seen.name == "flowerapp.Record"
        assert seen.worker.hostname.startswith(f"{worker.name}@")
        assert seen.args == repr((flow.pk, seq))
        assert seen.received <= seen.started <= seen.succeeded
        assert 0 < seen.runtime <= seen.succeeded - seen.started + 0.1
        assert abs(seen.succeeded - float(ends[seq])) < 1
        assert seq == 1 or seen.parent_id == shown[seq - 1].uuid
    assert len({seen.root_id for seen in shown.values()}) == 1
    by_time = [seen.uuid for _, seen in monitor.state.tasks_by_time() if seen in shown.values()]
    assert by_time[::-1] == [shown[seq].uuid for seq in CHAIN]
    assert monitor.messages - before < 2 * LENGTH
    own.assert_faultless(flow)
    check(flow)


def test_a_monitor_sees_how_a_task_ended_that_came_without_a_message(own: Live, monitor: EventMonitor) -> None:
    """By an error, and by a retry, which has a message of its own."""
    own.site.start("-c", "1", "-E").wait_ready()
    warm(own)
    failing: dict[int, dict[str, Any]] = {
        2: {"program": "FailUntil", "parameters": {"start": 2}},
        3: {"program": "FailUnlisted"},
    }
    flow = engine.register(define({1: [], 2: [1], 3: [2]}, failing))
    own.wait(flow, Status.SUSPEND)
    await_states(own, monitor, flow, {1: ["SUCCESS"], 2: ["RETRY", "SUCCESS"], 3: ["FAILURE"]})
    retried, (failed,) = monitor.tasks(flow.pk)[2][0], monitor.tasks(flow.pk)[3]
    assert failed.exception == repr(KeyError("not listed"))
    assert "fail_unlisted" in failed.traceback
    assert retried.exception == repr(ListedError("start 1 of 2"))
    assert task(flow, 3).sent_ts is None


def test_a_task_that_takes_long_is_shown_as_started_meanwhile(own: Live, monitor: EventMonitor, tmp_path: Path) -> None:
    """And the one that its process had the message of is shown as done."""
    own.site.start("-c", "1", "-E").wait_ready()
    (tmp_path / "open").touch()
    warm(own, tmp_path / "open")
    flow = engine.register(
        define({1: [], 2: [1]}, {2: {"program": "Gate", "parameters": {"path": f"{tmp_path}/shut"}}})
    )
    wait_started(flow, 2)
    await_states(own, monitor, flow, {1: ["SUCCESS"], 2: ["STARTED"]})
    assert task(flow, 2).sent_ts is None
    (tmp_path / "shut").touch()
    own.wait(flow, Status.FINISH)
    await_states(own, monitor, flow, {1: ["SUCCESS"], 2: ["SUCCESS"]})
    assert list(monitor.kinds(flow.pk).values()) == [EACH] * 2


@pytest.mark.fault("a pool process is killed at a task that a monitor sees without a message")
def test_a_process_that_is_killed_at_such_a_task_is_shown_under_its_id(
    own: Live, monitor: EventMonitor, tmp_path: Path
) -> None:
    own.site.start("-c", "1", "-E").wait_ready()
    (tmp_path / "open").touch()
    warm(own, tmp_path / "open")
    flow = engine.register(
        define({1: [], 2: [1], 3: [2]}, {2: {"program": "Gate", "parameters": {"path": f"{tmp_path}/shut"}}})
    )
    wait_started(flow, 2)
    await_states(own, monitor, flow, {1: ["SUCCESS"], 2: ["STARTED"]})
    pid = task(flow, 2).pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "shut").touch()
    own.wait(flow, Status.FINISH)
    await_states(own, monitor, flow, {1: ["SUCCESS"], 2: ["RETRY", "SUCCESS"], 3: ["SUCCESS"]})
    check(flow)


def control(verb: str) -> dict[str, Any]:
    """Ask all workers to switch their events on or off; what they say."""
    (answer,) = getattr(app_or_default().control, verb)(reply=True)
    return dict(answer)


def test_events_are_switched_on_and_off_while_the_worker_runs(own: Live, monitor: EventMonitor) -> None:
    """Off, none is sent, and nothing else changes."""
    own.site.start("-c", "1").wait_ready()
    warm(own)
    unseen = own.run(CHAIN)
    control("enable_events")
    seen = own.run(CHAIN)
    await_states(own, monitor, seen, SUCCESSES)
    control("disable_events")
    unseen_again = own.run(CHAIN)
    control("enable_events")
    last = own.run(CHAIN)
    await_states(own, monitor, last, SUCCESSES)  # by then those of the flow before would have come
    assert monitor.kinds(unseen.pk) == monitor.kinds(unseen_again.pk) == {}
    assert all(without_message(flow) > LENGTH / 2 for flow in (unseen, seen, unseen_again, last))


def test_the_sent_event_is_sent_where_the_host_asks_for_it(own: Live, monitor: EventMonitor) -> None:
    own.site.environment["FLOWER_TEST_SENT_EVENTS"] = "1"
    own.site.start("-c", "1", "-E").wait_ready()
    warm(own)
    flow = own.run(CHAIN)
    await_states(own, monitor, flow, SUCCESSES)
    first, *others = monitor.kinds(flow.pk).values()
    assert others == [["task-sent", *EACH]] * (LENGTH - 1)
    assert first in (EACH, ["task-sent", *EACH])  # this process, which registered it, has not the setting
    queues = {event["queue"] for event in monitor.events if event["type"] == "task-sent"}
    assert queues == {"default"}
