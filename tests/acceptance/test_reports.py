"""Each failure is shown by the tools that hosts look at their workers with: log, Celery's signals, Sentry, Flower."""

from __future__ import annotations

import logging.handlers
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from celery import signals
from celery.app import app_or_default

from flowerapp import engine
from flowerapp.core import executor
from flowerapp.executors.celery.routes import ref_of
from flowerapp.models import Flow, HistoryEntry, Task
from flowerapp.states import Status
from tests.acceptance.live import Live, define, states, task
from tests.acceptance.monitors import FlowerMonitor, SentrySink, flower_monitor, sentry_sink
from tests.probe.tasks import autoretried
from tests.services import threads, until


@dataclass(frozen=True)
class Case:
    """A way to fail."""

    step: dict[str, Any]
    states: list[str]
    """What a monitor shows of each message."""
    error: str
    """What an error tracker calls the failure."""


CASES = {
    1: Case({"program": "FailUnlisted"}, ["FAILURE"], "KeyError"),
    2: Case(
        {"program": "FailUntil", "parameters": {"start": 99}, "max_retries": 1, "retry_delay": 0},
        ["RETRY", "FAILURE"],
        "ListedError",
    ),
    3: Case({"program": str(autoretried.name)}, ["RETRY", "RETRY", "FAILURE"], "ListedError"),
    4: Case({"program": "Misbehave", "parameters": {"how": "set"}}, ["FAILURE"], "InvalidValueError"),
    5: Case({"program": "Exits"}, ["FAILURE"], "AttemptError"),
}
"""An error, retries that are spent, a host task, an output that is none, an exit."""
LIMITED = Case(
    {"program": "Nap", "parameters": {"seconds": 60}, "time_limit": 1, "max_retries": 0}, ["FAILURE"], "TimeLimitError"
)
LOST = {1: Case({"program": "KillItself"}, ["RETRY", "RETRY", "RETRY", "FAILURE"], "ProcessLostError"), 2: LIMITED}
"""Processes that are killed; what their error tracker has not sent by then is lost with them."""


@pytest.fixture
def sentry(own: Live) -> Iterator[SentrySink]:
    with sentry_sink() as sink:
        own.site.environment["FLOWER_TEST_SENTRY_DSN"] = sink.dsn
        yield sink


@pytest.fixture
def flower(own: Live) -> Iterator[FlowerMonitor]:
    with flower_monitor(own.site) as monitor:
        yield monitor


def fail(live: Live, cases: dict[int, Case]) -> Flow:
    """A flow all of whose tasks have failed."""
    flow = engine.register(define({seq: [] for seq in cases}, {seq: case.step for seq, case in cases.items()}))
    until(lambda: set(states(flow).values()) == {Status.SUSPEND}, 60, what=lambda: live.news[-5000:])
    return flow


def logged(live: Live, flow: Flow) -> dict[int, list[tuple[str, int]]]:
    """``{task_exec_seq: [(level, attempt)]}`` of the lines about attempts that ended by an error."""
    pattern = rf"\[[^\]]*: (WARNING|ERROR)/[^\]]*\] flow {flow.pk} task (\d+) \(program \S+, attempt (\d+)\)"
    lines: dict[int, list[tuple[str, int]]] = {}
    for level, seq, attempt in re.findall(pattern, live.news):
        lines.setdefault(int(seq), []).append((level, int(attempt)))
    return lines


def levels(names: list[str]) -> list[tuple[str, int]]:
    """The same of the states that a monitor shows of a task."""
    return [("WARNING" if name == "RETRY" else "ERROR", number) for number, name in enumerate(names, start=1)]


@pytest.mark.parametrize("own", ["redis"], indirect=True)
@pytest.mark.fault("tasks end their process")
def test_sentry_and_flower_show_each_failure(own: Live, sentry: SentrySink, flower: FlowerMonitor) -> None:
    own.site.start("-c", "3", "-E").wait_ready()
    for cases in (CASES, LOST):
        flow = fail(own, cases)
        shown = {seq: case.states for seq, case in cases.items()}
        until(lambda: flower.states(flow.pk) == shown, what=lambda: f"{flower.states(flow.pk)}")  # noqa: B023 - at once
        for seq, messages in flower.tasks(flow.pk).items():
            assert {message["name"] for message in messages} == {f"flowerapp.{cases[seq].step['program']}"}
            assert all(message["exception"] for message in messages)
        assert logged(own, flow) == {seq: levels(case.states) for seq, case in cases.items()}
        errors = sorted(case.error for case in cases.values())
        until(lambda: kinds(sentry, flow) == errors, what=lambda: f"{kinds(sentry, flow)}")  # noqa: B023


