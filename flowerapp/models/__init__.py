"""The tables. ``ms_task_definition`` and ``kr_task_stat`` carry the original's columns under its names."""

from flowerapp.models.definitions import Pool, TaskDefinition, Workflow
from flowerapp.models.flows import Flow
from flowerapp.models.history import HistoryEntry, Hook, Log
from flowerapp.models.output_cache import CachedOutput
from flowerapp.models.tasks import Task
from flowerapp.models.waits import Event, Latch, LatchHold, Wait
from flowerapp.models.workers import Lease, Worker

__all__ = [
    "CachedOutput",
    "Event",
    "Flow",
    "HistoryEntry",
    "Hook",
    "Latch",
    "LatchHold",
    "Lease",
    "Log",
    "Pool",
    "Task",
    "TaskDefinition",
    "Wait",
    "Worker",
    "Workflow",
]
