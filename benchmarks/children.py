"""Children against a fan-out of steps: tasks per second, in pairs. ``python -m benchmarks.children [--pairs N]``.

Each pair runs 1 → 500 → 1, and one task whose children run at most ten at once, on the same workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from flowerapp import engine  # noqa: E402 - Django first
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition  # noqa: E402
from flowerapp.states import Status  # noqa: E402
from tests.services import Service, Site, address_of, site, until  # noqa: E402

WIDTH = 500
MAX_CONCURRENCY = 10


@contextmanager
def started(processes: int) -> Iterator[Site]:
    """A database and a Redis database of our own, and one worker with ``processes`` processes."""
    urls = {}
    for service in (Service.POSTGRES, Service.REDIS):
        urls[service], reason = address_of(service)
        if urls[service] is None:
            sys.exit(reason)
    with site(str(urls[Service.POSTGRES]), "redis", str(urls[Service.REDIS])) as made, made.entered():
        made.start_all(processes)
        yield made


def define_all(children: int) -> None:
    """The two workflows."""
    last = WIDTH + 2
    edges: dict[int, list[int]] = {1: [], **{n: [1] for n in range(2, last)}, last: list(range(2, last))}
    TaskDefinition.objects.bulk_create(
        TaskDefinition(task_id="fan-out", task_seq=seq, program="Noop", depends_on=waits)
        for seq, waits in edges.items()
    )
    parameters = {"number": children}
    TaskDefinition.objects.create(
        task_id="children",
        task_seq=1,
        program="Spread",
        child_program="Noop",
        max_concurrency=MAX_CONCURRENCY,
        parameters=parameters,
    )


def seconds(task_id: str) -> tuple[float, Flow]:
    """How long a flow takes, from its first start to its end."""
    flow = engine.register(task_id)
    until(lambda: engine.get_flow(flow.pk).ended, 600, poll=0.05)
    flow.refresh_from_db()
    if flow.status is not Status.FINISH or flow.started_ts is None or flow.finished_ts is None:
        raise RuntimeError(f"flow {flow.pk} is {flow.status.label}: {flow.failed_task and flow.failed_task.error}")
    return (flow.finished_ts - flow.started_ts).total_seconds(), flow


def most_at_once(flow: Flow) -> int:
    """The most children that ran at the same time, by the database's times."""
    times = Task.objects.filter(task_flow=flow, parent_seq__isnull=False).values_list("started_ts", "finished_ts")
    changes = sorted([(began, 1) for began, _ in times] + [(ended, -1) for _, ended in times])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def memory(made: Site) -> int:
    """The largest resident memory of any process of the workers, in MB."""
    group = {worker.process.pid for worker in made.workers}
    peaks = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            if os.getpgid(int(status.parent.name)) in group:
                peaks += [int(line.split()[1]) // 1024 for line in text.splitlines() if line.startswith("VmHWM")]
        except (OSError, ValueError):
            continue
    return max(peaks)


def measure(pairs: int, children: int, processes: int) -> dict[str, Any]:
    """The report."""
    ratios, most, rates = [], 0, []
    with started(processes) as made:
        define_all(children)
        seconds("fan-out")
        for _ in range(pairs):
            fan_out = (WIDTH + 2) / seconds("fan-out")[0]
            took, flow = seconds("children")
            rates.append((children + 1) / took)
            ratios.append(rates[-1] / fan_out)
            most = max(most, most_at_once(flow))
            print(f"fan-out {fan_out:.0f}/s, children {rates[-1]:.0f}/s", file=sys.stderr)
        return {
            "processes": processes,
            "children": children,
            "pairs": pairs,
            "children_per_second": round(statistics.median(rates), 1),
            "ratio_to_fan_out": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "most_at_once": most,
            "megabytes": memory(made),
            "interventions": HistoryEntry.objects.filter(verb__in=["resend", "rescue"]).count(),
        }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    begun = time.monotonic()
    report = measure(options.pairs, options.children, options.processes)
    print(json.dumps({**report, "seconds": round(time.monotonic() - begun, 1)}, indent=1))


if __name__ == "__main__":
    main()
