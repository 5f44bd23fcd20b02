"""The worker itself: Celery's own, with a pool of threads and the in-memory broker."""

from __future__ import annotations

import os
import threading
from typing import Any

from celery import current_app, signals
from celery.worker import state
from django.db.models.functions import Now

from flowerapp import engine, memory
from flowerapp.embedded import children
from flowerapp.models import Lease, Task, Worker
from flowerapp.states import Status

THREADS = 8
"""Tasks at once, unless the host's ``worker_concurrency`` says otherwise."""


def uses_memory() -> bool:
    """Whether the Celery app has no broker but the one in this process's memory."""
    return memory.is_memory(str(current_app.conf.broker_url))


def take_up() -> int:
    """Go on where the server before us stopped, at once: no other process works on this database any more.

    The number of tasks that were running then.
    """
    Worker.objects.filter(stopped_ts__isnull=True).update(stopped_ts=Now())
    Lease.objects.update(expires_ts=Now())
    running = Task.objects.filter(exec_status=Status.RUNNING).exclude(program="")
    places = list(running.values_list("task_flow_id", "task_exec_seq", "worker"))
    for flow_id, seq, worker in places:
        engine.lost(flow_id, seq, "the server that ran it ended", worker=worker)
    Task.objects.startable().filter(sent_ts__isnull=False).update(sent_ts=None)
    return len(places)


class EmbeddedWorker(threading.Thread):
    """A worker with its watcher, in a thread of this process."""

    def __init__(self) -> None:
        super().__init__(name="flowerapp-worker", daemon=True)
        self.ready = threading.Event()
        """Set when it consumes."""
        self.app: Any = current_app._get_current_object()
        memory.serve()
        engine.use_performer(children.perform)

    def run(self) -> None:
        """Work until stopped."""
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
        self.ready.set()

    def stop(self, timeout: float) -> None:
        """Take nothing more, wait up to ``timeout`` seconds for what runs, and end what has a process of its own."""
        state.should_stop = 0
        self.join(timeout)
        children.kill_all()
        signals.worker_shutdown.send(sender=self)
