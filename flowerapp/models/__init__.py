"""The tables. ``ms_task_definition`` and ``kr_task_stat`` carry the original's columns under its names."""

from flowerapp.models.definitions import Pool, TaskDefinition, Workflow
from flowerapp.models.flows import Event, Flow, Hook, Log, Task
from flowerapp.models.workers import Lease, Worker

__all__ = ["Event", "Flow", "Hook", "Lease", "Log", "Pool", "Task", "TaskDefinition", "Worker", "Workflow"]
