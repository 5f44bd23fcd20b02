"""``flow cache``, and what ``flow task`` says of stored outputs."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp import engine
from flowerapp.models import CachedOutput, Flow
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def flows(runner: InlineRunner) -> list[Flow]:
    """Three flows; the second took the output of the first."""
    define("etl", {"program": "Echo", "cache_seconds": 600, "cache_key": "input.n"})
    flows = [engine.register("etl", input={"n": number}) for number in ("a", "a", 2)]
    runner.run()
    return flows


def test_an_empty_cache() -> None:
    answer = flow("cache", "list")
    assert (answer.code, answer.out) == (0, "the output cache is empty\n")
    assert flow("cache", "list", "--json").json == []


def test_entries_are_listed(flows: list[Flow]) -> None:
    answer = flow("cache", "list", "--workflow", "etl")
    lines = [line for line in answer.out.splitlines() if "Echo" in line]
    assert (answer.code, len(lines)) == (0, 2)
    assert f"{flows[0].pk} 1" in lines[1]
    (listed,) = flow("cache", "list", "--key", '"a"', "--json").json
    assert (listed["key"], listed["task_id"], listed["task_exec_seq"]) == ('"a"', "etl", 1)
    assert flow("cache", "list", "--key", "a", "--json").json == [listed]
    answer = flow("cache", "list", "--limit", 1)
    assert "there are more than 1 entries" in answer.err


@pytest.mark.parametrize(
    ("options", "forgotten"),
    [
        (["--program", "Echo"], 2),
        (["--key", "a"], 1),
        (["--key", "2", "--workflow", "etl"], 1),
        (["--program", "Other"], 0),
        (["--all"], 2),
    ],
)
def test_entries_are_forgotten(flows: list[Flow], options: list[Any], forgotten: int) -> None:
    answer = flow("cache", "forget", *options, "--json")
    assert (answer.code, answer.json) == (0, {"forgotten": forgotten})
    assert CachedOutput.objects.count() == 2 - forgotten


def test_how_many_were_forgotten_is_said_in_words(flows: list[Flow]) -> None:
    assert flow("cache", "forget", "--key", "2").out == "1 output forgotten\n"
    assert flow("cache", "forget", "--key", "2").out == "0 outputs forgotten\n"


@pytest.mark.parametrize(
    "arguments",
    [["forget"], ["forget", "--all", "--key", "1"], ["list", "--all"], [], ["other"], ["list", "--key", "\0"]],
)
def test_wrong_usage(flows: list[Flow], arguments: list[str]) -> None:
    assert flow("cache", *arguments).code != 0
    assert CachedOutput.objects.count() == 2


def test_a_task_says_whose_output_it_took(flows: list[Flow]) -> None:
    text = flow("task", flows[1].pk, 1).out
    assert f"task 1 of flow {flows[0].pk}" in text
    assert " by key input.n, workflow" in text
    assert "cached" in flow("show", flows[1].pk).out
    assert flow("task", flows[1].pk, 1, "--json").json["cached_from"] == {"flow_id": flows[0].pk, "seq": 1}
    assert "cached" in flow("graph", flows[1].pk).out
