"""Values that travel: merged inputs, outputs by name, and the state that a flow's programs share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from flowerapp import engine, registry
from flowerapp.core import programs
from flowerapp.exceptions import (
    ContendedStateError,
    InvalidPlanError,
    InvalidValueError,
    UnknownFlowError,
)
from flowerapp.models import Flow, TaskDefinition
from flowerapp.registry import Context
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import DIAMOND, define, status, task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], str]:
    """Register a function as the program "Own" for this test."""

    def register(function: Callable[..., Any]) -> str:
        made = registry.Program(name="Own", function=function)
        monkeypatch.setitem(programs._programs, "Own", made)
        return "Own"

    return register


def step(workflow: str, seq: int, /, **columns: Any) -> None:
    """Change columns of a stored step."""
    assert TaskDefinition.objects.filter(task_id=workflow, task_seq=seq).update(**columns)


def diamond(left: Any, right: Any, **join: Any) -> str:
    """A workflow whose two branches return these values, and whose join returns its input."""
    name = define(DIAMOND)
    for seq, value in ((2, left), (3, right)):
        step(name, seq, program="Return", parameters={"value": value})
    step(name, 4, **{"program": "Echo", **join})
    return name


# Inputs


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({}, {"b": 2}, {"b": 2}),
        (None, None, {}),
    ],
)
def test_merge_makes_one_object(runner: InlineRunner, left: Any, right: Any, joined: Any) -> None:
    flow = engine.register(diamond(left, right, merge=True))
    runner.run()
    assert task(flow, 4).output == joined


@pytest.mark.parametrize("other", [[1], 3, "text"])
def test_what_is_no_object_cannot_be_merged(runner: InlineRunner, other: Any) -> None:
    flow = engine.register(diamond({"a": 1}, other, merge=True))
    runner.run()
    assert status(flow) is Status.SUSPEND
    assert task(flow, 4).error == (
        "the output of task 3 is not an object, so it cannot be merged; return one, or turn merge off"
    )


def test_without_merge_it_is_a_list(runner: InlineRunner) -> None:
    flow = engine.register(diamond({"a": 1}, {"b": 2}))
    runner.run()
    assert task(flow, 4).output == [{"a": 1}, {"b": 2}]


# Outputs by name


def test_outputs_by_seq_name_and_program(runner: InlineRunner, program: Callable[..., str]) -> None:
    seen: dict[str | int, Any] = {}

    def look(ctx: Context) -> None:
        seen.update({step: ctx.output_of(step) for step in (2, 3, "left", "Echo")})
        for unknown in ("Return", "missing", 9, "me", "Own"):
            with pytest.raises(KeyError) as error:
                ctx.output_of(unknown)
            seen[f"no {unknown}"] = str(error.value)

    name = diamond("L", "R", program=program(look), name="me")
    step(name, 2, name="left")
    flow = engine.register(name, input={"day": 1})
    runner.run()
    assert status(flow) is Status.FINISH, task(flow, 4).traceback
    assert (seen[2], seen[3], seen["left"], seen["Echo"]) == ("L", "R", "L", {"day": 1})
    assert "several tasks" in seen["no Return"]
    assert "no task 'missing'" in seen["no missing"]
    assert "no task 9" in seen["no 9"]
    assert "is Running, so it has no output yet" in seen["no me"]
    assert "is Running" in seen["no Own"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [({2: "one", 3: "one"}, "step 2 is named 'one' too"), ({2: "a/b"}, "a slash"), ({2: "x" * 257}, "256")],
    ids=["twice", "slash", "long"],
)
def test_bad_names_are_refused(runner: InlineRunner, names: dict[int, str], sentence: str) -> None:
    name = define(DIAMOND)
    rows = list(TaskDefinition.objects.filter(task_id=name))
    for row in rows:
        row.name = names.get(row.task_seq, "")
    with pytest.raises(InvalidPlanError, match=sentence):
        engine.define(name, rows)


# The shared state


def test_programs_share_a_state(runner: InlineRunner, program: Callable[..., str]) -> None:
    def count(ctx: Context) -> Any:
        before = ctx.state

        def add(state: dict[str, Any]) -> None:
            state.setdefault("seen", []).append(ctx.seq)

        stored = ctx.change_state(add)
        assert before == {"seen": stored["seen"][:-1]} or not before
        assert ctx.state == stored
        return stored

    flow = engine.register(define(DIAMOND, program(count)))
    assert engine.get_state(flow.pk) == {}
    runner.run()
    assert sorted(engine.get_state(flow.pk)["seen"]) == [1, 2, 3, 4]
    flow.refresh_from_db()
    assert flow.state_version == 4
    engine.rerun(flow.pk, from_seq=4)
    runner.run()
    assert engine.get_state(flow.pk)["seen"][3:] == [4, 4]
    engine.rerun(flow.pk, all_tasks=True)
    assert engine.get_state(flow.pk) == {}


def test_a_change_may_return_another_state_or_none(runner: InlineRunner) -> None:
    flow = engine.register(define(DIAMOND))
    assert engine.change_state(flow.pk, lambda state: {"a": 1}) == {"a": 1}
    assert engine.change_state(flow.pk, lambda state: state.update(b=2)) == {"a": 1, "b": 2}
    flow.refresh_from_db()
    version = flow.state_version
    assert engine.change_state(flow.pk, lambda state: None) == {"a": 1, "b": 2}
    flow.refresh_from_db()
    assert (flow.state, flow.state_version) == ({"a": 1, "b": 2}, version)


@pytest.mark.parametrize("bad", [[1], "text", {"a": float("nan")}, {"a": {1}}, {"a": "\0"}, {"a": "x" * 2_000_000}])
def test_what_cannot_be_stored_is_refused(runner: InlineRunner, bad: Any) -> None:
    flow = engine.register(define(DIAMOND))
    with pytest.raises(InvalidValueError, match="shared state"):
        engine.change_state(flow.pk, lambda state: bad)
    assert engine.get_state(flow.pk) == {}


def test_a_flow_that_is_not_there_has_no_state(transactional_db: None) -> None:
    with pytest.raises(UnknownFlowError):
        engine.get_state("missing")
    with pytest.raises(UnknownFlowError):
        engine.change_state("missing", lambda state: {})


def test_changes_at_once_are_all_made(runner: InlineRunner) -> None:
    flow = engine.register(define(DIAMOND))

    def add(number: int) -> None:
        try:
            engine.change_state(flow.pk, lambda state: state.update({str(number): state.get(str(number), 0) + 1}))
        finally:
            connection.close()

    if connection.vendor == "postgresql":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, list(range(10)) * 8))
    else:
        for number in list(range(10)) * 8:
            add(number)
    assert engine.get_state(flow.pk) == {str(number): 8 for number in range(10)}


def test_a_change_that_keeps_losing_fails_its_task(
    runner: InlineRunner, program: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowerapp.engine.state.LONGEST_PAUSE", 0)

    def lose(ctx: Context) -> None:
        def change(state: dict[str, Any]) -> dict[str, Any]:
            others = Flow.objects.get(pk=ctx.flow_id)
            assert Flow.objects.replace_state(ctx.flow_id, others.state_version, {"theirs": others.state_version})
            return {"mine": True}

        ctx.change_state(change)

    flow = engine.register(define({1: []}, program(lose)))
    runner.run()
    assert status(flow) is Status.SUSPEND
    assert "was changed by others each of 100 times" in task(flow, 1).error
    assert ContendedStateError.code == "contended_state"
    assert engine.get_state(flow.pk) == {"theirs": 99}
