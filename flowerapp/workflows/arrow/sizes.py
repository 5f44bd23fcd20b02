"""How much the values of a text have as JSON, which aliases, declarations and declared subflows can repeat at will."""

from __future__ import annotations

from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.limits import MAX_VALUES


class Sizes:
    """The sum of the sizes of values, which is bounded."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def add(self, size: int, position: int) -> None:
        """Count a value of ``size`` characters of JSON; raises Failure over the limit."""
        self.total += size
        if self.total > MAX_VALUES:
            sentence = "the parameters and values of all steps have together more than"
            raise Failure(f"{sentence} {MAX_VALUES // 1024**2} MiB of JSON", position)
