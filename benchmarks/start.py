"""``python -m benchmarks.start [--pairs N]``: processor time of calls of ``manage.py flow``, beside Django's own start.

Each call runs alternately with a process that does ``django.setup()`` with the same settings and nothing else. A call's
cost is the median of the differences of its pairs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BARE = [sys.executable, "-c", "import django; django.setup()"]
MOST_SECONDS = 0.15
"""Of processor time that a call may take beside Django's start."""
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of processor time, the medians of several runs."""

    arguments: Sequence[str]
    base: float
    """Of Django's start."""
    call: float
    """Of the whole call."""
    more: float
    """Of the call beside the start, of each pair."""

    def __str__(self) -> str:
        name = " ".join(["flow", *self.arguments])
        verdict = "" if self.more <= MOST_SECONDS else f", over {MOST_SECONDS} s"
        return f"{name:40} {self.call:.3f} s, Django's start {self.base:.3f} s, beside it {self.more:.3f} s{verdict}"


def environment(state: Path) -> dict[str, str]:
    """The environment of a call to the reference project, whose SQLite database is in ``state``."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    return kept | {"DJANGO_SETTINGS_MODULE": "project.settings", "FLOWER_STATE_DIR": str(state)}


def cpu_seconds(command: Sequence[str], variables: dict[str, str]) -> float:
    """Processor time of a process in user and system mode, its output thrown away."""
    with subprocess.Popen(
        command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def compared(arguments: Sequence[str], variables: dict[str, str], pairs: int) -> Result:
    """A call and Django's start, in turn."""
    call = [sys.executable, "manage.py", "flow", *arguments]
    runs = [(cpu_seconds(BARE, variables), cpu_seconds(call, variables)) for _ in range(pairs)]
    bases, calls = zip(*runs, strict=True)
    more = statistics.median(call - base for base, call in runs)
    return Result(arguments, statistics.median(bases), statistics.median(calls), more)


def _output(words: Sequence[str], variables: dict[str, str]) -> str:
    command = [sys.executable, *words]
    return subprocess.run(command, env=variables, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Make a database with a workflow and a flow, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15, help="of each call; 15 by default")
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as directory:
        variables = environment(Path(directory))
        _output(["manage.py", "migrate", "-v", "0"], variables)
        for arguments in (["--help"], ["list"], ["show", _flow(variables)]):
            print(compared(arguments, variables, pairs))


def _flow(variables: dict[str, str]) -> str:
    """The id of a flow that waits."""
    script = (
        "import django; django.setup(); from flowerapp import engine, models;"
        "engine.define('etl', [models.TaskDefinition(task_id='etl', task_seq=1, program='Test1')]);"
        "print(engine.register('etl').pk)"
    )
    return _output(["-c", script], variables)


if __name__ == "__main__":
    main()
