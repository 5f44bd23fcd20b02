"""Medians of pairwise ratios, and how sure they are."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000


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

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
