"""``flow event``, ``events``, ``latches``, ``release`` and ``wake``."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, COUNTDOWN, EVENT
from flowerapp.models import Event, Flow, Latch, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def waiting(runner: InlineRunner) -> Flow:
    """A flow that waits for the event ``paid`` of its order."""
    define("order", {"program": EVENT, "parameters": {"event": "paid", "match": "input"}}, {"program": "Echo"})
    begun = engine.register("order", input={"order": 7})
    runner.run()
    return begun


def status(begun: Flow, runner: InlineRunner) -> Status:
    runner.run()
    begun.refresh_from_db()
    return begun.status


def test_an_event_ends_waits_and_starts_flows(waiting: Flow, runner: InlineRunner, tmp_path: Path) -> None:
    define("started", {"program": "Echo"})
    Workflow.objects.create(pk="started", start_event="paid")
    file = tmp_path / "data.json"
    file.write_text('{"order": 7, "password": "hidden"}', encoding="utf-8")
    answer = flow("event", "paid", "--data", f"@{file}")
    started = Flow.objects.get(task_id="started")
    assert answer.code == 0
    assert answer.out.splitlines() == [f"event {Event.objects.get().pk}: 1 waits ended, 1 flows started", started.pk]
    assert status(waiting, runner) is Status.FINISH
    document = flow("event", "other", "--json").json
    assert (document["kind"], document["ended"], document["started"]) == ("other", 0, [])
    listed = flow("events").out
    assert "hidden" not in listed
    assert '"order": 7' in listed
    (row,) = flow("events", "--kind", "paid", "--json").json
    assert row["data"] == {"order": 7, "password": "••••"}
    assert row["actor"].startswith("cli:")
    assert flow("events", "--limit", 1, "--json").json[0]["kind"] == "other"
    assert flow("events", "--kind", "none").out.strip() == "no events"


@pytest.mark.parametrize("arguments", [("a/b",), ("k", "--data", "{"), ("k", "--data", "[1]"), ("k", "--data", "@no")])
def test_wrong_usage_is_2_and_writes_nothing(db: None, arguments: tuple[str, ...]) -> None:
    answer = flow("event", *arguments)
    assert (answer.code, Event.objects.exists(), bool(answer.err)) == (2, False, True)


def test_a_wait_is_shown_and_ended_by_hand(waiting: Flow, runner: InlineRunner) -> None:
    shown = flow("task", waiting.pk, 1).out
    assert 'for event paid with {"order":7}' in shown
    assert f"wake {waiting.pk} 1" in shown
    assert "for event paid" in flow("show", waiting.pk).out
    assert "◔" in flow("graph", waiting.pk).out
    answer = flow("wake", waiting.pk, 1, "--output", '{"amount": 1}', "--why", "cash", "--json")
    assert (answer.code, answer.json["status"]) == (0, "Running")
    assert status(waiting, runner) is Status.FINISH
    assert waiting.output == {"amount": 1}
    assert flow("wake", waiting.pk, 1).code == 2
    assert flow("wake", waiting.pk, 1, "--output", "{").code == 2


def test_a_latch_is_listed_and_released(runner: InlineRunner) -> None:
    define("hold", {"program": ACQUIRE, "parameters": {"name": "port"}})
    define("wait", {"program": COUNTDOWN, "parameters": {"name": "port"}}, {"program": "Echo"})
    assert flow("latches").out.strip() == "no latches are held"
    holder, waiter = engine.register("hold"), engine.register("wait")
    runner.run()
    assert flow("latches", "--json").json[0]["count"] == 1
    assert "port" in flow("latches").out
    assert flow("release", "port", "--flow", waiter.pk).code == 2
    assert "counts taken away" in flow("release", "port", "--flow", holder.pk, "--why", "sunk").out
    assert (status(waiter, runner), Latch.objects.exists()) == (Status.FINISH, False)
    assert flow("release", "port").code == 2
