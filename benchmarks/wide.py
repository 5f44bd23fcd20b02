"""WIDE: 1 → 100,000 → 1, and as many independent tasks. ``python -m benchmarks.wide NAME LAST`` registers one."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

WIDTH = 100_000
REGISTER_SECONDS, MEGABYTES, SHARE = 30, 1024, 0.7
"""The bars: seconds and memory to register, and the share of FANOUT's tasks per second."""


def main() -> None:
    """Register in a process of its own, so that its memory is that of registering alone."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    import django

    django.setup()
    from benchmarks import ours
    from project.celery import app

    app.set_default()
    name, last = sys.argv[1], int(sys.argv[2])
    began = time.perf_counter()
    flow = ours.register(name, last, "unread")
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"flow": flow.pk, "seconds": round(seconds, 1), "megabytes": round(peak)}))


def measure(bench: Any, width: int) -> list[dict[str, Any]]:
    """Both shapes, against FANOUT on the same workers."""
    from benchmarks import ours

    independent = ours.define(f"independent-{width}", {seq: [] for seq in range(1, width + 1)})
    shapes = {
        f"WIDE 1 → {width:,} → 1": (ours.fan_out(width), width + 2),
        f"WIDE {width:,} independent": (independent, width),
    }
    fan_out = statistics.median(_rate(_registered(bench, "fan-500", 502)["flow"]) for _ in range(5))
    return [_one(bench, shape, name, steps, fan_out) for shape, (name, steps) in shapes.items()]


def _one(bench: Any, shape: str, name: str, last: int, fan_out: float) -> dict[str, Any]:
    from benchmarks import meter
    from benchmarks.contenders import FLOWERAPP
    from flowerapp.models import HistoryEntry

    interventions = HistoryEntry.objects.filter(verb__in=["resend", "rescue"])
    before = interventions.count()
    registered = _registered(bench, name, last)
    rate = _rate(registered.pop("flow"))
    worker = bench.contenders[FLOWERAPP].workers[0].process.pid
    return {
        "workload": shape,
        "tasks": last,
        "register": registered,
        "per_second": round(rate, 1),
        "of_fan_out": round(rate / fan_out, 2),
        "worker_megabytes": round(meter.memory_bytes(meter.of_group(worker)) / 1024**2),
        "interventions": interventions.count() - before,
        "bars": {"seconds": REGISTER_SECONDS, "megabytes": MEGABYTES, "of_fan_out": SHARE},
    }


def _registered(bench: Any, name: str, last: int) -> dict[str, Any]:
    environment = {**os.environ, **bench.site.environment}
    command = [sys.executable, "-m", "benchmarks.wide", name, str(last)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _rate(flow_id: str) -> float:
    """Tasks per second from the first start of a flow to its end."""
    from flowerapp.models import Flow, Task
    from tests.services import until

    until(lambda: Flow.objects.get(pk=flow_id).ended, 900, poll=0.25)
    flow = Flow.objects.get(pk=flow_id)
    if flow.started_ts is None or flow.finished_ts is None:
        raise RuntimeError(f"flow {flow_id} has no times")
    return Task.objects.filter(task_flow=flow).count() / (flow.finished_ts - flow.started_ts).total_seconds()


def lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    registered, bars = result["register"], result["bars"]
    return [
        f"{result['workload']}: registered in {registered['seconds']} s (bar {bars['seconds']}) and "
        f"{registered['megabytes']} MB (bar {bars['megabytes']}), {result['per_second']:.0f} tasks/s, "
        f"{result['of_fan_out']:.2f} of FANOUT's (bar {bars['of_fan_out']}), "
        f"{result['interventions']} interventions, at most {result['worker_megabytes']} MB in a process of the worker"
    ]


if __name__ == "__main__":
    main()
