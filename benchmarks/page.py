"""The page ``docs/performance.md``: its words are those of ``performance.md`` here, its figures those of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import history, planning, single, task_logs, wide
from benchmarks.contenders import DJANGO, FLOWERAPP, REDIS
from tests.faults.report import machine

TEMPLATE = Path(__file__).with_name("performance.md")
"""The page without its figures."""

Result = Mapping[str, Any]


def page(results: Sequence[Result]) -> str:
    """The page as Markdown."""
    written = TEMPLATE.read_text(encoding="utf-8")
    parts = {
        "machine": f"Of {datetime.now(UTC):%d %B %Y}, on {machine()}.",
        "pairs": "\n".join(_pairs([result for result in results if "ratios" in result])),
        "others": "\n".join(_others([result for result in results if "ratios" not in result])),
        "history": "\n".join(_history(result) for result in results if result["workload"] == "HISTORY"),
    }
    for name, text in parts.items():
        written = written.replace(f"{{{name}}}", text)
    return written


def _row(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _table(headings: Sequence[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    return [_row(headings), _row(["---", *["---:"] * (len(headings) - 1)]), *map(_row, rows)]


def _pairs(results: Sequence[Result]) -> list[str]:
    times = _table(
        [
            "ms per task: wall (CPU)",
            "processes",
            "flowerapp",
            "Celery, Redis",
            "Celery, django-db",
            "flowerapp, tasks/s a core",
        ],
        (
            [result["workload"], result["processes"], *map(_time, _contenders(result)), _per_core(result)]
            for result in results
        ),
    )
    headings = ["to Celery, Redis", "bar", "CPU to it", "bar", "to Celery, django-db", "bar"]
    ratios = _table(
        ["ratio, median (interval)", "processes", *headings],
        (
            [result["workload"], result["processes"], *_ratio(result, REDIS), *_cpu(result), *_ratio(result, DJANGO)]
            for result in results
        ),
    )
    return [*times, "", *ratios]


def _contenders(result: Result) -> list[Result | None]:
    return [result["contenders"].get(name) for name in (FLOWERAPP, REDIS, DJANGO)]


def _time(figures: Result | None) -> str:
    return "–" if figures is None else f"{figures['wall']:.2f} ({sum(figures['cpu'].values()):.2f})"


def _per_core(result: Result) -> str:
    """Tasks per second that a core of processor time gives, all servers included."""
    return f"{1000 / sum(result['contenders'][FLOWERAPP]['cpu'].values()):.0f}"


def _marked(value: float, bar: float | None) -> str:
    return f"{value:.2f}" if bar is None else f"{value:.2f} {'met' if value <= bar else 'missed'}"


def _ratio(result: Result, name: str) -> list[str]:
    if name not in result["ratios"]:
        return ["–", "–"]
    ratio = result["ratios"][name]
    wall, bar = ratio["wall"], ratio["wall_bar"]
    return [f"{_marked(wall['median'], bar)} ({wall['low']:.2f}–{wall['high']:.2f})", str(bar or "–")]


def _cpu(result: Result) -> list[str]:
    ratio = result["ratios"][REDIS]
    cpu, bar = ratio["cpu"], ratio["cpu_bar"]
    return [f"{_marked(cpu['median'], bar)} ({cpu['low']:.2f}–{cpu['high']:.2f})", str(bar or "–")]


def _others(results: Sequence[Result]) -> list[str]:
    writers = {
        "LOGGING": task_logs.lines,
        "LATENCY": single.lines,
        "REGISTER": single.lines,
        "WIDE": wide.lines,
        "PLANNING": planning.lines,
    }
    lines = []
    for result in results:
        for name, write in writers.items():
            if result["workload"].startswith(name):
                where = f"{result['processes']} processes: " if name != "PLANNING" else ""
                lines.append(f"    {where}" + "\n    ".join(write(result)))
    return lines


def _history(result: Result) -> str:
    rows = []
    for row in result["rows"]:
        buffers, taken = row["buffers"], row["ms"]
        times = [f"{taken[state]:.0f}" for state in (history.FEW, history.MANY)] if taken else ["", ""]
        rows.append(
            [row["name"], history.plan(row), *buffers.values(), f"{row['ratio']:.2f}", history.kind(row), *times]
        )
    return "\n".join(_table(["buffers", "plan", "few", "half", "many", "many to few", "", "ms, few", "ms, many"], rows))
