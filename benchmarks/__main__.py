"""``python -m benchmarks [--quick] [--json] [--pairs N] [--only NAME] [--processes N …]``."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django

django.setup()

from benchmarks.contenders import DJANGO, FLOWERAPP, REDIS, Bench, Run, started  # noqa: E402 - Django first
from benchmarks.figures import Ratio  # noqa: E402
from benchmarks.ours import analyse  # noqa: E402
from benchmarks.workloads import WORKLOADS, Workload, define_all  # noqa: E402

Result = dict[str, Any]


def compared(workload: Workload, bench: Bench, pairs: int) -> Result:
    """Run a workload in turn with each contender, once to warm up and then so many times."""
    names = (FLOWERAPP, REDIS, DJANGO)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(pairs + 1):
        for name in names if number % 2 else reversed(names):
            run = workload.run(bench, name)
            if number:
                runs[name].append(run)
        if not number:
            analyse()
        print(f"\r{workload.name}: {number} of {pairs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {"workload": workload.name, "tasks": workload.tasks, **_report(workload, runs)}


def _report(workload: Workload, runs: dict[str, list[Run]]) -> Result:
    mine = runs[FLOWERAPP]
    report: Result = {"contenders": {name: _figures(each, workload.tasks) for name, each in runs.items()}, "ratios": {}}
    for name in (REDIS, DJANGO):
        wall = Ratio.of([run.seconds for run in mine], [run.seconds for run in runs[name]])
        cpu = Ratio.of([run.cpu_total for run in mine], [run.cpu_total for run in runs[name]])
        report["ratios"][name] = {
            "wall": wall,
            "wall_bar": workload.bars[name],
            "cpu": cpu,
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
        verdict = "meets" if ratio["wall"].median <= ratio["wall_bar"] else "misses"
        text = f"  to {name:15} wall {ratio['wall']}, {verdict} {ratio['wall_bar']}; cpu {ratio['cpu']}"
        if ratio["cpu_bar"]:
            text += f", {'meets' if ratio['cpu'].median <= ratio['cpu_bar'] else 'misses'} {ratio['cpu_bar']}"
        lines.append(text)
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three pairs each")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", metavar="NAME", help="workloads whose name begins so")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], help="of each contender's worker")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[Result] = []
    for processes in options.processes:
        with started(processes) as bench:
            define_all()
            for workload in WORKLOADS:
                if not options.only or workload.name.startswith(options.only):
                    result = compared(workload, bench, 3 if options.quick else options.pairs)
                    found.append({"processes": processes, **result})
                    if not options.json:
                        print(f"{processes} processes: {line(result)}", flush=True)
    if options.json:
        print(json.dumps(found, default=lambda each: vars(each) if hasattr(each, "__dict__") else _slots(each)))


def _slots(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


if __name__ == "__main__":
    main()
