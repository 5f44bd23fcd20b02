"""Every guarded status change, as named queryset methods that return how many rows moved.

Zero rows is a normal result: another process was first, or the task has moved on. Locks are always taken in this order:
children by ascending seq, then steps by ascending seq, then their flow. A process that has locked the row of a limit
waits for no locked task.
"""

from __future__ import annotations

from flowerapp.querysets.claim import Claim
from flowerapp.querysets.db import batched
from flowerapp.querysets.definitions import DefinitionQuerySet, PoolQuerySet, WorkflowQuerySet
from flowerapp.querysets.finish import Completion, Success
from flowerapp.querysets.flows import FlowQuerySet
from flowerapp.querysets.history import HistoryQuerySet, HookQuerySet
from flowerapp.querysets.lifecycle import TaskQuerySet
from flowerapp.querysets.workers import LeaseQuerySet, WorkerQuerySet

__all__ = [
    "Claim",
    "Completion",
    "DefinitionQuerySet",
    "FlowQuerySet",
    "HistoryQuerySet",
    "HookQuerySet",
    "LeaseQuerySet",
    "PoolQuerySet",
    "Success",
    "TaskQuerySet",
    "WorkerQuerySet",
    "WorkflowQuerySet",
    "batched",
]
