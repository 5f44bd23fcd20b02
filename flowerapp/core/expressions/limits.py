"""How much an expression may hold, do and build, and the account of one evaluation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flowerapp.core import process_clock
from flowerapp.core.expressions.errors import Failure

MAX_TEXT = 10_000
"""Most characters of one expression."""
MAX_DEPTH = 100
"""Most operators, calls, lists and objects of an expression inside one another."""
MAX_STEPS = 1_000_000
"""Most steps of one evaluation: about one for each operator, item of a list, and 64 characters that are looked at."""
MAX_BUILT = 16 * 1024 * 1024
"""Most that one evaluation builds: 1 for each character, ``ITEM`` for each item of a list or object."""
ITEM = 16
MAX_BITS = 14_285
"""Most binary digits of an integer."""
INTEGER_END = 10**4_300
"""Integers are below it: they have at most 4,300 digits, the most that Python reads JSON with."""
TOO_MANY_DIGITS = "the integer has more than 4,300 digits"
MAX_LEVELS = 200
"""Most lists and objects inside one another in a value, as in ``flowerapp.core.values``."""


def utc_now() -> datetime:
    """The time by the clock of this process."""
    return process_clock.now()


class Evaluation:
    """The account of one evaluation: its steps, what it builds, and its clock."""

    __slots__ = ("built", "clock", "steps")

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self.steps = 0
        self.built = 0
        self.clock = clock

    def step(self, number: int = 1) -> None:
        """Count ``number`` steps; raises Failure over the limit."""
        self.steps += number
        if self.steps > MAX_STEPS:
            raise Failure(f"the evaluation takes more than {MAX_STEPS:,} steps")

    def look(self, text: str) -> None:
        """Count the steps of looking at a text once."""
        self.step(1 + (len(text) >> 6))

    def build(self, characters: int, items: int = 0) -> None:
        """Count what is about to be built; raises Failure over the limit, before memory is taken."""
        self.built += characters + items * ITEM
        if self.built > MAX_BUILT:
            raise Failure(f"the evaluation builds more than {MAX_BUILT // 1024**2} MiB of values")

    def integer(self, value: int) -> int:
        """``value``, counted by its length; raises Failure if it has too many digits."""
        self.step(value.bit_length() >> 6)
        if not -INTEGER_END < value < INTEGER_END:
            raise Failure(TOO_MANY_DIGITS)
        return value