@pytest.mark.parametrize("own", ["redis"], indirect=True)
def test_sentry_shows_the_failure_of_a_task_that_came_without_a_message(own: Live, sentry: SentrySink) -> None:
    own.site.environment["FLOWER_TEST_CONTINUE_SECONDS"] = "10"
    own.site.start_all(1)
    steps = {1: {"program": "Record"}, 2: {"program": "FailUnlisted"}}
    for _ in range(2):  # at the second time its process knows the program as quick
        flow = engine.register(define({1: [], 2: [1]}, steps))
        own.wait(flow, Status.SUSPEND)
    assert task(flow, 2).sent_ts is None
    until(lambda: kinds(sentry, flow) == ["KeyError"], what=lambda: f"{kinds(sentry, flow)}")
    assert sentry.of(flow.pk)[0]["tags"]["celery_task_id"].startswith(f"{flow.pk}:2:")
    until(lambda: logged(own, flow) == {2: [("ERROR", 1)]}, what=lambda: own.news[-3000:])


@pytest.mark.parametrize("own", ["redis"], indirect=True)
def test_a_monitor_does_not_show_as_running_what_waits(own: Live, flower: FlowerMonitor) -> None:
    own.site.start("-c", "1", "-E").wait_ready()
    flow = engine.register(define({1: []}, program="Waiting"))
    until(lambda: flower.states(flow.pk) == {1: ["IGNORED"]}, what=lambda: f"{flower.states(flow.pk)}")
    engine.wake(flow.pk, 1)
    until(lambda: flower.states(flow.pk) == {1: ["IGNORED", "SUCCESS"]}, what=lambda: f"{flower.states(flow.pk)}")


class Heard:
    """What Celery's signals said in this process: ``(signal, task's name, Celery's id, error)``."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str, str, str]] = []

    def on_failure(self, sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
        """A task has failed."""
        self.ends.append(("failure", sender.name, task_id, type(exception).__name__))

    def on_retry(self, sender: Any, request: Any, reason: Any, **_: Any) -> None:
        """A task is to be started again."""
        self.ends.append(("retry", sender.name, request.id, type(reason.exc).__name__))

    def of(self, flow: Flow) -> dict[int, list[tuple[str, str, str]]]:
        """``{task_exec_seq: [(signal, task's name, error)]}`` of a flow."""
        ends: dict[int, list[tuple[str, str, str]]] = {}
        for signal, name, celery_id, error in self.ends:
            ref = ref_of(celery_id)
            if ref is not None and ref.flow_id == flow.pk:
                ends.setdefault(ref.seq, []).append((signal, name, error))
        return ends


@pytest.fixture
def said() -> Iterator[Heard]:
    said = Heard()
    signals.task_failure.connect(said.on_failure)
    signals.task_retry.connect(said.on_retry)
    yield said
    signals.task_failure.disconnect(said.on_failure)
    signals.task_retry.disconnect(said.on_retry)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged of attempts that end by an error: by flowerapp, and not by Celery's tracer a second time."""
    handler = logging.handlers.BufferingHandler(capacity=1000)
    handler.setLevel(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("flowerapp.core.endings", "celery.app.trace")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.buffer
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize("own", ["sqlite"], indirect=True)
def test_celerys_signals_say_how_tasks_ended_in_a_pool_of_threads(
    own: Live, said: Heard, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a task with a limit runs in a process of its own."""
    monkeypatch.setattr(executor.current(), "isolates_limited", True)
    cases = {**CASES, 6: LIMITED}
    with threads(app_or_default()):
        flow = fail(own, cases)
        ends = {
            seq: [
                ("retry" if state == "RETRY" else "failure", f"flowerapp.{case.step['program']}", case.error)
                for state in case.states
            ]
            for seq, case in cases.items()
        }
        until(lambda: said.of(flow) == ends, what=lambda: f"{said.of(flow)}")
        told_by = HistoryEntry.objects.filter(task_flow=flow, worker__gt="").values_list("worker", flat=True)
        assert set(told_by) == set(Task.objects.filter(task_flow=flow).values_list("worker", flat=True))
    assert {(record.levelname, bool(record.exc_info)) for record in lines} == {("WARNING", True), ("ERROR", True)}
    assert sorted((record.seq, record.attempt) for record in lines) == [
        (seq, number) for seq, case in cases.items() for number in range(1, len(case.states) + 1)
    ]


def kinds(sentry: SentrySink, flow: Flow) -> list[str]:
    """The exceptions that Sentry shows of a flow."""
    return sorted(event["exception"]["values"][-1]["type"] for event in sentry.of(flow.pk))
