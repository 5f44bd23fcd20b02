"""``python -m benchmarks [--quick] [--json] [--pairs N] [--only NAME] [--processes N …] [--page FILE.md]``."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django

django.setup()

from benchmarks import chart, expressions, history, page, planning, single, wide  # noqa: E402 - Django first
from benchmarks.contenders import DJANGO, FLOWERAPP, REDIS, Bench, Run, started  # noqa: E402
from benchmarks.figures import Ratio  # noqa: E402
from benchmarks.ours import analyze  # noqa: E402
from benchmarks.workloads import WORKLOADS, Workload, define_all  # noqa: E402

Result = dict[str, Any]


def compared(workload: Workload, bench: Bench, pairs: int) -> Result:
    """Run a workload alternately with each contender, once to warm up and then ``pairs`` times."""
    names = (FLOWERAPP, REDIS, DJANGO)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(pairs + 1):
        for name in names if number % 2 else reversed(names):
            run = workload.run(bench, name)
            if number:
                runs[name].append(run)
        if not number:
            analyze()
        print(f"\r{workload.name}: {number} of {pairs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {"workload": workload.name, "tasks": workload.tasks, **_report(workload, runs)}


def _report(workload: Workload, runs: dict[str, list[Run]]) -> Result:
    mine = runs[FLOWERAPP]
    contenders = {name: _figures(theirs, workload.tasks) for name, theirs in runs.items()}
    report: Result = {"contenders": contenders, "ratios": {}}
    for name in (REDIS, DJANGO):
        wall = Ratio.of([run.seconds for run in mine], [run.seconds for run in runs[name]])
        cpu = Ratio.of([run.cpu_total for run in mine], [run.cpu_total for run in runs[name]])
        report["ratios"][name] = {
            "wall": asdict(wall),
            "wall_bar": workload.bars[name],
            "cpu": asdict(cpu),
            "cpu_bar": workload.cpu_bar if name == REDIS else None,
        }
    return report


def _figures(runs: list[Run], tasks: int) -> Result:
    def per_task(seconds: float) -> float:
        return round(1000 * seconds / tasks, 3)

    return {
        "wall": per_task(statistics.median(run.seconds for run in runs)),
        "cpu": {kind: per_task(statistics.median(run.cpu[kind] for run in runs)) for kind in runs[0].cpu},
    }


def line(result: Result) -> str:
    """A result for people."""
    lines = [f"{result['workload']} ({result['tasks']:,} tasks), ms per task"]
    for name, figures in result["contenders"].items():
        spent = ", ".join(f"{kind} {value:.2f}" for kind, value in figures["cpu"].items())
        lines.append(f"  {name:18} wall {figures['wall']:6.2f}   cpu {spent}")
    for name, ratio in result["ratios"].items():
        wall, cpu = Ratio(**ratio["wall"]), Ratio(**ratio["cpu"])
        text = f"  to {name:15} wall {wall}, {_verdict(wall, ratio['wall_bar'])}; cpu {cpu}"
        if ratio["cpu_bar"]:
            text += f", {_verdict(cpu, ratio['cpu_bar'])}"
        lines.append(text)
    return "\n".join(lines)


def _verdict(ratio: Ratio, bar: float) -> str:
    return f"{'meets' if ratio.median <= bar else 'misses'} {bar}"


def chosen(name: str, only: str | None) -> bool:
    """Whether a workload was asked for."""
    return not only or name.startswith(only)


def on_bench(bench: Bench, options: argparse.Namespace) -> Iterator[Result]:
    """All that is measured on the workers of a bench."""
    define_all()
    for workload in WORKLOADS:
        if chosen(workload.name, options.only):
            yield compared(workload, bench, 3 if options.quick else options.pairs)
    if any(chosen(name, options.only) for name in ("LATENCY", "REGISTER")):
        with single.web(bench) as server:
            yield single.latency(bench, server, 20 if options.quick else 200)
            yield single.registering(server, 200 if options.quick else 2000)
    if chosen("WIDE", options.only):
        yield from wide.measure(bench, 10_000 if options.quick else wide.WIDTH)


def apart(options: argparse.Namespace) -> Iterator[Result]:
    """What needs a database of its own, or none."""
    if chosen("PLANNING", options.only):
        yield planning.measure()
    if chosen("HISTORY", options.only):
        yield history.measure(options.quick)
    if chosen("EXPRESSIONS", options.only):
        yield expressions.measure(options.quick)


WRITERS: list[tuple[str, Callable[[Result], list[str]]]] = [
    ("LATENCY", single.lines),
    ("REGISTER", single.lines),
    ("WIDE", wide.lines),
    ("PLANNING", planning.lines),
    ("HISTORY", history.lines),
    ("EXPRESSIONS", expressions.lines),
]


def lines(result: Result) -> list[str]:
    """A result for people."""
    for name, write in WRITERS:
        if result["workload"].startswith(name):
            return write(result)
    return line(result).splitlines()


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three pairs each, and small sizes")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", metavar="NAME", help="workloads whose name begins so")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], help="of each contender's worker")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="write the page")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw the ratios (needs matplotlib)")
    options = parser.parse_args()
    results: list[Result] = []

    def report(result: Result) -> None:
        results.append(result)
        if not options.json:
            where = f"{result['processes']} processes: " if "processes" in result else ""
            print(where + "\n".join(lines(result)), flush=True)

    if any(
        chosen(name, options.only)
        for name in (*(workload.name for workload in WORKLOADS), "LATENCY", "REGISTER", "WIDE")
    ):
        for processes in options.processes:
            with started(processes) as bench:
                for result in on_bench(bench, options):
                    report({"processes": processes, **result})
    for result in apart(options):
        report(result)
    if options.json:
        print(json.dumps(results))
    if options.page:
        options.page.write_text(page.page(results), encoding="utf-8")
    if options.chart:
        chart.draw([result for result in results if "ratios" in result], options.chart)


if __name__ == "__main__":
    main()
