"""The workloads that flowerapp and bare Celery run alternately."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import ours
from benchmarks.bare import Bare
from benchmarks.contenders import DJANGO, FLOWERAPP, REDIS, Bench, Run
from benchmarks.work import Work

LENGTH, LONG, WIDTH, FLOWS = 100, 1000, 500, 300
STEPS, NAP = 50, Work("nap", 0.01)
FORKS, BRANCHES, SHORT_NAP = 100, 5, Work("nap", 0.002)
WIDE, LONG_NAP, BURN = 200, Work("nap", 0.02), Work("burn", 0.005)
MONITORED_BAR = 1.3
"""The most that our wall time may be of bare Celery's with Redis while a monitor listens, whatever the workload."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is run, by bare Celery and by us."""

    name: str
    tasks: int
    bare: Callable[[Bare, str], None]
    ours: Callable[[Bench], Run]
    bar: float
    """The most that our wall time may be of bare Celery's with Redis."""
    django_bar: float | None = None
    """The most that it may be of Celery's with django-celery-results."""
    cpu_bar: float | None = None
    """The most that our processor time may be of bare Celery's with Redis."""

    def run(self, bench: Bench, name: str) -> Run:
        """One run of one contender."""
        if name == FLOWERAPP:
            return self.ours(bench)
        with bench.bare[name].submitting():
            return bench.run(name, lambda key: self.bare(bench.bare[name], key))

    def bars(self, *, monitored: bool) -> dict[str, float | None]:
        """The most that our wall time may be of each other contender's."""
        if monitored:
            return {REDIS: MONITORED_BAR, DJANGO: None}
        return {REDIS: self.bar, DJANGO: self.django_bar}


def _flow(task_id: str, last: int) -> Callable[[Bench], Run]:
    def run(bench: Bench) -> Run:
        return bench.run(FLOWERAPP, lambda key: ours.register(task_id, last, key), ours.wait_finished)

    return run


def _many(bench: Bench) -> Run:
    return bench.run(FLOWERAPP, lambda key: ours.many("chain-3", FLOWS, key), ours.wait_finished)


def _many_at_once(bench: Bench) -> Run:
    return bench.run(FLOWERAPP, lambda key: ours.many_at_once("chain-3", FLOWS, key), ours.wait_finished)


def _many_registered(bench: Bench) -> Run:
    contender = bench.contenders[FLOWERAPP]
    key = contender.new_key()
    registered = ours.Registered("chain-3", FLOWS)
    registered.prepare(key)
    return contender.run(lambda _: registered.go(), lambda _: ours.wait_finished(registered.flows), key)


def _forks(bench: Bench) -> Run:
    last = BRANCHES + 2
    return bench.run(FLOWERAPP, lambda key: ours.many("fork-2ms", FORKS, key, last), ours.wait_finished)


def define_all() -> None:
    """Store the workflows."""
    for length in (3, LENGTH, LONG):
        ours.chain(length)
    ours.fan_out(WIDTH)
    ours.chain(STEPS, "chain-10ms", NAP)
    ours.fan_out(BRANCHES, "fork-2ms", SHORT_NAP)
    ours.fan_out(WIDE, "fan-20ms", LONG_NAP)
    ours.fan_out(WIDE, "fan-burn", BURN)
    ours.chain(LENGTH, "chain-log", Work("log"))
    ours.fan_out(WIDTH, "fan-log", Work("log"))


def _chain(length: int, bar: float) -> Workload:
    return Workload(
        f"CHAIN {length:,}",
        length,
        lambda bare, key: bare.chain(length, key),
        _flow(f"chain-{length}", length),
        bar,
        0.7,
        1.3,
    )


def _fan_out(name: str, task_id: str, work: Work, bar: float) -> Workload:
    last = WIDE + 2
    return Workload(name, last, lambda bare, key: bare.fan_out(WIDE, key, work), _flow(task_id, last), bar)


def _many_flows(name: str, run: Callable[[Bench], Run], bar: float) -> Workload:
    return Workload(name, 3 * FLOWS, lambda bare, key: bare.many(FLOWS, key), run, bar, 0.7, 1.3)


WORKLOADS = [
    _chain(LENGTH, 0.85),
    Workload(
        "FANOUT",
        WIDTH + 2,
        lambda bare, key: bare.fan_out(WIDTH, key),
        _flow(f"fan-{WIDTH}", WIDTH + 2),
        0.55,
        0.7,
        0.9,
    ),
    _many_flows("MANY, registered", _many_registered, 1.25),
    _many_flows("MANY", _many, 1.25),
    _many_flows("MANY, in one call", _many_at_once, 0.9),
    Workload("CHAIN-10ms", STEPS, lambda bare, key: bare.chain(STEPS, key, NAP), _flow("chain-10ms", STEPS), 1.12),
    Workload(
        "FORKS-2ms",
        FORKS * (BRANCHES + 2),
        lambda bare, key: bare.forks(FORKS, BRANCHES, key, SHORT_NAP),
        _forks,
        1.3,
    ),
    _fan_out("FANOUT-20ms", "fan-20ms", LONG_NAP, 1.02),
    _fan_out("FANOUT-burn", "fan-burn", BURN, 1.0),
    _chain(LONG, 0.5),
]
