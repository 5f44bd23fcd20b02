"""Settle flows that stayed open because their last two tasks ended at the same time."""

from __future__ import annotations

from flowerapp.engine import propagation
from flowerapp.models import Flow
from flowerapp.querysets import FlowQuerySet
from flowerapp.querysets.db import each_isolated
from flowerapp.watcher.pages import Pages


class Settle:
    """Pages through the flows that are Wait or Running, for those in which nothing can continue.

    A page of them is looked at, however many they are, and one of those with a failed task, which it is mostly about.
    """

    def __init__(self) -> None:
        self.failed = Pages()
        self.going = Pages()

    def __call__(self) -> int:
        """One page of each; the number that changed."""
        return _settle(self.failed, Flow.objects.failed_and_going()) + _settle(self.going, Flow.objects.going())


def _settle(pages: Pages, flows: FlowQuerySet) -> int:
    page = [key for (key,) in pages.next(flows)]
    unsettled = Flow.objects.unsettled().filter(pk__in=page).values_list("pk", flat=True) if page else ()
    return each_isolated(list(unsettled), propagation.settle)
