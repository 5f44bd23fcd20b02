"""Places of boxes in levels and routes of the edges between them, after Sugiyama: bends, crossings, spreading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from flowerapp.core import graph

BOX_WIDTH, BOX_HEIGHT = 240, 48
GAP, LEVEL_GAP = 24, 52
MARGIN = 24
MOST_BENDS = 3000
"""Points that lead long edges around the tasks between their ends; a graph that needs more gets straight edges."""
SWEEPS = 6

Point = int | tuple[int, int, int]
"""A task's seq, or a bend of the edge between two at a level."""


@dataclass
class Layout:
    """Places of tasks in levels, and the routes of the edges between them."""

    levels: list[list[Point]]
    routes: list[list[Point]]
    """Each edge as the points that it passes."""
    across: dict[Point, float] = field(default_factory=dict)
    """Middle of each point, in pixels across the direction of the flow."""
    downward: bool = True
    """Whether levels follow each other downward; else to the right."""

    @classmethod
    def of(cls, edges: graph.Edges) -> Layout:
        """The layout of a graph."""
        level = graph.levels(edges)
        longest = 1 + max(level.values(), default=0)
        levels: list[list[Point]] = [[] for _ in range(longest)]
        for seq, number in sorted(level.items()):
            levels[number].append(seq)
        spans = [(before, seq) for seq in sorted(edges) for before in sorted(edges[seq])]
        bends = sum(level[seq] - level[before] - 1 for before, seq in spans)
        widest = max(map(len, levels))
        layout = cls(levels, [], downward=longest >= widest)
        for before, seq in spans:
            between: list[Point] = []
            if bends <= MOST_BENDS:
                between = [(before, seq, number) for number in range(level[before] + 1, level[seq])]
            for number, bend in enumerate(between, start=level[before] + 1):
                levels[number].append(bend)
            layout.routes.append([before, *between, seq])
        layout._arrange()
        return layout

    def _arrange(self) -> None:
        before, after = self._neighbors()
        for sweep in range(SWEEPS):
            near = before if sweep % 2 == 0 else after
            for level in self.levels if sweep % 2 == 0 else reversed(self.levels):
                self._sort(level, near)
        for level in self.levels:
            self._spread(level, {})
        for sweep in range(SWEEPS):
            near = before if sweep % 2 == 0 else after
            for level in self.levels if sweep % 2 == 0 else reversed(self.levels):
                self._spread(level, near)
        smallest = min(
            (self.across[point] - self._extent(point) / 2 for level in self.levels for point in level), default=0
        )
        self.across = {point: middle - smallest for point, middle in self.across.items()}

    def _neighbors(self) -> tuple[dict[Point, list[Point]], dict[Point, list[Point]]]:
        before: dict[Point, list[Point]] = {}
        after: dict[Point, list[Point]] = {}
        for route in self.routes:
            for upper, lower in pairwise(route):
                before.setdefault(lower, []).append(upper)
                after.setdefault(upper, []).append(lower)
        return before, after

    def _sort(self, level: list[Point], near: Mapping[Point, list[Point]]) -> None:
        """Order a level by the mean place of its neighbors, so that few edges cross."""
        places = {point: index - len(level) / 2 for index, point in enumerate(level)}
        means = {
            point: _mean([self.across.get(other, 0.0) for other in near.get(point, ())], places[point])
            for point in level
        }
        level.sort(key=lambda point: means[point])
        self.across.update({point: index - len(level) / 2 for index, point in enumerate(level)})

    def _spread(self, level: list[Point], near: Mapping[Point, list[Point]]) -> None:
        """Move a level's points toward their neighbors, in their order and with room between."""
        if not level:
            return
        offsets = [0.0]
        for left, right in pairwise(level):
            offsets.append(offsets[-1] + (self._extent(left) + self._extent(right)) / 2 + GAP)
        if not near:
            self.across.update({point: offset - offsets[-1] / 2 for point, offset in zip(level, offsets, strict=True)})
            return
        means = [_mean([self.across[other] for other in near.get(point, ())], self.across[point]) for point in level]
        shifts = _ascending([place - offset for place, offset in zip(means, offsets, strict=True)])
        self.across.update({point: shift + offset for point, shift, offset in zip(level, shifts, offsets, strict=True)})

    def _extent(self, point: Point) -> float:
        if not isinstance(point, int):
            return 8.0
        return float(BOX_WIDTH if self.downward else BOX_HEIGHT)

    @property
    def _depth(self) -> int:
        return BOX_HEIGHT if self.downward else BOX_WIDTH

    def _along(self, level: int) -> float:
        return float(level * (self._depth + LEVEL_GAP))

    def corner(self, seq: int) -> tuple[float, float]:
        """Left upper corner of a task's box, in pixels."""
        across = MARGIN + self.across[seq] - self._extent(seq) / 2
        along = MARGIN + self._along(self._level_of[seq])
        return (round(across, 1), along) if self.downward else (along, round(across, 1))

    @cached_property
    def _level_of(self) -> Mapping[Point, int]:
        return {point: number for number, level in enumerate(self.levels) for point in level}

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        across = max(
            (self.across[point] + self._extent(point) / 2 for level in self.levels for point in level), default=0.0
        )
        along = self._along(len(self.levels)) - LEVEL_GAP
        wide, high = (across, along) if self.downward else (along, across)
        return round(wide) + 2 * MARGIN, round(high) + 2 * MARGIN

    def path(self, route: Sequence[Point]) -> str:
        """An edge as SVG path data: curves between the levels, straight lines past the tasks between."""
        text = ""
        for upper, lower in pairwise(route):
            start = (self.across[upper] + MARGIN, self._along(self._level_of[upper]) + self._depth + MARGIN)
            end = (self.across[lower] + MARGIN, self._along(self._level_of[lower]) + MARGIN)
            middle = (start[1] + end[1]) / 2
            text += f"L{self._pair(start)}" if text else f"M{self._pair(start)}"
            text += f"C{self._pair((start[0], middle))} {self._pair((end[0], middle))} {self._pair(end)}"
        return text

    def _pair(self, place: tuple[float, float]) -> str:
        across, along = place
        x, y = (across, along) if self.downward else (along, across)
        return f"{round(x, 1):g} {round(y, 1):g}"


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _ascending(values: Iterable[float]) -> list[float]:
    """The ascending numbers nearest to ``values``: least squares, by pooling neighbors that are out of order."""
    pools: list[tuple[float, int]] = []
    for value in values:
        total, count = value, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            earlier, number = pools.pop()
            total, count = total + earlier, count + number
        pools.append((total, count))
    return [total / count for total, count in pools for _ in range(count)]
