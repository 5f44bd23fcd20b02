"""``flow inspect``: littleflow's vectors of a flow, of any kind, as the REST routes have them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core import answers
from flowerapp.models import Flow
from flowerapp.selectors import arrow_flows
from flowerapp.testing import InlineRunner
from flowerapp.workflows import arrow
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)


def of_text(runner: InlineRunner) -> Flow:
    """``A`` has ended, ``B`` waits for another system, and ``C`` for both."""
    text = "A → :x; B → :x C"
    begun = engine.register_plan(arrow.plan_of_text(text), source=text)
    engine.end_task(begun.pk, 1, output={"rows": 7, "token": "hush"})
    return begun


def of_rows(runner: InlineRunner) -> Flow:
    """Its second task has failed."""
    define("breaking", {"program": "Noop"}, {"program": "FailWhile", "parameters": {"path": "/"}}, {"program": "Noop"})
    begun = engine.register("breaking")
    runner.run()
    return begun


def with_children(runner: InlineRunner) -> Flow:
    """Finished, with two children, which are no nodes."""
    define(
        "spread", {"program": "Split", "child_program": "Item", "parameters": {"items": [1, 2]}}, {"program": "Noop"}
    )
    begun = engine.register("spread")
    runner.run()
    return begun


KINDS = [of_text, of_rows, with_children]


@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (of_text, ["RUNNING", "A [ 0  0  0  1  0]", "S [ 0  0  1  0  0]"]),
        (of_rows, ["FAILED", "A [ 0  0  0  0  0]", "S [ 0  0  1  0  0]"]),
        (with_children, ["FINISHED", "A [ 0  0  0  0]", "S [ 0  0  0  0]"]),
    ],
)
def test_the_state_and_both_vectors(
    runner: InlineRunner, make: Callable[[InlineRunner], Flow], lines: list[str]
) -> None:
    answer = flow("inspect", make(runner).pk)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == lines


@pytest.mark.parametrize("make", KINDS)
def test_json_is_what_the_routes_answer(
    runner: InlineRunner, api: APIClient, make: Callable[[InlineRunner], Flow]
) -> None:
    begun = make(runner)
    path = f"/workflows/{begun.pk}"
    state = api.get(f"{path}/state").json()
    assert flow("inspect", begun.pk, "--json").json == state
    trace = {vector: api.get(f"{path}/trace/{vector}").json() for vector in "SA"}
    assert flow("inspect", f"workflow:{begun.pk}", "--all", "--json").json == state | {"trace": trace}
    assert trace["S"]


@pytest.mark.parametrize("make", KINDS)
def test_all_has_the_changes_oldest_first_which_add_up_to_the_vector(
    runner: InlineRunner, make: Callable[[InlineRunner], Flow]
) -> None:
    lines = flow("inspect", make(runner).pk, "--all").out.splitlines()[1:]
    for vector in "AS":
        rows = [re.fullmatch(rf"{vector} \[(.*)\] ?(.*)", line) for line in lines if line.startswith(vector)]
        parsed = [([int(number) for number in row[1].split()], row[2]) for row in rows if row]
        *changes, (present, no_time) = parsed
        times = [time for _, time in changes]
        assert no_time == ""
        assert times == sorted(times)
        zeros = [0] * len(present)
        assert [sum(column) for column in zip(zeros, *(deltas for deltas, _ in changes), strict=True)] == present
    assert any(line.endswith("Z") for line in lines)
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)


def test_secrets_are_masked(runner: InlineRunner) -> None:
    answer = flow("inspect", of_text(runner).pk, "--json")
    assert answer.json["output"][1] == {"rows": 7, "token": "••••"}


def test_a_history_that_is_too_large_says_so(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = of_rows(runner)
    whole = flow("inspect", begun.pk, "--all").out.splitlines()
    monkeypatch.setattr(answers, "MOST_BYTES", 100)
    answer = flow("inspect", begun.pk, "--all")
    assert answer.code == 0
    assert "older changes of A are left out" in answer.err
    lines = answer.out.splitlines()
    assert len(lines) < len(whole)
    assert set(lines) < set(whole)
    assert "older changes of S are left out" in flow("inspect", begun.pk, "--all", "--json").err


def test_a_flow_of_too_many_steps_is_refused(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = of_rows(runner)
    monkeypatch.setattr(arrow_flows, "MOST_NODES", 3)
    answer = flow("inspect", begun.pk)
    assert (answer.code, answer.out) == (2, "")
    assert "more than 1 steps, too many for a matrix" in answer.err


def test_an_unknown_flow(runner: InlineRunner) -> None:
    answer = flow("inspect", "nothing", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no flow 'nothing'" in answer.err
