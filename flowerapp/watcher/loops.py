"""The threads of a worker's parent process: one vouches for it, one looks after its own tasks, one leads in its turn.

They are apart so that a broker that hangs, or a lock in the database, holds up the others and does not silence the
worker. In the parent a program that holds the interpreter lock of a pool process silences none.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery.worker import state as worker_state
from django.db import close_old_connections, connection

from flowerapp import backend, canvas, conf, engine, identity, slices
from flowerapp.engine.clock import database_now
from flowerapp.models import Lease, Task, Worker
from flowerapp.querysets import batched
from flowerapp.states import Status
from flowerapp.watcher.duties import PAGE, RESCUE, rescue_one, rota

logger = logging.getLogger(__name__)

DUTY = "watcher"
"""Name of the lease row of the leader."""
TICK = 0.5
"""Seconds between looks."""
REVIVAL = 6
"""Seconds after a time without the database, or asleep, before anyone is taken for dead: nobody could give a sign of
life."""
GRACE = 2
"""Seconds that a claim may be older than what the worker's parent knows of it."""


class Loop(threading.Thread):
    """Looks at its duties again and again until stopped; an error of one is logged and does not end the loop."""

    def __init__(self, name: str) -> None:
        super().__init__(name=f"flowerapp-{name}", daemon=True)
        self.worker = identity.worker()
        self.stopping = threading.Event()
        self.last: dict[str, float] = {}

    def look(self) -> None:
        """One round."""
        raise NotImplementedError

    def say_goodbye(self) -> None:
        """What is left to do when stopped."""
        raise NotImplementedError

    def run(self) -> None:
        """Work until stopped."""
        while not self.stopping.wait(TICK):
            try:
                close_old_connections()
                self.look()
            except Exception:
                logger.exception("%s: a look failed", self.name)
        try:
            self.say_goodbye()
        except Exception:  # leases run out by themselves
            logger.warning("%s: could not say goodbye", self.name, exc_info=True)
        finally:
            connection.close()

    def do(self, name: str, seconds: float, duty: Callable[[], Any]) -> bool:
        """Run a duty if it is due and we are not stopping; False if it failed."""
        if self.stopping.is_set() or time.monotonic() - self.last.get(name, float("-inf")) < seconds:
            return True
        try:
            duty()
        except Exception as error:  # the database or the broker may be away; a later look tries again
            logger.warning("watcher: %s failed and is tried again in %g s: %r", name, seconds, error)
            logger.debug("watcher: %s", name, exc_info=True)
            connection.close()
            return False
        finally:
            self.last[name] = time.monotonic()
        return True

    def stop(self, timeout: float = 10) -> None:
        """End the loop; waits up to ``timeout`` seconds."""
        self.stopping.set()
        if self.is_alive():
            self.join(timeout)


class Voucher(Loop):
    """Gives the worker's sign of life, and does nothing else that it would have to wait for."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        super().__init__("voucher")
        self.describe = describe
        self.description = describe()

    def look(self) -> None:
        """Vouch."""
        self.do("vouch", 2, self.vouch)

    def announce(self) -> None:
        """Write the worker's row, before it claims anything."""
        Worker.objects.update_or_create(pk=self.worker, defaults={**self.description, "stopped_ts": None})
        Worker.objects.seen(self.worker)

    def vouch(self) -> None:
        """Give a sign of life for all tasks of this worker; its queues may have changed."""
        before, self.description = self.description, self.describe()
        if not Worker.objects.seen(self.worker) or before != self.description:
            self.announce()

    def say_goodbye(self) -> None:
        """Tell that this worker is gone."""
        Worker.objects.stopped(self.worker)


