"""The worker of a standalone server: Celery's own, in a thread, with a pool of threads and the in-memory broker."""

from __future__ import annotations

import importlib.util
import os
import threading
from typing import Any, cast

from celery import current_app, signals
from celery.worker import state

from flowerapp.core import executor
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import recovery
from flowerapp.executors.celery import memory_transport, shutdown, stopping
from flowerapp.executors.celery.executor import CeleryExecutor
from flowerapp.executors.celery.stopping import Phase
from flowerapp.models import Lease, Task, Worker
from flowerapp.querysets.clock import Now
from flowerapp.runtimes import process
from flowerapp.states import Status

THREADS = 8
"""Most tasks that run at once, unless the host sets Celery's ``worker_concurrency``."""
STOP_SECONDS = 3.0
"""Seconds that running tasks may take to end when the server is stopped."""


def uses_memory() -> bool:
    """Whether the broker of the current Celery app is the one in this process's memory."""
    return memory_transport.is_memory(str(current_app.conf.broker_url))


def recover_tasks() -> int:
    """Return the tasks that were running when the previous server ended to Wait; returns their number.

    Only for a server that holds the lock on its database: as no other process can run these tasks, they need not wait
    until the previous worker's lease expires. Tasks that it sent are sent again, because its broker was in its memory.
    """
    stopped = set(Worker.objects.filter(stopped_ts__isnull=False).values_list("pk", flat=True))
    Worker.objects.exclude(pk__in=stopped).update(stopped_ts=Now())
    Lease.objects.update(expires_ts=Now())
    running = Task.objects.filter(exec_status=Status.RUNNING).exclude(program="")
    attempts = list(running.values_list("task_flow_id", "task_exec_seq", "worker"))
    for flow_id, seq, worker in attempts:
        how = "was stopped" if worker in stopped else "ended without being stopped"
        reason = f"the server that ran it {how}"
        record = recovery.hand_back if worker in stopped else recovery.record_lost
        record(TaskRef(flow_id, seq), reason, Process(worker, None))
    Task.objects.startable().filter(sent_ts__isnull=False).update(sent_ts=None)
    return len(attempts)


class WorkerThread(threading.Thread):
    """A Celery worker with its watcher, in a thread of this process; ``WorkerProcess`` has the same interface."""

    def __init__(self) -> None:
        super().__init__(name="flowerapp-worker", daemon=True)
        self.pid = os.getpid()
        """The id of this process."""
        self.app: Any = cast("Any", current_app)._get_current_object()
        memory_transport.serve()
        executor.use(CeleryExecutor(isolates_limited=True))

    def run(self) -> None:
        """Run the worker until it is stopped."""
        self.app.set_current()
        self.app.WorkController(
            app=self.app,
            hostname=f"standalone-{os.getpid()}@localhost",
            pool="threads",
            concurrency=self.app.conf.worker_concurrency or THREADS,
            ready_callback=self._on_ready,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        ).start()

    def _on_ready(self, consumer: Any) -> None:
        signals.worker_ready.send(sender=consumer)

    def ended(self) -> int | None:
        """1 once the worker has ended; None while it runs."""
        return None if self.is_alive() else 1

    def stop(self) -> None:
        """Start no more tasks, wait up to ``STOP_SECONDS`` for the running ones, and hand back what still runs.

        A program in a thread cannot be stopped; ``ended`` returns None as long as one runs.
        """
        stopping.enter(Phase.GRACE)
        cast("Any", state).should_stop = 0
        if self.is_alive():
            self.join(STOP_SECONDS)
        stopping.enter(Phase.ENDING)
        process.kill_all()
        list(shutdown.hand_back())  # sent by the next server, since the broker ends with this one
        signals.worker_shutdown.send(sender=self)


def app_name() -> str:
    """The argument of ``celery -A`` for the current Celery app."""
    name = str(current_app.main or "")
    if name and importlib.util.find_spec(name):
        return name
    return os.environ.get("DJANGO_SETTINGS_MODULE", "").rpartition(".")[0]
