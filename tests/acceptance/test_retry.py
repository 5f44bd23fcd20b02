"""Retries: how many starts, after which delays, and where it ends."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import Live, define, starts, task

pytestmark = pytest.mark.parametrize("shared_site", ["redis-2", "amqp-2", "sqlite"], indirect=True, scope="package")

LATE = 2.5
"""Seconds that a start may come after its due time: one second's resolution, and a busy machine."""
EARLY = 0.01
"""Seconds by which SQLite's clock, which counts milliseconds, may round."""


def single(program: str, parameters: dict[str, Any] | None = None, **options: Any) -> Flow:
    """A flow of a single task."""
    return engine.register(define({1: []}, {1: {"program": program, "parameters": parameters or {}, **options}}))


def delays(flow: Flow) -> list[float]:
    """Seconds from each recorded failure to the start that follows it."""
    failures = list(flow.history.filter(verb="retry").order_by("id").values_list("ts", flat=True))
    return [(start.ts - failure).total_seconds() for failure, start in zip(failures, starts(flow, 1)[1:], strict=True)]


def assert_delays(flow: Flow, *expected: float) -> None:
    """Each start came when it was due."""
    seconds = delays(flow)
    assert len(seconds) == len(expected)
    assert all(due - EARLY <= delay <= due + LATE for delay, due in zip(seconds, expected, strict=True)), seconds


def test_it_succeeds_at_the_fourth_start(live: Live) -> None:
    flow = single("FailUntil", {"start": 4})
    live.finish(flow)
    assert [start.attempt for start in starts(flow)] == [1, 2, 3, 4]
    assert len({start.key for start in starts(flow)}) == 1
    assert_delays(flow, 1, 2, 4)
    assert task(flow, 1).output == {"started": 4}
    assert task(flow, 1).error == ""
    live.assert_faultless(flow)


def test_it_never_succeeds(live: Live) -> None:
    flow = single("FailUntil", {"start": 99})
    live.wait(flow, Status.SUSPEND)
    assert len(starts(flow)) == 4
    assert_delays(flow, 1, 2, 4)
    row = task(flow, 1)
    assert row.status is Status.SUSPEND
    assert row.error == "ListedError: start 4 of 99"
    assert "Traceback" in row.traceback
    assert flow.failed_seq == 1
    live.assert_faultless(flow)


def test_an_error_that_is_not_listed_is_not_retried(live: Live) -> None:
    flow = single("FailUnlisted")
    live.wait(flow, Status.SUSPEND)
    assert len(starts(flow)) == 1
    assert task(flow, 1).error == "KeyError: 'not listed'"
    assert not flow.history.filter(verb="retry").exists()


def test_the_definition_overrides_limit_and_delay(live: Live) -> None:
    flow = single("FailUntil", {"start": 99}, max_retries=1, retry_delay=2)
    live.wait(flow, Status.SUSPEND)
    assert len(starts(flow)) == 2
    assert_delays(flow, 2)


def test_the_definition_allows_no_retry(live: Live) -> None:
    flow = single("FailUntil", {"start": 2}, max_retries=0)
    live.wait(flow, Status.SUSPEND)
    assert len(starts(flow)) == 1


def test_a_rerun_counts_retries_anew(live: Live) -> None:
    flow = single("FailUntil", {"start": 99}, max_retries=1, retry_delay=0)
    live.wait(flow, Status.SUSPEND)
    engine.rerun(flow.pk)
    flow.refresh_from_db()
    live.wait(flow, Status.SUSPEND)
    assert [start.attempt for start in starts(flow)] == [1, 2, 3, 4]
    assert len({start.key for start in starts(flow)}) == 2
