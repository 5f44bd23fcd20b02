"""A workflow class on real workers: its time limits, and the events that its hooks receive."""

from __future__ import annotations

import pytest

from flowerapp import engine, signals
from flowerapp.core import programs
from flowerapp.models import Flow
from flowerapp.workflows import classes
from tests.acceptance.live import Live, start_counts
from tests.probe.workflows import VARIABLE, sleeping
from tests.services import until

Heard = list[tuple[str, int | None, int | None]]


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the class registers in this process is forgotten after the test."""
    monkeypatch.setattr(programs, "_programs", dict(programs._programs))
    monkeypatch.setattr(signals, "_methods", {})
    monkeypatch.setattr(classes, "_classes", {})


def events_of(flow: Flow) -> Heard:
    """What the hooks have noted, each event once: hook, seq, attempt."""
    notes = engine.get_state(flow.pk).get("heard", [])
    return [(name, seq, attempt) for name, seq, attempt in {note[0]: note[1:] for note in notes}.values()]


@pytest.mark.parametrize("own", ["redis", "amqp"], indirect=True)
def test_time_outs_are_heard_and_retried(own: Live) -> None:
    own.site.environment[VARIABLE] = "1"
    own.site.start_all(2)
    flow = sleeping().register()
    assert flow.wait(60).output == [["awake", 0], ["asleep", 1]]
    assert start_counts(flow) == {1: 3, 2: 1, 3: 1, 4: 2}
    until(lambda: ("all_over", None, 1) in events_of(flow), what=lambda: str(events_of(flow)))
    notes = events_of(flow)
    assert [note for note in notes if note[1] == 1] == [
        ("task_start", 1, 1),
        ("task_timeout", 1, 1),
        ("task_start", 1, 2),
        ("task_timeout", 1, 2),
        ("task_start", 1, 3),
    ]
    assert [note for note in notes if note[1] == 4] == [
        ("task_start", 4, 1),
        ("task_timeout", 4, 1),
        ("task_start", 4, 2),
    ]
    assert notes[-1][0] == "all_over"
    assert engine.get_task(flow.pk, 1).error == ""
    own.assert_faultless(flow)
