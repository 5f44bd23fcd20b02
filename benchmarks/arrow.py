"""CPU time of the arrow language: to read 100,000 characters, and to compile 5,000 steps. It needs no server."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

from flowerapp.workflows import arrow

CHARACTERS = 100_000
STEPS = 5_000
READ_BAR = 1.0
"""Seconds that each text may take to read."""
COMPILE_BAR = 2.0
"""Seconds that the steps may take to read and compile."""
MEMORY_BAR = 200
"""MiB that reading a text may take."""
LINE = "load:task :x{} → ? `$[?(@.status=0)]` copy(- duration: {} -) → {{ print | scan }} → > done # one\n"
ROUNDS = 5
ALL = "all of the language"


def _texts() -> dict[str, str]:
    """A text with all of the language, and those that take longest: with as many tokens as they can have."""
    text = ""
    while len(text) < CHARACTERS:
        text += LINE.format(text.count("\n"), len(text))
    braces = "{" * 50 + "A" + "}" * 50
    return {
        ALL: text,
        "names": "A " * (CHARACTERS // 2),
        "arrows": "A→" * (CHARACTERS // 2 - 1) + "A",
        "braces": braces * (CHARACTERS // len(braces)),
        "numbers in YAML": "A(- [" + "1," * (CHARACTERS // 2) + "1] -)",
        "texts in JSON": "A([" + '"a",' * (CHARACTERS // 4) + "1])",
    }


def measure(quick: bool) -> dict[str, Any]:
    """Seconds to read texts, and a flow: the median of rounds."""
    texts, rounds = _texts(), 2 if quick else ROUNDS
    return {
        "workload": "ARROW",
        "read": {name: _seconds(partial(arrow.parse, text), rounds) for name, text in texts.items()},
        "memory": {name: _memory(partial(arrow.parse, text)) for name, text in texts.items()},
        "compile": _seconds(lambda: arrow.compile_text("A → B\n" * (STEPS // 2)), rounds),
        "format": _seconds(lambda: arrow.format_text(texts[ALL]), rounds),
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
    reads = [
        f"  {seconds:7.3f} to read {name}{_verdict(seconds, READ_BAR)}" for name, seconds in result["read"].items()
    ]
    most = max(result["memory"].values())
    return [
        f"ARROW, s of CPU: {CHARACTERS:,} characters and {STEPS:,} steps",
        *reads,
        f"  {result['compile']:7.3f} to read and compile the steps{_verdict(result['compile'], COMPILE_BAR)}",
        f"  {result['format']:7.3f} to read and format {ALL}",
        f"  {most:7.1f} MiB to read the largest{_verdict(most, MEMORY_BAR)}",
    ]


def _verdict(figure: float, bar: float) -> str:
    return f", {'meets' if figure <= bar else 'misses'} {bar:g}"
