"""Directed acyclic graphs of steps: order, followers, and the two shapes that travel as Celery canvas.

Pure functions over ``{seq: seqs it depends on}``.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

Edges = Mapping[int, Collection[int]]


class CycleError(ValueError):
    """The steps depend on each other in a circle."""

    def __init__(self, cycle: list[int]) -> None:
        self.cycle = cycle
        """Seqs of one circle, the first repeated at the end."""
        super().__init__(" → ".join(map(str, cycle)))


def followers(edges: Edges) -> dict[int, list[int]]:
    """Each seq with the seqs that depend on it, sorted."""
    result: dict[int, list[int]] = {seq: [] for seq in edges}
    for seq in sorted(edges):
        for dependency in set(edges[seq]):
            if dependency in result:
                result[dependency].append(seq)
    return result


def order(edges: Edges) -> list[int]:
    """Seqs so that each comes after all it depends on, the lowest first where there is a choice.

    Raises CycleError. Dependencies outside the graph are taken as satisfied.
    """
    result = _sorted_part(edges)
    if len(result) < len(edges):
        raise CycleError(_cycle(edges, set(edges) - set(result)))
    return result


def unreachable(edges: Edges) -> set[int]:
    """Seqs in a circle, or behind one: they would wait for ever."""
    return set(edges) - set(_sorted_part(edges))


def _sorted_part(edges: Edges) -> list[int]:
    after = followers(edges)
    waiting = {seq: sum(1 for each in set(depends) if each in edges) for seq, depends in edges.items()}
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
        seq = min(each for each in edges[seq] if each in stuck)
    return [*path[path.index(seq) :], seq]


def reach(start: Iterable[int], after: Mapping[int, Iterable[int]]) -> set[int]:
    """``start`` and everything that follows it."""
    seen: set[int] = set()
    todo = list(start)
    while todo:
        seq = todo.pop()
        if seq not in seen:
            seen.add(seq)
            todo.extend(after.get(seq, ()))
    return seen


def levels(edges: Edges) -> dict[int, int]:
    """Each seq with the length of the longest way to it from a root, for drawing."""
    result: dict[int, int] = {}
    for seq in order(edges):
        result[seq] = 1 + max((result[each] for each in edges[seq] if each in result), default=-1)
    return result


@dataclass(frozen=True, slots=True)
class Links:
    """How open tasks wait for each other."""

    pending: dict[int, int]
    """Open dependencies of each open task."""
    dependents: dict[int, list[int]]
    """Open followers of each open task, sorted: whom to tell when it is satisfied."""

    @property
    def sinks(self) -> int:
        """Open tasks that nobody open waits for; the flow ends with the last of them."""
        return sum(1 for each in self.dependents.values() if not each)


def links(edges: Edges, is_open: Collection[int]) -> Links:
    """The links among the open tasks of a graph; satisfied ones no longer count."""
    still = set(is_open)
    inner = {seq: [each for each in edges[seq] if each in still] for seq in edges if seq in still}
    return Links({seq: len(depends) for seq, depends in inner.items()}, followers(inner))


@dataclass(frozen=True, slots=True)
class Run:
    """What one message carries beside its own task."""

    then: list[int] = field(default_factory=list)
    """Tasks that follow one by one: a Celery chain."""
    join: int | None = None
    """The task that the last of them meets its siblings in: the body of a Celery chord."""


def runs(edges: Edges, longest: int, alone: Collection[int] = ()) -> dict[int, Run]:
    """Cut a graph into linear runs of at most ``longest`` tasks, keyed by the first of each.

    Those that are to travel ``alone`` neither carry others nor are carried. A join whose branches are linear and fork
    from the same task (or are all roots) is the body of a chord; it travels alone. Every other task starts a run of its
    own.
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
    """Last task of each branch → the join that the branches of one fork meet in."""
    result: dict[int, int] = {}
    fork_of: dict[int, frozenset[int] | None] = {}
    for seq in order(edges):
        depends = edges[seq]
        alone = len(depends) == 1 and len(after[next(iter(depends))]) == 1
        inside = next(iter(depends)) if alone else None
        fork_of[seq] = fork_of[inside] if inside is not None else frozenset(depends)
        if len(depends) > 1 and all(len(after[each]) == 1 for each in depends):
            forks = {fork_of[each] for each in depends}
            if len(forks) == 1 and len(next(iter(forks)) or ()) <= 1:
                result.update(dict.fromkeys(depends, seq))
    return result
