"""The thread of a worker's parent that looks after the worker's own tasks, messages and processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from celery.worker import state as worker_state

from flowerapp import conf
from flowerapp.core import logs
from flowerapp.core.messages import TaskRef
from flowerapp.engine import hooks
from flowerapp.executors.celery import losses
from flowerapp.executors.celery.process_table import process_table, refs_of
from flowerapp.executors.celery.routes import ref_of
from flowerapp.models import Task
from flowerapp.querysets import batched
from flowerapp.querysets.db import each_isolated
from flowerapp.states import Status
from flowerapp.watcher.duties.rescue import rescue_one
from flowerapp.watcher.loop import Loop
from flowerapp.watcher.pages import PAGE

logger = logs.logger(__name__)

HOLD_SECONDS = 1
"""Seconds after which a held message is no longer silent: less than between two looks for lost ones."""
GRACE = 2
"""Seconds by which the worker's parent may learn of a claim late."""


class PoolSupervisor(Loop):
    """Looks after the worker's own tasks; those of dead workers are the leader's to rescue."""

    def __init__(self, consumer: Any = None) -> None:
        super().__init__("supervisor")
        self.consumer = consumer
        self._missed: set[tuple[TaskRef, int]] = set()

    def look(self) -> None:
        """Hold, record, stop and rescue what is our own."""
        self.do("hold", HOLD_SECONDS, self.hold)
        self.do("record", 0, losses.record_all)
        self.do("stop cancelled", 1, self.stop_cancelled)
        self.do("rescue own", 1, self.rescue_own)
        self.do("release taken hooks", 1, lambda: hooks.release_of_dead_processes(self.worker))

    def hold(self) -> None:
        """Renew ``sent_ts`` of messages that wait in this worker for a rate limit or a free process: they are not lost.

        One that waits although a process is free has been forgotten by the pool.
        """
        active = {request.id for request in _copy(worker_state.active_requests)}
        held = {request.id for request in self._rate_limited()}
        if len(active) >= self._processes():
            held |= {request.id for request in _copy(worker_state.reserved_requests)} - active
        for batch in batched(sorted(filter(None, map(ref_of, held)))):
            silent = Task.objects.silent(conf.get().RESEND_AFTER / 2).keys_of(batch)
            Task.objects.filter(pk__in=silent).mark_sent()

    def _rate_limited(self) -> Iterator[Any]:
        for bucket in _copy(getattr(self.consumer, "task_buckets", {}).values()):
            yield from (request for request, _ in _copy(bucket.contents if bucket else ()))

    def _processes(self) -> int:
        return getattr(getattr(self.consumer, "pool", None), "num_processes", None) or 1

    def stop_cancelled(self) -> None:
        """Stop the processes of cancelled tasks."""
        requests = {request.id: request for request in _copy(worker_state.active_requests)}
        pool = getattr(self.consumer, "pool", None)
        entries = process_table.read()
        for celery_id, request in requests.items():
            pid = getattr(request, "worker_pid", None)
            if not (refs := refs_of(celery_id, entries)):
                continue
            cancelled = Task.objects.at(refs[-1]).filter(worker=self.worker, pid=pid, exec_status=Status.IGNORE)
            if pid not in (None, os.getpid()) and pool is not None and cancelled.exists():
                logger.info("%s was cancelled: stopping process %s", refs[-1], pid)
                request.terminate(pool, signal="TERM")

    def rescue_own(self) -> None:
        """Send tasks again that this worker claimed and no longer knows of: their process or its outcome was lost.

        Celery forgets a task a moment before its end is recorded, so it must be missed in two looks.
        """
        mine = Task.objects.orphaned([], GRACE).filter(worker=self.worker).order_by("pk")
        rows = mine.values_list("task_flow_id", "task_exec_seq", "attempt")[:PAGE]
        running = [(TaskRef(flow_id, seq), attempt) for flow_id, seq, attempt in rows]
        accounted, entries = losses.unrecorded(), process_table.read()
        for celery_id in {*_copy(worker_state.requests), *(it.id for it in _copy(worker_state.active_requests))}:
            accounted.update(refs_of(celery_id, entries))
        before, self._missed = self._missed, {(ref, attempt) for ref, attempt in running if ref not in accounted}
        each_isolated(sorted(before & self._missed), self._rescue)

    def _rescue(self, missed: tuple[TaskRef, int]) -> int:
        return rescue_one(missed[0], self.worker, "its process ended without an outcome")

    def on_stop(self) -> None:
        """Record the last ends of processes."""
        losses.record_all()


def _copy(requests: Iterable[Any]) -> list[Any]:
    """A collection of the worker's, which its main thread may be changing."""
    while True:
        try:
            return list(requests)
        except RuntimeError:  # it changed while it was read
            continue
