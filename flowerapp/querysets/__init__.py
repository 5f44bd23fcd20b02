"""Every guarded status change, as named queryset methods that answer how many rows moved.

Zero rows is a normal answer: somebody else did it, or the task has moved on. Locks are always taken in this order:
children by ascending seq, then steps by ascending seq, then their flow. Whoever holds the row of a limit waits for no
task that is locked.
"""

from __future__ import annotations

from flowerapp.querysets.definitions import DefinitionQuerySet, PoolQuerySet, WorkflowQuerySet
from flowerapp.querysets.flows import FlowQuerySet
from flowerapp.querysets.records import EventQuerySet, HookQuerySet, LeaseQuerySet, WorkerQuerySet
from flowerapp.querysets.statements import Claim, Finished
from flowerapp.querysets.steady import batched
from flowerapp.querysets.tasks import TaskQuerySet

__all__ = [
    "Claim",
    "DefinitionQuerySet",
    "EventQuerySet",
    "Finished",
    "FlowQuerySet",
    "HookQuerySet",
    "LeaseQuerySet",
    "PoolQuerySet",
    "TaskQuerySet",
    "WorkerQuerySet",
    "WorkflowQuerySet",
    "batched",
]
