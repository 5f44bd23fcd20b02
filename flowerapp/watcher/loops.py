"""The two threads of a worker's parent process: one vouches for the worker, one leads when it is its turn.

They are apart so that a broker that hangs, which holds up the leader, does not silence the worker. In the parent a
program that holds the interpreter lock of a pool process silences neither.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery.worker import state as worker_state
from django.db import close_old_connections, connection

from flowerapp import backend, canvas, conf, identity
from flowerapp.engine.links import database_now
from flowerapp.models import Lease, Task, Worker
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
            close_old_connections()
            self.look()
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
    """Gives the worker's sign of life, and looks after the worker's own tasks."""

    def __init__(self, description: dict[str, Any], pool: Callable[[], Any] = lambda: None) -> None:
        super().__init__("voucher")
        self.description = description
        self.pool = pool

    def look(self) -> None:
        """Vouch; record, stop and rescue what is our own."""
        if self.do("vouch", 2, self.vouch):
            self.do("hold", conf.get().RESEND_AFTER / 4, self.hold)
            self.do("record", 1, backend.record_lost)
            self.do("stop cancelled", 1, self.stop_cancelled)
            self.do("rescue own", 1, self.rescue_own)

    def announce(self) -> None:
        """Write the worker's row, before it claims anything."""
        Worker.objects.update_or_create(pk=self.worker, defaults={**self.description, "stopped_ts": None})
        Worker.objects.seen(self.worker)

    def vouch(self) -> None:
        """Give a sign of life for all tasks of this worker."""
        if not Worker.objects.seen(self.worker):
            self.announce()

    def hold(self) -> None:
        """Tell that messages which wait in this worker are not lost, as long as all its processes are at work.

        One that waits although a process is free has been forgotten by the pool.
        """
        active = {request.id for request in _copy(worker_state.active_requests)}
        if len(active) < self.description.get("concurrency", 1):
            return
        held = {request.id for request in _copy(worker_state.reserved_requests)} - active
        old = Task.objects.silent(conf.get().RESEND_AFTER / 2)
        for place in filter(None, map(canvas.place_of, held)):
            old.one(*place).mark_sent()

    def stop_cancelled(self) -> None:
        """Tell the processes of cancelled tasks to stop."""
        requests = {request.id: request for request in _copy(worker_state.active_requests)}
        places = {celery_id: place for celery_id in requests if (place := canvas.place_of(celery_id))}
        for celery_id, (flow_id, seq) in places.items():
            pid = getattr(requests[celery_id], "worker_pid", None)
            cancelled = Task.objects.one(flow_id, seq).filter(worker=self.worker, pid=pid, exec_status=Status.IGNORE)
            if pid not in (None, os.getpid()) and self.pool() is not None and cancelled.exists():
                logger.info("flow %s task %s was cancelled: stopping process %s", flow_id, seq, pid)
                requests[celery_id].terminate(self.pool(), signal="TERM")

    def rescue_own(self) -> None:
        """Send tasks again that this worker claimed and no longer knows of: their process or its outcome was lost."""
        known = {place for celery_id in _copy(worker_state.requests) if (place := canvas.place_of(celery_id))}
        mine = Task.objects.orphaned([], GRACE).filter(worker=self.worker).order_by("pk")
        for place in mine.values_list("task_flow_id", "task_exec_seq")[:PAGE]:
            if place not in known:
                rescue_one(*place, self.worker, "its process ended without an outcome")

    def say_goodbye(self) -> None:
        """Tell that this worker is gone."""
        Worker.objects.stopped(self.worker)


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
        """Do the leader's duties if it is our turn."""
        if not self.do("lead", conf.get().LEADER_SECONDS / 4, self.take_lead):
            self._hold_rescue()
        elif self.leads:
            self._lead()

    def _lead(self) -> None:
        for name, seconds, duty in self.duties:
            begun = time.monotonic()
            self.do(name, seconds, duty)
            if time.monotonic() - begun > conf.get().LEASE_SECONDS / 2:
                self._hold_rescue()
                return

    def take_lead(self) -> None:
        """Take the lead if nobody has it, or keep it; never where the setting WATCHER is off."""
        self.leads = conf.get().WATCHER and Lease.objects.take(DUTY, self.worker, conf.get().LEADER_SECONDS)
        before, self._looked = self._looked, database_now()
        if before is not None and (self._looked - before).total_seconds() > conf.get().LEASE_SECONDS / 2:
            self._hold_rescue()

    def _hold_rescue(self) -> None:
        """Others may have been as silent as we were, so let them give a sign of life first."""
        self.leads = False
        self.last[RESCUE] = time.monotonic() + REVIVAL

    def say_goodbye(self) -> None:
        """Lay the lead down, so that another need not wait."""
        Lease.objects.give_up(DUTY, self.worker)
