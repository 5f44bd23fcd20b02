"""The admin: pages of flows and tasks with the engine's verbs as buttons, and the editor of workflows."""

from flowerapp.admin import beat
from flowerapp.admin.approvals import ApprovalAdmin
from flowerapp.admin.caches import CacheAdmin
from flowerapp.admin.events import EventAdmin
from flowerapp.admin.flows import FlowAdmin
from flowerapp.admin.latches import LatchAdmin
from flowerapp.admin.pools import PoolAdmin
from flowerapp.admin.tasks import TaskAdmin
from flowerapp.admin.workers import WorkerAdmin
from flowerapp.admin.workflows import WorkflowAdmin

__all__ = [
    "ApprovalAdmin",
    "CacheAdmin",
    "EventAdmin",
    "FlowAdmin",
    "LatchAdmin",
    "PoolAdmin",
    "TaskAdmin",
    "WorkerAdmin",
    "WorkflowAdmin",
]

beat.install()
