"""CPU time of the arrow language: to read 100,000 characters, and to compile 5,000 steps. It needs no server."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from flowerapp.workflows import arrow

CHARACTERS = 100_000
STEPS = 5_000
READ_BAR = 1.0
"""Seconds that the text may take to read."""
COMPILE_BAR = 2.0
"""Seconds that the steps may take to read and compile."""
MEMORY_BAR = 200
"""MiB that reading the text may take."""
LINE = "load:task :x{} → ? `$[?(@.status=0)]` copy(- duration: {} -) → {{ print | scan }} → > done # one\n"
ROUNDS = 5


def measure(quick: bool) -> dict[str, Any]:
    """Seconds to read a text with all of the language, one of short names only, and a flow: the median of rounds."""
    text = ""
    while len(text) < CHARACTERS:
        text += LINE.format(text.count("\n"), len(text))
    rounds = 2 if quick else ROUNDS
    return {
        "workload": "ARROW",
        "read": _seconds(lambda: arrow.parse(text), rounds),
        "read_names": _seconds(lambda: arrow.parse("A " * (CHARACTERS // 2)), rounds),
        "memory": _memory(lambda: arrow.parse(text)),
        "compile": _seconds(lambda: arrow.compile_text("A → B\n" * (STEPS // 2)), rounds),
        "format": _seconds(lambda: arrow.format_text(text), rounds),
    }


def _seconds(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of CPU that a call takes."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return round(statistics.median(times), 3)


def _memory(call: Callable[[], Any]) -> float:
    """MiB that a call takes at most."""
    tracemalloc.start()
    call()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(most / 1024**2, 1)


def lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    reads = max(result["read"], result["read_names"])
    return [
        f"ARROW, s of CPU: {CHARACTERS:,} characters and {STEPS:,} steps",
        f"  {result['read']:7.3f} to read, {result['read_names']:.3f} names only ({_verdict(reads, READ_BAR)} s)",
        f"  {result['compile']:7.3f} to read and compile the steps ({_verdict(result['compile'], COMPILE_BAR)} s)",
        f"  {result['format']:7.3f} to read and format",
        f"  {result['memory']:7.1f} MiB to read ({_verdict(result['memory'], MEMORY_BAR)})",
    ]


def _verdict(figure: float, bar: float) -> str:
    return f"{'meets' if figure <= bar else 'misses'} {bar:g}"
