"""The arithmetic of the harness: ratios with intervals, runs in turn, and what was asked for."""

from __future__ import annotations

import time

import pytest

from benchmarks import work
from benchmarks.figures import Ratio, chosen, in_turn, percentile

NAMES = ["CHAIN 100", "CHAIN 1,000", "CHAIN-10ms", "MANY", "MANY, registered", "FANOUT", "FANOUT-burn"]


def test_a_ratio_is_the_median_of_the_pairs_not_the_ratio_of_the_medians() -> None:
    ratio = Ratio.of([1, 9, 4], [2, 3, 4])
    assert ratio.median == 1.0
    assert (ratio.low, ratio.high) == (0.5, 3.0)


def test_an_interval_lies_about_the_median_and_narrows_with_equal_pairs() -> None:
    mixed = Ratio.of([1.0, 1.2] * 20, [1.0] * 40)
    assert 1.0 <= mixed.low <= mixed.median <= mixed.high <= 1.2
    assert Ratio.of([2.0] * 15, [4.0] * 15) == Ratio(0.5, 0.5, 0.5)


@pytest.mark.parametrize(("bar", "verdict"), [(0.5, "meets 0.5"), (0.4, "misses 0.4")])
def test_a_median_at_its_bar_meets_it(bar: float, verdict: str) -> None:
    assert Ratio(0.5, 0.4, 0.6).verdict(bar) == verdict


@pytest.mark.parametrize(("part", "value"), [(0.0, 1), (0.5, 3), (0.95, 5), (1.0, 5)])
def test_percentiles(part: float, value: float) -> None:
    assert percentile([5, 4, 3, 2, 1], part) == value


def test_runs_alternate_and_the_first_round_only_warms_up() -> None:
    order: list[str] = []
    warmed_up: list[int] = []

    def run(name: str) -> int:
        order.append(name)
        return len(order)

    runs = {"a": lambda: run("a"), "b": lambda: run("b")}
    made = in_turn(runs, 2, "", warmed_up=lambda: warmed_up.append(len(order)))
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert made == {"a": [3, 6], "b": [4, 5]}
    assert warmed_up == [2]


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ([], NAMES),
        (["CHAIN"], ["CHAIN 100", "CHAIN 1,000", "CHAIN-10ms"]),
        (["MANY"], ["MANY"]),
        (["FANOUT", "CHAIN 100"], ["CHAIN 100", "FANOUT"]),
        (["FANOUT-"], ["FANOUT-burn"]),
        (["nothing"], []),
    ],
)
def test_a_name_chooses_itself_and_a_beginning_all_that_have_it(only: list[str], names: list[str]) -> None:
    assert [name for name in NAMES if chosen(name, only, NAMES)] == names


def test_work_takes_time_or_processor_time() -> None:
    began, used = time.monotonic(), time.thread_time()
    work.do("noop", 9)
    work.do("nap", 0.02)
    assert time.monotonic() - began >= 0.02
    assert time.thread_time() - used < 0.02
    work.do("burn", 0.02)
    assert time.thread_time() - used >= 0.02
