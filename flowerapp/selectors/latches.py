"""Latches: which tasks hold one, and which wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowerapp.core import values
from flowerapp.exceptions import UnknownLatchError
from flowerapp.models import Latch, LatchHold, Wait
from flowerapp.querysets.waits import LatchQuerySet
from flowerapp.selectors.waiters import MOST_TASKS, NamedTask, named_tasks

COLUMNS = ("name", "ts", "count", "waiting")
"""What API and command line show of a latch: ``ts`` is since when it is held."""


def with_use() -> LatchQuerySet:
    """Latches by name, with ``count``, how often each is held, and ``waiting``, the tasks that wait for it."""
    return Latch.objects.order_by("name").with_use()


def get_latch(name: str) -> Any:
    """The latch as ``with_use`` has it; raises UnknownLatchError."""
    latch = with_use().filter(pk=name).first() if values.storable(name) else None
    if latch is None:
        raise UnknownLatchError(f"there is no latch {name[:256]!r}; one exists while it is held")
    return latch


@dataclass(frozen=True)
class LatchUse:
    """A latch with the tasks that hold it, and those that wait for it."""

    name: str

    @cached_property
    def holders(self) -> list[NamedTask]:
        """The first that acquired it."""
        return named_tasks(LatchHold.objects.of_latch(self.name)[:MOST_TASKS])

    @cached_property
    def waiters(self) -> list[NamedTask]:
        """The first that wait for it."""
        return named_tasks(Wait.objects.filter(latch=self.name).order_by("id")[:MOST_TASKS])
