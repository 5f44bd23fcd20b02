"""``python -m benchmarks [--quick] [--json] [--pairs N] [--only NAME …] [--processes N …] [--monitor HOW]``.

Each workload runs once without a monitor and once with one that listens (``-E``, ``benchmarks.monitor``). All workers
log at Celery's default level.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django

django.setup()

from benchmarks import arrow, chart, expressions, history, page, planning, single, task_logs, wide  # noqa: E402 - Django first
from benchmarks.contenders import DJANGO, FLOWERAPP, REDIS, Bench, Run, started  # noqa: E402
from benchmarks.figures import Ratio, chosen, in_turn  # noqa: E402
from benchmarks.ours import analyze  # noqa: E402
from benchmarks.workloads import WORKLOADS, Workload, define_all  # noqa: E402

Result = dict[str, Any]


def compared(workload: Workload, bench: Bench, names: Sequence[str], pairs: int, *, monitored: bool) -> Result:
    """Run a workload alternately with each of the contenders ``names``, once to warm up and then ``pairs`` times."""
    title = workload.name + (MONITORED if monitored else "")
    by_name = {name: functools.partial(workload.run, bench, name) for name in names}
    runs = in_turn(by_name, pairs, title, warmed_up=analyze)
    report = _report(workload, runs, monitored=monitored)
    return {"workload": title, "monitor": monitored, "tasks": workload.tasks, **report}


def _report(workload: Workload, runs: dict[str, list[Run]], *, monitored: bool) -> Result:
    mine, bars = runs[FLOWERAPP], workload.bars(monitored=monitored)
    contenders = {name: _figures(theirs, workload.tasks) for name, theirs in runs.items()}
    report: Result = {"contenders": contenders, "ratios": {}}
    for name in runs:
        if name == FLOWERAPP:
            continue
        wall = Ratio.of([run.seconds for run in mine], [run.seconds for run in runs[name]])
        cpu = Ratio.of([run.cpu_total for run in mine], [run.cpu_total for run in runs[name]])
        report["ratios"][name] = {
            "wall": asdict(wall),
            "wall_bar": bars[name],
            "cpu": asdict(cpu),
            "cpu_bar": workload.cpu_bar if name == REDIS and not monitored else None,
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
        text = f"  to {name:15} wall {wall}{_verdict(wall, ratio['wall_bar'])}; cpu {cpu}"
        lines.append(text + _verdict(cpu, ratio["cpu_bar"]))
    return "\n".join(lines)


def _verdict(ratio: Ratio, bar: float | None) -> str:
    return "" if bar is None else f", {ratio.verdict(bar)}"


def in_pairs(bench: Bench, options: argparse.Namespace, *, monitored: bool) -> Iterator[Result]:
    """The workloads, on a bench with or without a monitor."""
    names = (FLOWERAPP, REDIS) if options.bare_only else (FLOWERAPP, REDIS, DJANGO)
    pairs = 3 if options.quick else options.pairs
    for workload in WORKLOADS:
        if chosen(workload.name, options.only, NAMES):
            yield compared(workload, bench, names, pairs, monitored=monitored)


def singly(bench: Bench, options: argparse.Namespace) -> Iterator[Result]:
    """What else is measured on the workers of a bench."""
    if chosen("LOGGING", options.only, NAMES):
        yield from task_logs.measure(bench, 3 if options.quick else options.pairs)
    if any(chosen(name, options.only, NAMES) for name in ("LATENCY", "REGISTER")):
        with single.web(bench) as server:
            if chosen("LATENCY", options.only, NAMES):
                yield single.latency(bench, server, 20 if options.quick else 200)
            if chosen("REGISTER", options.only, NAMES):
                yield single.registering(server, 200 if options.quick else 2000)
    if chosen("WIDE", options.only, NAMES):
        yield from wide.measure(bench, 10_000 if options.quick else wide.WIDTH)


def on_benches(options: argparse.Namespace) -> Iterator[Result]:
    """All that needs the workers of the contenders."""
    pairs = any(chosen(workload.name, options.only, NAMES) for workload in WORKLOADS)
    others = any(chosen(name, options.only, NAMES) for name in ("LOGGING", "LATENCY", "REGISTER", "WIDE"))
    for processes in options.processes:
        for monitored in MODES[options.monitor]:
            if not (pairs or (others and not monitored)):
                continue
            with started(processes, monitored=monitored) as bench:
                define_all()
                for result in in_pairs(bench, options, monitored=monitored):
                    yield {"processes": processes, **result}
                for result in () if monitored else singly(bench, options):
                    yield {"processes": processes, **result}


def apart(options: argparse.Namespace) -> Iterator[Result]:
    """What needs a database of its own, or none."""
    if chosen("PLANNING", options.only, NAMES):
        yield planning.measure()
    if chosen("HISTORY", options.only, NAMES):
        yield history.measure(options.quick)
    if chosen("EXPRESSIONS", options.only, NAMES):
        yield expressions.measure(options.quick)
    if chosen("ARROW", options.only, NAMES):
        yield arrow.measure(options.quick)


WRITERS: list[tuple[str, Callable[[Result], list[str]]]] = [
    ("LOGGING", task_logs.lines),
    ("LATENCY", single.lines),
    ("REGISTER", single.lines),
    ("WIDE", wide.lines),
    ("PLANNING", planning.lines),
    ("HISTORY", history.lines),
    ("EXPRESSIONS", expressions.lines),
    ("ARROW", arrow.lines),
]
NAMES = {*(workload.name for workload in WORKLOADS), *(name for name, _ in WRITERS)}
MONITORED = ", -E"
"""What follows the name of a workload that runs while a monitor listens."""
MODES = {"without": [False], "with": [True], "both": [False, True]}


def lines(result: Result) -> list[str]:
    """A result for people."""
    for name, write in WRITERS:
        if result["workload"].startswith(name):
            return write(result)
    return line(result).splitlines()


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three pairs each, and small sizes")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", metavar="NAME", action="append", default=[], help="this one, or all that begin so")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], help="of each contender's worker")
    parser.add_argument("--monitor", choices=MODES, default="both", help="whether one listens: each workload so and so")
    parser.add_argument("--bare-only", action="store_true", help="leave Celery with django-celery-results out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="write the page")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw the ratios (needs matplotlib)")
    return parser


def main() -> None:
    """Parse, measure, print."""
    options = parser().parse_args()
    results: list[Result] = []
    for measure in (on_benches, apart):
        for result in measure(options):
            results.append(result)
            if not options.json:
                where = f"{result['processes']} processes: " if "processes" in result else ""
                print(where + "\n".join(lines(result)), flush=True)
    if options.json:
        print(json.dumps(results))
    if options.page:
        options.page.write_text(page.page(results), encoding="utf-8")
    if options.chart:
        chart.draw([result for result in results if "ratios" in result], options.chart)


if __name__ == "__main__":
    main()
