"""Time limits, and messages that a worker cannot handle."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now

from flowerapp import conf, engine, registry
from flowerapp.core import programs
from flowerapp.core.messages import TaskRef
from flowerapp.models import Task
from flowerapp.states import Status
from tests.acceptance.live import Live, define, interventions, start_counts, starts, states, task
from tests.faults.support import assert_sound
from tests.services import until

LIMIT = 1
CHAIN = {1: [], 2: [1]}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that this process knows and no worker does."""
    name = "Elsewhere"
    monkeypatch.setitem(programs._programs, name, registry.Program(name=name, function=lambda: None))
    return name


@pytest.mark.fault("a program runs into its time limit, or is unknown to the worker")
def test_limits(live: Live, gate: Path, elsewhere: str) -> None:
    """Several flows at once, because they only wait."""
    live.site.start_all(4)
    gated = {"program": "Gate", "parameters": {"path": str(gate)}, "time_limit": LIMIT}
    begun = time.monotonic()
    hard = engine.register(define(CHAIN, {1: gated}))
    retried = engine.register(define(CHAIN, {1: {**gated, "max_retries": 2, "retry_delay": 0}}))
    heeded = engine.register(define(CHAIN, {1: {"program": "SoftLimited"}}))
    raised = engine.register(define(CHAIN, {1: {"program": "SoftLimited", "parameters": {"heed": False}}}))
    unknown = engine.register(define(CHAIN, {1: {"program": elsewhere}}))

    live.finish(heeded)
    for flow in (hard, retried, raised):
        live.wait(flow, Status.SUSPEND)
        assert states(flow) == {1: Status.SUSPEND, 2: Status.WAIT}
    until(lambda: task(unknown, 1).is_refused)
    assert time.monotonic() - begun < 30

    assert task(hard, 1).error == f"timed out after {LIMIT} s"
    assert start_counts(hard) == {1: 1}
    assert task(retried, 1).error == f"timed out after {LIMIT} s"
    assert start_counts(retried) == {1: 3}
    assert task(heeded, 1).output == {"interrupted": True}
    assert "SoftTimeLimitExceeded" in task(raised, 1).error
    assert f"program '{elsewhere}' is unknown to the worker" in task(unknown, 1).error
    assert starts(unknown) == []
    Task.objects.at(TaskRef(unknown.pk, 1)).update(refused_ts=Now() - timedelta(seconds=conf.get().REJECT_AFTER))
    live.wait(unknown, Status.SUSPEND)
    assert task(unknown, 1).error.endswith(f"it was tried for {conf.get().REJECT_AFTER} s")

    gate.touch()
    engine.rerun(retried.pk, actor="ann", why="the gate is open")
    live.finish(retried)
    assert_sound(heeded, retried)
    assert_sound(hard, raised, unknown, ended=Status.SUSPEND)
    assert interventions(hard, retried, heeded, raised, unknown) == []
