"""Pools: which tasks have the slots of one, and which wait."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowerapp.core import values
from flowerapp.exceptions import UnknownPoolError
from flowerapp.models import Pool, Task
from flowerapp.querysets import PoolQuerySet
from flowerapp.selectors.shown import rows

COLUMNS = ("name", "slots", "description")
"""Columns of a pool that API and command line show."""


def with_use() -> PoolQuerySet:
    """Pools by name with ``held``, the slots that tasks have, and ``waiting``, the tasks that wait for one."""
    return Pool.objects.order_by("name").with_use()


def get_pool(name: str) -> Pool:
    """The pool; raises UnknownPoolError."""
    pool: Pool | None = Pool.objects.filter(pk=name).first() if values.storable(name) else None
    if pool is None:
        raise UnknownPoolError(f"there is no pool {name!r}")
    return pool


@dataclass(frozen=True)
class PoolUse:
    """A pool with the tasks that have its slots and those that wait for one."""

    pool: Pool

    @cached_property
    def held(self) -> int:
        """Slots that tasks have."""
        return int(self.holders.count())

    @cached_property
    def waiting(self) -> int:
        """Tasks that wait for a slot and nothing else."""
        return int(self.waiters.count())

    @property
    def holders(self) -> Any:
        """Tasks that run, or are about to, the longest first; as people may see them."""
        return rows(Task.objects.holding(self.pool.pk).order_by("started_ts", "pk"))

    @property
    def waiters(self) -> Any:
        """Tasks that wait for a slot, in line; as people may see them."""
        return rows(Task.objects.waiting_for(self.pool.pk))
