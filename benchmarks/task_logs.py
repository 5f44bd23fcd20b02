"""LOGGING: tasks that log two lines against tasks that log none, on the same worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks import ours
from benchmarks.contenders import FLOWERAPP, Bench, Run
from benchmarks.figures import Ratio, in_turn
from benchmarks.workloads import LENGTH, WIDTH

BAR = 1.1
"""The most that the wall time with two lines may be of that with none."""
SHAPES = {"CHAIN 100": ("chain-log", f"chain-{LENGTH}", LENGTH), "FANOUT": ("fan-log", f"fan-{WIDTH}", WIDTH + 2)}
"""Shape → the workflows with and without lines, and their number of tasks."""


def measure(bench: Bench, pairs: int) -> list[dict[str, Any]]:
    """Both shapes."""
    return [_compared(bench, shape, *workflows, pairs) for shape, workflows in SHAPES.items()]


def _compared(bench: Bench, shape: str, logging: str, silent: str, tasks: int, pairs: int) -> dict[str, Any]:
    runs = in_turn({name: _run(bench, name, tasks) for name in (logging, silent)}, pairs, f"LOGGING, {shape}")
    wall = Ratio.of(*([run.seconds for run in runs[name]] for name in (logging, silent)))
    cpu = Ratio.of(*([run.cpu_total for run in runs[name]] for name in (logging, silent)))
    return {"workload": f"LOGGING, {shape}", "tasks": tasks, "wall": asdict(wall), "bar": BAR, "cpu": asdict(cpu)}


def _run(bench: Bench, name: str, last: int) -> Callable[[], Run]:
    return lambda: bench.run(FLOWERAPP, lambda key: ours.register(name, last, key), ours.wait_finished)


def lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    wall, cpu = Ratio(**result["wall"]), Ratio(**result["cpu"])
    return [
        f"{result['workload']}, two lines a task to none: wall {wall}, {wall.verdict(result['bar'])}; cpu {cpu}",
    ]
