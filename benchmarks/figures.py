"""Medians of pairwise ratios, and how sure they are."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

RESAMPLES = 2000

Run = TypeVar("Run")


def chosen(name: str, only: Sequence[str], names: Collection[str]) -> bool:
    """Whether ``name`` was asked for: by itself or, where ``only`` has what is none of the ``names``, by its beginning.

    So ``CHAIN`` is all chains, and ``MANY``, which is a name, only that. Nothing asked for is all.
    """
    return not only or name in only or any(name.startswith(part) for part in only if part not in names)


def in_turn(
    runs: Mapping[str, Callable[[], Run]], times: int, title: str, warmed_up: Callable[[], object] = bool
) -> dict[str, list[Run]]:
    """Make each run ``times`` times, in turn, the first one last in every other round.

    One round before them warms up, and ``warmed_up`` is called after it.
    """
    made: dict[str, list[Run]] = {name: [] for name in runs}
    for number in range(times + 1):
        for name in runs if number % 2 else reversed(list(runs)):
            run = runs[name]()
            if number:
                made[name].append(run)
        if not number:
            warmed_up()
        print(f"\r{title}: {number} of {times}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return made


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median of ratios, each of two runs made one after the other."""

    median: float
    low: float
    """The median lies between these with 95 % confidence, by resampling the pairs."""
    high: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """The ratio of our figures to theirs, pair by pair."""
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        chance = random.Random(0)  # noqa: S311 - the same interval for the same figures
        medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
        cut = RESAMPLES // 40
        return cls(statistics.median(ratios), medians[cut], medians[-cut - 1])

    def verdict(self, bar: float) -> str:
        """Whether the median is within the most that it may be."""
        return f"{'meets' if self.median <= bar else 'misses'} {bar}"

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
