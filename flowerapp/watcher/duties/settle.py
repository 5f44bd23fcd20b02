"""Settle flows that stayed open because their last two tasks ended at the same time."""

from __future__ import annotations

from flowerapp.engine import propagation
from flowerapp.models import Flow
from flowerapp.querysets.db import each_isolated
from flowerapp.watcher.pages import Pages


class Settle:
    """Pages through the flows in which nothing can continue although they are not Suspend."""

    def __init__(self) -> None:
        self.pages = Pages()

    def __call__(self) -> int:
        """One page; the number that changed."""
        return each_isolated(self.pages.next(Flow.objects.unsettled()), lambda row: propagation.settle(row[0]))
