"""Order, links and runs of graphs, on examples and as properties of random ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core import graph

LONGEST = 20

dags = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        *(
            st.sets(st.integers(max(1, seq - 6), seq - 1), max_size=3) if seq > 1 else st.just(set())
            for seq in range(1, size + 1)
        )
    ).map(lambda depends: {seq: sorted(before) for seq, before in enumerate(depends, 1)})
)


@settings(deadline=None)
@given(dags, st.randoms())
def test_order_puts_each_after_what_it_depends_on(edges: dict[int, list[int]], random: object) -> None:
    shuffled = list(edges.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ordered = graph.order(dict(shuffled))
    place = {seq: number for number, seq in enumerate(ordered)}
    assert sorted(ordered) == sorted(edges)
    assert all(place[before] < place[seq] for seq, depends in edges.items() for before in depends)
    assert ordered == graph.order(edges)


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ({1: [1]}, [1, 1]),
        ({1: [2], 2: [1]}, [1, 2, 1]),
        ({1: [], 2: [1, 4], 3: [2], 4: [3], 5: [4]}, [2, 4, 3, 2]),
        ({5: [7], 7: [8], 8: [7]}, [7, 8, 7]),
    ],
)
def test_a_circle_is_shown(edges: dict[int, list[int]], cycle: list[int]) -> None:
    with pytest.raises(graph.CycleError) as caught:
        graph.order(edges)
    assert caught.value.cycle == cycle


def test_a_dependency_named_twice_counts_once() -> None:
    assert graph.order({1: [], 2: [], 3: [1, 1, 2]}) == [1, 2, 3]
    assert graph.followers({1: [], 2: [1, 1]}) == {1: [2], 2: []}


@settings(deadline=None)
@given(dags, st.data())
def test_links_count_the_open_ones(edges: dict[int, list[int]], data: st.DataObject) -> None:
    is_open = data.draw(st.sets(st.sampled_from(sorted(edges))))
    links = graph.waits(edges, is_open)
    assert set(links.pending) == set(links.dependents) == is_open
    for seq in is_open:
        assert links.pending[seq] == len(set(edges[seq]) & is_open)
        assert links.dependents[seq] == sorted(other for other in is_open if seq in edges[other])
    assert links.sinks == sum(1 for seq in is_open if not any(seq in edges[other] for other in is_open))


@settings(deadline=None)
@given(dags, st.integers(1, LONGEST))
def test_every_task_travels_on_exactly_one_message(edges: dict[int, list[int]], longest: int) -> None:
    runs = graph.runs(edges, longest)
    bodies = {run.join for run in runs.values() if run.join is not None}
    carried = [seq for run in runs.values() for seq in run.then]
    assert sorted([*runs, *carried]) == sorted(edges)
    assert bodies <= set(runs), "a body may also be sent by itself, by another task that releases it"
    for head, run in runs.items():
        assert 1 + len(run.then) <= longest
        steps = [head, *run.then]
        assert all(edges[after] == [before] for before, after in zip(steps, run.then, strict=False))
        assert head not in bodies or (not run.then)


@settings(deadline=None)
@given(dags)
def test_joins_are_forks_of_linear_branches(edges: dict[int, list[int]]) -> None:
    after = graph.followers(edges)
    runs = graph.runs(edges, LONGEST)
    by_join: dict[int, set[int]] = {}
    for head, run in runs.items():
        if run.join is not None:
            by_join.setdefault(run.join, set()).add([head, *run.then][-1])
    for join, lasts in by_join.items():
        assert lasts == set(edges[join])
    assert by_join.keys() == {seq for seq in edges if meets_a_fork(seq, edges, after)}


def meets_a_fork(seq: int, edges: dict[int, list[int]], after: dict[int, list[int]]) -> bool:
    """Whether all branches into ``seq`` go straight back to the same single task, or to nothing."""
    if len(edges[seq]) < 2:
        return False
    forks = set()
    for branch in edges[seq]:
        if after[branch] != [seq]:
            return False
        step = branch
        while len(edges[step]) == 1 and len(after[edges[step][0]]) == 1:
            step = edges[step][0]
        forks.add(tuple(edges[step]))
    return len(forks) == 1 and len(next(iter(forks))) <= 1


def test_runs_of_known_shapes() -> None:
    chain = {seq: [seq - 1] if seq > 1 else [] for seq in range(1, 46)}
    assert {head: len(run.then) + 1 for head, run in graph.runs(chain, LONGEST).items()} == {1: 20, 21: 20, 41: 5}
    fan = {1: [], 2: [1], 3: [1], 4: [2, 3], 5: [4]}
    runs = graph.runs(fan, LONGEST)
    assert (runs[1], runs[2], runs[3], runs[4].then) == (graph.Run(), graph.Run([], 4), graph.Run([], 4), [])


def test_levels_and_reach() -> None:
    edges = {1: [], 2: [1], 3: [1], 4: [2, 3], 5: []}
    assert graph.levels(edges) == {1: 0, 2: 1, 3: 1, 4: 2, 5: 0}
    assert graph.reach([3], graph.followers(edges)) == {3, 4}


def test_the_largest_workflow_is_cut_in_a_moment() -> None:
    edges = {1: [], **{seq: [1] for seq in range(2, 20_000)}, 20_000: list(range(2, 20_000))}
    assert len(graph.runs(edges, LONGEST)) == 20_000
