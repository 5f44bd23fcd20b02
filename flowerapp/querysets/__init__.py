"""Every change of a status, as guarded methods of querysets.

Most return the number of rows that they changed; those that claim or satisfy a task return a ``Claim`` or a
``Completion``. Zero or None is a normal answer: another process was first, or the task has moved on.

Locks are taken in this order: children by ascending seq, then steps by ascending seq, then their flow. Rows that are
locked with SKIP LOCKED may be out of this order, because that waits for no other process. A process that has locked the
row of a limit waits for no locked task.
"""

from __future__ import annotations

from flowerapp.querysets.claim import Claim
from flowerapp.querysets.db import batched
from flowerapp.querysets.definitions import DefinitionQuerySet, PoolQuerySet, WorkflowQuerySet
from flowerapp.querysets.flows import FlowQuerySet
from flowerapp.querysets.history import HistoryQuerySet, HookQuerySet
from flowerapp.querysets.lifecycle import TaskQuerySet
from flowerapp.querysets.output_cache import CacheQuerySet
from flowerapp.querysets.ready import NOT_REFUSED
from flowerapp.querysets.successes import Completion, Success
from flowerapp.querysets.task_logs import LogQuerySet, LogRow
from flowerapp.querysets.workers import LeaseQuerySet, WorkerQuerySet

__all__ = [
    "NOT_REFUSED",
    "CacheQuerySet",
    "Claim",
    "Completion",
    "DefinitionQuerySet",
    "FlowQuerySet",
    "HistoryQuerySet",
    "HookQuerySet",
    "LeaseQuerySet",
    "LogQuerySet",
    "LogRow",
    "PoolQuerySet",
    "Success",
    "TaskQuerySet",
    "WorkerQuerySet",
    "WorkflowQuerySet",
    "batched",
]
