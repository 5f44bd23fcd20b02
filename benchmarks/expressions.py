"""CPU time of expressions: to read one, and to evaluate one that was read. They need no server."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from flowerapp.core import expressions

CONTEXT: dict[str, Any] = {
    "input": {"status": "ok", "region": "eu-1", "items": [1, 2, 3, 4], "user": {"name": "Ada"}},
    "rows": [{"n": number, "kind": "ab"[number % 2]} for number in range(20)],
}
BAR = 100
"""Microseconds that a typical condition may take once it was read."""
CONDITIONS = [
    'input.status == "ok" && len(input.items) > 3',
    'input.region in ["us-1", "eu-1"] or input.user?.name matches "^A"',
    'any(input.items, # > 3) and not ((input.user.mail ?? "") contains "@")',
    "count(rows, .n > 5 && .kind == 'a') >= 7",
]
ROUNDS = 15


def measure(quick: bool) -> dict[str, Any]:
    """Microseconds to read and to evaluate each condition: the median of rounds."""
    expressions.parse("true")
    times = 200 if quick else 2_000
    figures = [
        {"text": text, "read": _read(text, times // 10), "evaluate": _evaluate(text, times)} for text in CONDITIONS
    ]
    return {"workload": "EXPRESSIONS", "bar": BAR, "conditions": figures}


def _read(text: str, times: int) -> float:
    """Microseconds to read a text; a comment makes it another each time, so that none is kept."""
    numbers = itertools.count()
    return _each(lambda: expressions.parse(f"{text} /*{next(numbers)}*/"), times)


def _evaluate(text: str, times: int) -> float:
    condition = expressions.parse(text)
    return _each(lambda: condition.test(CONTEXT), times)


def _each(call: Callable[[], Any], times: int) -> float:
    """Microseconds of CPU that one call takes."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(times):
            call()
        rounds.append((time.process_time() - start) / times * 1e6)
    return round(statistics.median(rounds), 1)


def lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    slowest = max(figures["evaluate"] for figures in result["conditions"])
    verdict = f"{'meets' if slowest <= result['bar'] else 'misses'} {result['bar']}"
    rows = [f"  {row['evaluate']:7.1f} {row['read']:8.1f}  {row['text']}" for row in result["conditions"]]
    return [f"EXPRESSIONS, µs of CPU to evaluate ({verdict}) and to read", *rows]
