"""The worker itself: Celery's own, with a pool of threads and the in-memory broker."""

from __future__ import annotations

import importlib.util
import os
import threading
from typing import Any, cast

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
    stopped = set(Worker.objects.filter(stopped_ts__isnull=False).values_list("pk", flat=True))
    Worker.objects.exclude(pk__in=stopped).update(stopped_ts=Now())
    Lease.objects.update(expires_ts=Now())
    running = Task.objects.filter(exec_status=Status.RUNNING).exclude(program="")
    places = list(running.values_list("task_flow_id", "task_exec_seq", "worker"))
    for flow_id, seq, worker in places:
        how = "was stopped" if worker in stopped else "ended without saying goodbye"
        engine.lost(flow_id, seq, f"the server that ran it {how}", worker=worker, counted=worker not in stopped)
    Task.objects.startable().filter(sent_ts__isnull=False).update(sent_ts=None)
    return len(places)


class EmbeddedWorker(threading.Thread):
    """A worker with its watcher, in a thread of this process."""

    def __init__(self) -> None:
        super().__init__(name="flowerapp-worker", daemon=True)
        self.pid = os.getpid()
        """Its process: ours."""
        self.app: Any = cast("Any", current_app)._get_current_object()
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

    def ended(self) -> int | None:
        """1 if it ended by itself; None while it works."""
        return None if self.is_alive() else 1

    def stop(self, timeout: float) -> None:
        """Take nothing more, wait up to ``timeout`` seconds for what runs, and end what has a process of its own."""
        cast("Any", state).should_stop = 0
        self.join(timeout)
        children.kill_all()
        signals.worker_shutdown.send(sender=self)


def app_name() -> str:
    """What ``celery -A`` takes for the current app."""
    name = str(current_app.main or "")
    if name and importlib.util.find_spec(name):
        return name
    return os.environ.get("DJANGO_SETTINGS_MODULE", "").rpartition(".")[0]
