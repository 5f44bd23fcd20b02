"""``python -m benchmarks.against CHECKOUT [--pairs N] [--processes N] [--only NAME …]``: this tree against another, in
turn.

CHECKOUT is a folder with another version of flowerapp, such as ``git worktree add ../before HEAD~1`` makes. Prints the
median of the pairwise ratios of wall time, and of processor time, with their intervals; below 1 this tree is faster.
Each is measured as its own harness does it; workloads that the other does not have are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Ratio, in_turn

WORKLOADS = (
    "CHAIN 100",
    "FANOUT",
    "MANY, registered",
    "MANY",
    "MANY, in one call",
    "CHAIN-10ms",
    "FORKS-2ms",
    "FANOUT-20ms",
    "FANOUT-burn",
)
TURNS = Path(__file__).with_name("turns.py")


class Tree:
    """A checkout whose workloads are run on request."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.workloads: list[str] = self._answer()

    def run(self, workload: str) -> Any:
        """One run: ``seconds`` and ``cpu`` by kind of process."""
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        self.process.stdin.write(workload + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the run in {self.process.args!r} ended with exit code {self.process.wait()}")
        return json.loads(line)


@contextmanager
def started(checkout: Path, processes: int) -> Iterator[Tree]:
    """A worker of a checkout, until the end of the block."""
    command = [sys.executable, str(TURNS), str(processes)]
    process = subprocess.Popen(command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Tree(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(60)


def compared(workload: str, here: Tree, there: Tree, pairs: int) -> tuple[Ratio, Ratio]:
    """Ratios of wall and of processor time."""
    trees = {"here": partial(here.run, workload), "there": partial(there.run, workload)}
    mine, theirs = in_turn(trees, pairs, workload).values()
    wall = Ratio.of([run["seconds"] for run in mine], [run["seconds"] for run in theirs])
    return wall, Ratio.of(*([sum(run["cpu"].values()) for run in side] for side in (mine, theirs)))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--processes", type=int, default=2, help="of each tree's worker")
    parser.add_argument("--only", choices=WORKLOADS, action="append", help="a workload")
    options = parser.parse_args()
    with ExitStack() as stack:
        here = stack.enter_context(started(Path(__file__).parent.parent, options.processes))
        there = stack.enter_context(started(options.checkout, options.processes))
        for workload in options.only or WORKLOADS:
            if workload not in there.workloads:
                print(f"{workload:18} the other tree does not have it", flush=True)
                continue
            wall, cpu = compared(workload, here, there, options.pairs)
            print(f"{workload:18} wall {wall}   cpu {cpu}", flush=True)


if __name__ == "__main__":
    main()
