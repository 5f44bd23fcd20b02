"""``python -m benchmarks.against CHECKOUT [--pairs N] [--processes N]``: this tree against another, in turn.

CHECKOUT is a folder with another version of flowerapp, such as ``git worktree add ../before HEAD~1`` makes. Prints the
median of the pairwise ratios of wall time, and of processor time, with their intervals; below 1 this tree is faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import Ratio

WORKLOADS = ("CHAIN 100", "FANOUT", "MANY, registered", "MANY")
TURNS = Path(__file__).with_name("turns.py")


class Tree:
    """A checkout whose workloads are run on request."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._answer()

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
    """Ratios of wall and of processor time, each first in every other pair; one pair before them warms up."""
    runs: dict[Tree, list[Any]] = {here: [], there: []}
    for number in range(pairs + 1):
        for tree in (here, there) if number % 2 else (there, here):
            runs[tree].append(tree.run(workload))
        print(f"\r{workload}: {number} of {pairs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    mine, theirs = runs[here][1:], runs[there][1:]
    wall = Ratio.of([run["seconds"] for run in mine], [run["seconds"] for run in theirs])
    return wall, Ratio.of(*([sum(run["cpu"].values()) for run in side] for side in (mine, theirs)))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--processes", type=int, default=2, help="of each tree's worker")
    parser.add_argument("--only", choices=WORKLOADS, help="one workload")
    options = parser.parse_args()
    with ExitStack() as stack:
        here = stack.enter_context(started(Path(__file__).parent.parent, options.processes))
        there = stack.enter_context(started(options.checkout, options.processes))
        for workload in [options.only] if options.only else WORKLOADS:
            wall, cpu = compared(workload, here, there, options.pairs)
            print(f"{workload:18} wall {wall}   cpu {cpu}", flush=True)


if __name__ == "__main__":
    main()
