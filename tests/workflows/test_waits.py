"""Waits in texts of the arrow language, and classes that events start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Flow, Latch
from flowerapp.models import Workflow as Header
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from flowerapp.watcher.duties.waits import end_due_waits
from flowerapp.workflows import Workflow, arrow, classes, task
from tests.hosts.readme import blocks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    """Runs what is sent, when asked to."""
    with inline() as runner:
        yield runner
    clock.reset()


def run(runner: InlineRunner, text: str, input: Any = None) -> Flow:
    """A flow of a text, after all that can continue."""
    flow = engine.register_plan(arrow.plan_of_text(text), input=input, source=text)
    runner.run()
    return engine.get_flow(flow.pk)


def now(runner: InlineRunner, flow: Flow) -> Flow:
    """The flow after all that can continue."""
    runner.run()
    return engine.get_flow(flow.pk)


@pytest.mark.parametrize(
    "text",
    [
        "Echo → wait:delay(- duration: 60 -) → Echo",
        "Echo → wait:delay(- {duration: 60} -) → Echo",
        'Echo → wait:delay({"duration": 60}) → Echo',
        "Echo → wait:delay([60]) → Echo",
        "@task pause = wait:delay (- duration: 60 -)\nEcho → pause → Echo",
        "Echo → wait:delay(- duration: '{{ input.n * 60 }}' -) → Echo",
    ],
)
def test_a_delay(runner: InlineRunner, text: str) -> None:
    flow = run(runner, text, {"n": 1})
    assert flow.status is Status.RUNNING
    clock.advance(59)
    assert end_due_waits() == 0
    clock.advance(2)
    assert end_due_waits() == 1
    assert now(runner, flow).output == {"n": 1}


def test_an_event_with_the_match_of_its_input(runner: InlineRunner) -> None:
    text = "Echo → wait:event(- {event: start-experiment, match: input} -) → Echo"
    flow, other = run(runner, text, {"id": 7}), run(runner, text, {"id": 8})
    engine.emit("start-experiment", {"id": 7, "output": {"ok": True}})
    assert now(runner, flow).output == {"id": 7, "ok": True}
    assert now(runner, other).status is Status.RUNNING


def test_an_event_with_its_options(runner: InlineRunner) -> None:
    text = "wait:event(- event: paid\n match: {order: '{input[id]}'}\n receipt: false\n since: any\n timeout: 1h -)"
    engine.emit("paid", {"order": "7"})
    assert run(runner, text, {"id": 7}).status is Status.FINISH
    assert run(runner, text, {"id": 7}).status is Status.FINISH, "without a receipt the event stays"


@pytest.mark.parametrize("name", ["'my-{input[\"id\"]}'", "my-{input[id]}", "'my-{{ input.id }}'"])
def test_latches(runner: InlineRunner, name: str) -> None:
    held = run(runner, f"wait:acquire(- name: {name} -) → Echo", {"id": 7})
    assert (held.status, Latch.objects.get().pk) == (Status.FINISH, "my-7")
    waiter = run(runner, f"wait:countdown(- name: {name} -) → Echo", {"id": 7})
    assert waiter.status is Status.RUNNING
    assert run(runner, f"wait:release(- name: {name} -)", {"id": 7}).output == {"id": 7}
    assert now(runner, waiter).status is Status.FINISH
    assert run(runner, f"wait:countdown(- name: {name} -)", {"id": 7}).status is Status.FINISH


def test_waits_in_a_subflow_behind_a_guard_and_beside_others(runner: InlineRunner) -> None:
    text = "Echo → ? `$.wait` { wait:delay(- duration: 5 -) | wait:event(- event: go -) } → Echo"
    assert run(runner, text, {}).status is Status.FINISH
    flow = run(runner, text, {"wait": 1})
    engine.emit("go")
    assert now(runner, flow).status is Status.RUNNING
    clock.advance(6)
    assert end_due_waits() == 1
    assert now(runner, flow).status is Status.FINISH


@pytest.mark.parametrize("name", ["delay", "event", "countdown"])
def test_a_wait_for_each_item_is_refused_with_its_place(name: str) -> None:
    text = f"Echo →\n  * wait:{name}(- {{duration: 1, event: k, name: n}} -)"
    with pytest.raises(InvalidPlanError, match=r"line 2, column 5: .*cannot run for each item"):
        arrow.plan_of_text(text)
    assert any("line 2" in str(note) and "for each item" in str(note) for note in arrow.lint_text(text))


@pytest.mark.parametrize(
    ("name", "nearest"), [("wait:evnt", "wait:event"), ("wait:foo", "wait:"), ("wait:realese", "wait:release")]
)
def test_an_unknown_wait_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    text = f"Echo → {name}(- event: k -)"
    with pytest.raises(InvalidPlanError, match=rf"line 1, column 8: there is no program '{name}'.*{nearest}"):
        arrow.plan_of_text(text)
    (note,) = arrow.lint_text(text)
    assert (note.column, nearest in note.message) == (8, True)


def test_the_formatter_and_lint_know_waits() -> None:
    text = "A → wait:delay(- duration: 60 -) → B\n"
    assert arrow.format_text(text) == text
    assert arrow.lint_text(text) == []


def test_wrong_parameters_are_refused_with_their_place() -> None:
    with pytest.raises(InvalidPlanError, match=r"line 1, column 1: .*duration"):
        arrow.plan_of_text("wait:delay(- hours: 1 -)")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries that are as before after the test."""
    from flowerapp.core import programs

    monkeypatch.setattr(programs, "_programs", dict(programs._programs))
    monkeypatch.setattr(classes, "_classes", {})


def test_a_class_is_started_by_an_event(runner: InlineRunner, apart: None) -> None:
    class Shipped(Workflow):
        task_id = "shipping"
        start_event = "shipped"
        start_match = {"country": "DE"}

        @task
        def take(self, ctx: Any) -> Any:
            return {"order": ctx.input["order"]}

    Shipped.store()
    assert Shipped.store() == Shipped.plan()
    assert (Header.objects.get().start_event, Header.objects.get().start_match) == ("shipped", {"country": "DE"})
    engine.emit("shipped", {"order": 1, "country": "FR"})
    event = engine.emit("shipped", {"order": 2, "country": "DE"})
    (started,) = event.outcome.started
    assert now(runner, engine.get_flow(started)).output == {"order": 2}


@pytest.mark.parametrize("setting", [{"start_event": 1}, {"start_match": "input"}])
def test_settings_of_a_class_that_cannot_be(apart: None, setting: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="start_"):
        type("Wrong", (Workflow,), {"task_id": "wrong", "take": task(lambda self, ctx: None), **setting})


PAGE = Path(__file__).resolve().parents[2] / "docs" / "waits.md"


def test_the_examples_of_the_page_can_be_run() -> None:
    languages: dict[str, int] = {}
    for block in blocks(PAGE):
        languages[block.language] = languages.get(block.language, 0) + 1
        if block.language == "arrow":
            arrow.plan_of_text(block.text)
            assert arrow.lint_text(block.text) == []
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "python":
            compile(block.text, PAGE.name, "exec")
    assert languages == {"arrow": 4, "json": 2, "python": 2, "sh": 1}
