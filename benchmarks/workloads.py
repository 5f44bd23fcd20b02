"""The workloads that flowerapp and bare Celery run alternately."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import ours
from benchmarks.bare import Bare
from benchmarks.contenders import DJANGO, FLOWERAPP, REDIS, Bench, Run

LENGTH, LONG, WIDTH, FLOWS = 100, 1000, 500, 300


@dataclass(frozen=True, slots=True)
class Workload:
    """What is run, by bare Celery and by us."""

    name: str
    tasks: int
    bare: Callable[[Bare, str], None]
    ours: Callable[[Bench], Run]
    bars: dict[str, float]
    """The most that our wall time may be of each other contender's."""
    cpu_bar: float | None = None
    """The most that our processor time may be of bare Celery's with Redis."""

    def run(self, bench: Bench, name: str) -> Run:
        """One run of one contender."""
        if name == FLOWERAPP:
            return self.ours(bench)
        with bench.bare[name].submitting():
            return bench.run(name, lambda key: self.bare(bench.bare[name], key))


def _flow(task_id: str, last: int) -> Callable[[Bench], Run]:
    def run(bench: Bench) -> Run:
        return bench.run(FLOWERAPP, lambda key: ours.register(task_id, last, key), ours.wait_finished)

    return run


def _many(bench: Bench) -> Run:
    return bench.run(FLOWERAPP, lambda key: ours.many("chain-3", FLOWS, key), ours.wait_finished)


def _many_registered(bench: Bench) -> Run:
    contender = bench.contenders[FLOWERAPP]
    key = contender.new_key()
    registered = ours.Registered("chain-3", FLOWS)
    registered.prepare(key)
    return contender.run(lambda _: registered.go(), lambda _: ours.wait_finished(registered.flows), key)


def define_all() -> None:
    """Store the workflows."""
    for length in (3, LENGTH, LONG):
        ours.chain(length)
    ours.fan_out(WIDTH)


def _chain(length: int, bar: float, cpu: float | None = None) -> Workload:
    return Workload(
        f"CHAIN {length:,}",
        length,
        lambda bare, key: bare.chain(length, key),
        _flow(f"chain-{length}", length),
        {REDIS: bar, DJANGO: 0.7},
        cpu,
    )


WORKLOADS = [
    _chain(LENGTH, 1.15, 1.3),
    Workload(
        "FANOUT",
        WIDTH + 2,
        lambda bare, key: bare.fan_out(WIDTH, key),
        _flow(f"fan-{WIDTH}", WIDTH + 2),
        {REDIS: 0.7, DJANGO: 0.7},
        0.9,
    ),
    Workload(
        "MANY, registered",
        3 * FLOWS,
        lambda bare, key: bare.many(FLOWS, key),
        _many_registered,
        {REDIS: 1.25, DJANGO: 0.7},
        1.3,
    ),
    Workload("MANY", 3 * FLOWS, lambda bare, key: bare.many(FLOWS, key), _many, {REDIS: 1.4, DJANGO: 0.7}, 1.3),
    _chain(LONG, 0.5, 1.3),
]
