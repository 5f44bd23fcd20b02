"""Directed acyclic graphs of steps: order, followers, levels, and the two shapes that travel as Celery canvas.

Every function takes a graph as ``Edges``: ``{seq: seqs it depends on}``.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

Edges = Mapping[int, Collection[int]]


class CycleError(ValueError):
    """The steps depend on each other in a cycle."""

    def __init__(self, cycle: list[int]) -> None:
        self.cycle = cycle
        """Seqs of one cycle; the first is repeated at the end."""
        super().__init__(" → ".join(map(str, cycle)))


def followers(edges: Edges) -> dict[int, list[int]]:
    """``{seq: sorted seqs that depend on it}``."""
    result: dict[int, list[int]] = {seq: [] for seq in edges}
    for seq in sorted(edges):
        for dependency in set(edges[seq]):
            if dependency in result:
                result[dependency].append(seq)
    return result


def order(edges: Edges) -> list[int]:
    """The seqs in topological order; of several that could come next, the lowest does.

    Dependencies outside the graph count as satisfied. Raises CycleError.
    """
    result = _sorted_part(edges)
    if len(result) < len(edges):
        raise CycleError(_cycle(edges, set(edges) - set(result)))
    return result


def unreachable(edges: Edges) -> set[int]:
    """Seqs in a cycle, or that follow one: they would wait forever."""
    return set(edges) - set(_sorted_part(edges))


def _sorted_part(edges: Edges) -> list[int]:
    """The seqs that a topological sort reaches: all but those in a cycle or behind one."""
    after = followers(edges)
    waiting = {seq: sum(1 for dependency in set(depends) if dependency in edges) for seq, depends in edges.items()}
    ready = [seq for seq, count in waiting.items() if not count]
    heapq.heapify(ready)
    result = []
    while ready:
        seq = heapq.heappop(ready)
        result.append(seq)
        for follower in after[seq]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, follower)
    return result


def _cycle(edges: Edges, stuck: set[int]) -> list[int]:
    path: list[int] = []
    seq = min(stuck)
    while seq not in path:
        path.append(seq)
        seq = min(dependency for dependency in edges[seq] if dependency in stuck)
    return [*path[path.index(seq) :], seq]


def reach(start: Iterable[int], after: Mapping[int, Iterable[int]]) -> set[int]:
    """``start`` and every seq that can be reached from it through ``after``, which has the next seqs of each."""
    seen: set[int] = set()
    stack = list(start)
    while stack:
        seq = stack.pop()
        if seq not in seen:
            seen.add(seq)
            stack.extend(after.get(seq, ()))
    return seen


def levels(edges: Edges) -> dict[int, int]:
    """``{seq: length of the longest path to it from a root}``, for drawing; raises CycleError."""
    result: dict[int, int] = {}
    for seq in order(edges):
        result[seq] = 1 + max((result[dependency] for dependency in edges[seq] if dependency in result), default=-1)
    return result


@dataclass(frozen=True, slots=True)
class Waits:
    """Which open tasks of a flow wait for which others."""

    pending: dict[int, int]
    """``{seq of an open task: number of its open dependencies}``."""
    dependents: dict[int, list[int]]
    """``{seq of an open task: sorted seqs of its open followers}``."""

    @property
    def sinks(self) -> int:
        """Number of open tasks without an open follower; the flow ends when the last of them does."""
        return sum(1 for dependents in self.dependents.values() if not dependents)


def waits(edges: Edges, is_open: Collection[int]) -> Waits:
    """Which of the open tasks wait for which others; dependencies on tasks outside ``is_open`` count as satisfied."""
    kept = set(is_open)
    inner = {seq: [dependency for dependency in edges[seq] if dependency in kept] for seq in edges if seq in kept}
    return Waits({seq: len(depends) for seq, depends in inner.items()}, followers(inner))


@dataclass(frozen=True, slots=True)
class Run:
    """What one message carries besides its own task."""

    then: list[int] = field(default_factory=list)
    """Seqs of the tasks that follow one by one: a Celery chain."""
    join: int | None = None
    """Seq of the join where this branch of a fork ends: the body of a Celery chord."""


def runs(edges: Edges, longest: int, alone: Collection[int] = ()) -> dict[int, Run]:
    """Cut a graph into parts that each travel as one message: ``{first seq: what its message carries}``.

    A part is linear and has at most ``longest`` tasks, its first included. A join becomes the body of a chord if its
    branches are linear and either fork from one task or start at roots; the body carries no further task. A task in
    ``alone`` carries no other task, and no other task carries it. Raises CycleError.
    """
    after = followers(edges)
    joins = {seq: join for seq, join in _chord_joins(edges, after).items() if not {seq, join} & set(alone)}
    bodies = set(joins.values())
    carried: set[int] = set()
    result: dict[int, Run] = {}
    for seq in order(edges):
        if seq in carried:
            continue
        then: list[int] = []
        last = seq
        while seq not in bodies and seq not in alone and len(then) + 1 < longest and last not in joins:
            following = after[last]
            if len(following) != 1 or len(edges[following[0]]) != 1 or following[0] in alone:
                break
            last = following[0]
            then.append(last)
        carried.update(then)
        result[seq] = Run(then, joins.get(last))
    return result


def _chord_joins(edges: Edges, after: Mapping[int, list[int]]) -> dict[int, int]:
    """``{last seq of a branch: seq of the join}`` for each join whose branches are linear and have one fork.

    The fork of a task is the set of seqs that its linear branch starts after: empty for a branch that starts at a root.
    """
    result: dict[int, int] = {}
    fork_of: dict[int, frozenset[int]] = {}
    for seq in order(edges):
        depends = frozenset(edges[seq])
        continues_branch = len(depends) == 1 and all(len(after[dependency]) == 1 for dependency in depends)
        fork_of[seq] = fork_of[next(iter(depends))] if continues_branch else depends
        if len(depends) > 1 and all(len(after[dependency]) == 1 for dependency in depends):
            forks = {fork_of[dependency] for dependency in depends}
            if len(forks) == 1 and len(next(iter(forks))) <= 1:
                result.update(dict.fromkeys(depends, seq))
    return result
