"""Rescue the tasks of dead workers; each worker's supervisor rescues its own."""

from __future__ import annotations

import time

from flowerapp import conf
from flowerapp.core import identity
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import recovery
from flowerapp.models import Task, Worker
from flowerapp.querysets.db import each_isolated
from flowerapp.watcher.interventions import intervened
from flowerapp.watcher.pages import Pages


class Rescue:
    """Pages through the running tasks of dead workers."""

    def __init__(self) -> None:
        self.pages = Pages()

    def __call__(self) -> int:
        """One page; the number rescued."""
        lease, begun = conf.get().LEASE_SECONDS, time.monotonic()
        alive = [identity.worker(), *Worker.objects.alive(lease).values_list("pk", flat=True)]
        orphaned = Task.objects.orphaned(alive, lease)
        rows = self.pages.next(orphaned, "task_flow_id", "task_exec_seq", "worker")
        if time.monotonic() - begun > lease / 2:  # the database hung, so no worker could send a heartbeat
            return 0
        return each_isolated(rows, lambda row: rescue_one(TaskRef(*row[1:3]), row[3], "its worker is dead"))


def rescue_one(ref: TaskRef, worker: str, reason: str) -> int:
    """Send one task again; 1 if it was still that worker's."""
    if not Task.objects.at(ref).run_by(Process(worker, None)).exists():
        return 0
    recovery.conclude(recovery.record_lost(ref, reason, Process(worker, None)))
    intervened("rescue", ref)
    return 1
