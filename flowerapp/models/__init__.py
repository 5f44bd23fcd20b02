"""The tables. ``ms_task_definition`` and ``kr_task_stat`` carry the original's columns under its names."""

from flowerapp.models.definitions import TaskDefinition, Workflow
from flowerapp.models.flows import Event, Flow, Log, Task
from flowerapp.models.workers import Lease, Worker

__all__ = ["Event", "Flow", "Lease", "Log", "Task", "TaskDefinition", "Worker", "Workflow"]
