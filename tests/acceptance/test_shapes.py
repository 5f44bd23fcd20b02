"""Any DAG finishes: in order, every task started once, without an intervention or a deadlock, in small messages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.models import Flow
from tests.acceptance.live import Edges, Live, deadlocks, define, start_counts

LARGEST_MESSAGE = 32_000

pytestmark = pytest.mark.parametrize("shared_site", ["redis-2", "redis-4", "amqp-2"], indirect=True, scope="package")


def chain(length: int) -> Edges:
    """One after the other."""
    return {seq: [seq - 1] if seq > 1 else [] for seq in range(1, length + 1)}


def fan(width: int) -> Edges:
    """1 → width → 1."""
    branches = range(2, width + 2)
    return {1: [], **{seq: [1] for seq in branches}, width + 2: list(branches)}


def nested_forks(depth: int) -> Edges:
    """Forks within forks, each with its join."""
    edges: dict[int, list[int]] = {}

    def grow(after: list[int], levels: int) -> int:
        fork = len(edges) + 1
        edges[fork] = after
        ends = [grow([fork], levels - 1) for _ in range(3)] if levels else [fork]
        join = len(edges) + 1
        edges[join] = ends
        return join

    grow([], depth)
    return edges


def ladder(rungs: int) -> Edges:
    """Two rails with crossing rungs: joins that no chord can carry."""
    edges: dict[int, list[int]] = {1: [], 2: []}
    for left in range(3, 2 * rungs, 2):
        edges[left] = [left - 2, left - 1]
        edges[left + 1] = [left - 1] if left % 4 == 1 else [left - 2, left - 1, left]
    return edges


def roots_and_sinks(count: int) -> Edges:
    """Many roots, each feeding some of many sinks."""
    sinks = {count + i: [i, i % count + 1, (i + 6) % count + 1] for i in range(1, count + 1)}
    return {**{seq: [] for seq in range(1, count + 1)}, **sinks}


def random_dag(chance: random.Random) -> Edges:
    """Up to 60 tasks, numbered in no particular order."""
    size = chance.randint(1, 60)
    names = chance.sample(range(1, 1000), size)
    density = chance.choice([0.5, 1.0, 1.5, 3.0])
    edges = {}
    for position, name in enumerate(names):
        reach = names[max(0, position - chance.choice([2, 5, 60])) : position]
        edges[name] = chance.sample(reach, min(len(reach), int(chance.expovariate(1 / density) + 0.5)))
    return edges


SHAPES: dict[str, Callable[[], Edges]] = {
    "chain of 1,000": lambda: chain(1000),
    "1 → 500 → 1": lambda: fan(500),
    "nested forks": lambda: nested_forks(4),
    "ladder": lambda: ladder(60),
    "roots and sinks": lambda: roots_and_sinks(50),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_finishes(live: Live, shape: str) -> None:
    check(live, [SHAPES[shape]()], shape)


def test_random_dags_finish(live: Live) -> None:
    seed = random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)  # noqa: S311 - a seed that can be used again
    check(live, [random_dag(chance) for _ in range(200)], f"200 random DAGs, seed {seed}")


def check(live: Live, shapes: Sequence[Edges], title: str) -> None:
    """Run workflows of these shapes and assert all that is promised."""
    names = [define(edges) for edges in shapes]
    before = deadlocks()
    began = time.monotonic()
    flows = [engine.register(name) for name in names]
    registered = time.monotonic()
    live.finish(*flows, seconds=300)
    report(title, flows, registered - began, time.monotonic() - began)
    for flow, edges in zip(flows, shapes, strict=True):
        assert start_counts(flow) == dict.fromkeys(range(1, len(edges) + 1), 1), title
    assert out_of_order([flow.pk for flow in flows]) == [], title
    live.assert_faultless(*flows)
    assert deadlocks() == before
    largest = largest_message(live)
    print(f"largest message {largest} bytes")  # noqa: T201
    assert largest < LARGEST_MESSAGE


def report(title: str, flows: Sequence[Flow], registering: float, total: float) -> None:
    """Print the timing; seen with ``-s`` or when the test fails."""
    count = sum(flow.tasks.count() for flow in flows)
    print(f"{title}: {count} tasks, registered in {registering:.2f} s, finished after {total:.2f} s")  # noqa: T201


def out_of_order(flow_ids: list[str]) -> list[Any]:
    """Tasks whose program started before one that they depend on had finished."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT task.task_flow_id, task.task_exec_seq, needed.task_exec_seq, start.ts, needed.finished_ts
              FROM kr_task_stat task
             CROSS JOIN LATERAL jsonb_array_elements_text(task.depends_on) each(seq)
              JOIN kr_task_stat needed
                ON needed.task_flow_id = task.task_flow_id AND needed.task_exec_seq = each.seq::int
              JOIN probe_start start ON start.flow_id = task.task_flow_id AND start.seq = task.task_exec_seq
             WHERE task.task_flow_id = ANY(%s) AND (needed.finished_ts IS NULL OR start.ts < needed.finished_ts)
            """,
            [flow_ids],
        )
        return list(cursor.fetchall())


def largest_message(live: Live) -> int:
    """Bytes of the biggest message that the workers have published."""
    lines = live.site.messages.read_text().splitlines()
    assert lines
    return max(int(line.split()[0]) for line in lines)