class Keeper(Loop):
    """Looks after the worker's own tasks and messages."""

    def __init__(self, consumer: Any = None) -> None:
        super().__init__("keeper")
        self.consumer = consumer
        self._missed: set[tuple[str, int, int]] = set()

    def look(self) -> None:
        """Hold, record, stop and rescue what is our own."""
        self.do("hold", conf.get().RESEND_AFTER / 4, self.hold)
        self.do("record", 0, backend.record_lost)
        self.do("stop cancelled", 1, self.stop_cancelled)
        self.do("rescue own", 1, self.rescue_own)
        self.do("give back", 1, lambda: engine.give_back_of_dead(self.worker))

    def hold(self) -> None:
        """Tell that messages which wait in this worker are not lost: for their rate limit, or for a free process.

        One that waits although a process is free has been forgotten by the pool.
        """
        active = {request.id for request in _copy(worker_state.active_requests)}
        held = {request.id for request in self._limited()}
        if len(active) >= self._processes():
            held |= {request.id for request in _copy(worker_state.reserved_requests)} - active
        places = sorted(filter(None, map(canvas.place_of, held)))
        for some in batched(places):
            flows, seqs = ({place[part] for place in some} for part in (0, 1))
            silent = Task.objects.silent(conf.get().RESEND_AFTER / 2)
            old = silent.filter(task_flow_id__in=flows, task_exec_seq__in=seqs)
            rows = list(old.values_list("pk", "task_flow_id", "task_exec_seq"))
            Task.objects.filter(pk__in=[pk for pk, *place in rows if tuple(place) in some]).mark_sent()

    def _limited(self) -> Iterator[Any]:
        for bucket in _copy(getattr(self.consumer, "task_buckets", {}).values()):
            yield from (request for request, _ in _copy(bucket.contents if bucket else ()))

    def _processes(self) -> int:
        return getattr(getattr(self.consumer, "pool", None), "num_processes", None) or 1

    def stop_cancelled(self) -> None:
        """Tell the processes of cancelled tasks to stop."""
        requests = {request.id: request for request in _copy(worker_state.active_requests)}
        pool = getattr(self.consumer, "pool", None)
        found = slices.marks.read()
        for celery_id, request in requests.items():
            pid = getattr(request, "worker_pid", None)
            if not (places := slices.places_of(celery_id, found)):
                continue
            flow_id, seq = places[-1]
            cancelled = Task.objects.one(flow_id, seq).filter(worker=self.worker, pid=pid, exec_status=Status.IGNORE)
            if pid not in (None, os.getpid()) and pool is not None and cancelled.exists():
                logger.info("flow %s task %s was cancelled: stopping process %s", flow_id, seq, pid)
                request.terminate(pool, signal="TERM")

    def rescue_own(self) -> None:
        """Send tasks again that this worker claimed and no longer knows of: their process or its outcome was lost.

        Celery forgets a task a moment before its end is recorded, so it must be missed in two looks.
        """
        mine = Task.objects.orphaned([], GRACE).filter(worker=self.worker).order_by("pk")
        running = list(mine.values_list("task_flow_id", "task_exec_seq", "attempt")[:PAGE])
        known, found = backend.unrecorded(), slices.marks.read()
        for celery_id in _copy(worker_state.requests):
            known.update(slices.places_of(celery_id, found))
        before, self._missed = self._missed, {row for row in running if (row[0], row[1]) not in known}
        for flow_id, seq, _ in sorted(before & self._missed):
            rescue_one(flow_id, seq, self.worker, "its process ended without an outcome")

    def say_goodbye(self) -> None:
        """Record the last ends of processes."""
        backend.record_lost()


def _copy(requests: Iterable[Any]) -> list[Any]:
    """A collection of the worker's, which its main thread may be changing."""
    while True:
        try:
            return list(requests)
        except RuntimeError:  # it changed while it was read
            continue


class Watcher(Loop):
    """Leads, if nobody else does."""

    def __init__(self) -> None:
        super().__init__("watcher")
        self.leads = False
        self.duties = rota()
        self._looked: Any = None

    def look(self) -> None:
        """Do the leader's duties as long as it is our turn."""
        for name, seconds, duty in self.duties:
            if not self.do("lead", conf.get().LEADER_SECONDS / 4, self.take_lead):
                self.leads = False
                self._hold_rescue()
            if not self.leads:
                return
            begun = time.monotonic()
            self.do(name, seconds, duty)
            if time.monotonic() - begun > conf.get().LEASE_SECONDS / 2:
                self._hold_rescue()

    def take_lead(self) -> None:
        """Take the lead if nobody has it, or keep it; never where the setting WATCHER is off."""
        self.leads = conf.get().WATCHER and Lease.objects.take(DUTY, self.worker, conf.get().LEADER_SECONDS)
        before, self._looked = self._looked, database_now()
        if before is not None and (self._looked - before).total_seconds() > conf.get().LEASE_SECONDS / 2:
            self._hold_rescue()

    def _hold_rescue(self) -> None:
        """Others may have been as silent as we were, so let them give a sign of life first."""
        self.last[RESCUE] = time.monotonic() + REVIVAL

    def say_goodbye(self) -> None:
        """Lay the lead down, so that another need not wait."""
        Lease.objects.give_up(DUTY, self.worker)
