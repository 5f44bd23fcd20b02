"""The loop in every worker that vouches for it, and, led by one, mends what messages lost.

It runs as a thread of the worker's parent process, so a program that holds the interpreter lock of a pool process
does not silence it. All times are the database's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery import signals as celery_signals
from celery.worker import state as worker_state
from django.db import close_old_connections, connection

from flowerapp import canvas, conf, engine, identity, memory, queues, signals, tasks
from flowerapp.models import Event, Flow, Lease, Task, Worker
from flowerapp.querysets import batched
from flowerapp.states import Status

logger = logging.getLogger(__name__)

DUTY = "watcher"
"""Name of the lease row of the leader."""
PAGE = 500
"""Rows that one duty takes at once; what is left comes with the next tick."""
TICK = 0.5
"""Seconds between looks."""


def intervened(kind: str, flow_id: str, seq: int) -> None:
    """Log and count that a message or a worker was lost and the watcher stepped in."""
    logger.warning("intervention: %s of flow %s task %s", kind, flow_id, seq)
    signals.intervened.send(sender=Watcher, kind=kind, flow_id=flow_id, seq=seq)


# Duties of the leader


def hand_over() -> int:
    """Send what nobody sent yet: due retries, and tasks of processes that reach no broker."""
    found = list(Task.objects.handed_over().order_by("task_priority", "pk").values_list("pk", flat=True)[:PAGE])
    if not found:
        return 0
    chosen = Task.objects.filter(pk__in=found)
    messages = chosen.startable().messages(alone=True)
    chosen.mark_sent()
    engine.send(messages)
    return len(messages)


def resend() -> int:
    """Send again what was sent long ago and is in its queue no more."""
    silent = Task.objects.silent(conf.get().RESEND_AFTER)
    if not silent.exists():
        return 0
    waiting = queues.waiting(Task.objects.startable())
    in_broker = queues.sizes(waiting)
    missing = {name: waiting[name] - in_broker[name] for name in waiting if waiting[name] > in_broker[name]}
    count = 0
    for row in silent.order_by("sent_ts").values("pk", "program", "queue")[: PAGE * 10].iterator():
        name = queues.queue_of(row["program"], row["queue"])
        if missing.get(name, 0) > 0 and count < PAGE:
            missing[name] -= 1
            count += _resend(row["pk"])
    return count


def _resend(pk: int) -> int:
    chosen = Task.objects.filter(pk=pk)
    messages = chosen.startable().messages(alone=True)
    for message in messages:
        chosen.mark_sent()
        Event.objects.record("resend", message.flow_id, message.head.seq, actor="watcher", reason="its message was lost")
        intervened("resend", message.flow_id, message.head.seq)
    engine.send(messages)
    return len(messages)


def rescue() -> int:
    """Send tasks again whose worker is dead."""
    living = list(Worker.objects.living(conf.get().LEASE_SECONDS).values_list("pk", flat=True))
    found = Task.objects.orphaned(living, conf.get().LEASE_SECONDS).order_by("pk")
    count = 0
    for flow_id, seq, worker in found.values_list("task_flow_id", "task_exec_seq", "worker")[:PAGE]:
        outcome = engine.lost(flow_id, seq, "its worker is dead", worker=worker)
        engine.send(outcome.released)
        intervened("rescue", flow_id, seq)
        count += 1
    return count


def settle() -> int:
    """Bring flows in line that two last events at once left open."""
    return sum(engine.settle(flow_id) for flow_id in Flow.objects.unsettled().values_list("pk", flat=True)[:PAGE])


def prune() -> int:
    """Delete flows past their retention, where one is set, and workers that are long gone."""
    days = conf.get().RETENTION_DAYS
    Worker.objects.forget(86_400)
    if days is None:
        return 0
    old = list(Flow.objects.ended_before(days).values_list("pk", flat=True)[:PAGE])
    return sum(engine.delete(some) for some in batched(old, 100))


DUTIES: tuple[tuple[float, Callable[[], int]], ...] = (
    (0.5, hand_over),
    (2, engine.adopt),
    (2, rescue),
    (2, resend),
    (3, settle),
    (60, prune),
)
"""What the leader does, each with the seconds between."""


class Watcher(threading.Thread):
    """The loop of one worker."""

    def __init__(self, description: dict[str, Any], pool: Callable[[], Any] = lambda: None) -> None:
        super().__init__(name="flowerapp-watcher", daemon=True)
        self.description = description
        self.pool = pool
        self.worker = identity.worker()
        self.leads = False
        self.stopping = threading.Event()
        self._last: dict[str, float] = {}

    def announce(self) -> None:
        """Write the worker's row, before it claims anything."""
        Worker.objects.update_or_create(pk=self.worker, defaults={**self.description, "stopped_ts": None})
        Worker.objects.seen(self.worker)

    def run(self) -> None:
        """Look again and again until stopped; an error of one look is logged and does not end the loop."""
        while not self.stopping.wait(TICK):
            self.look()
        self.say_goodbye()

    def look(self) -> None:
        """One round: vouch, stop what was cancelled, and lead if it is our turn."""
        close_old_connections()
        if not self._do("vouch", 2, self.vouch):
            return
        self._do("stop cancelled", 1, self.stop_cancelled)
        self._do("lead", conf.get().LEADER_SECONDS / 4, self.take_lead)
        if self.leads:
            for seconds, duty in DUTIES:
                if self.stopping.is_set() or not self._do(duty.__name__, seconds, duty):
                    break

    def _do(self, name: str, seconds: float, duty: Callable[[], Any]) -> bool:
        """Run a duty if it is due; False if it failed."""
        if time.monotonic() - self._last.get(name, float("-inf")) < seconds:
            return True
        try:
            duty()
        except Exception:  # the database or the broker may be away; the next look tries again
            logger.warning("watcher: %s failed; trying again", name, exc_info=True)
            connection.close()
            return False
        self._last[name] = time.monotonic()
        return True

    def vouch(self) -> None:
        """Give a sign of life for all tasks of this worker."""
        if not Worker.objects.seen(self.worker):
            self.announce()

    def take_lead(self) -> None:
        """Take the lead if nobody has it, or keep it."""
        self.leads = Lease.objects.take(DUTY, self.worker, conf.get().LEADER_SECONDS)

    def stop_cancelled(self) -> None:
        """Tell the processes of cancelled tasks to stop."""
        requests = {request.id: request for request in list(worker_state.active_requests)}
        places = {celery_id: place for celery_id in requests if (place := canvas.place_of(celery_id))}
        for celery_id, (flow_id, seq) in places.items():
            pid = getattr(requests[celery_id], "worker_pid", None)
            cancelled = Task.objects.one(flow_id, seq).filter(worker=self.worker, pid=pid, exec_status=Status.IGNORE)
            if pid not in (None, os.getpid()) and self.pool() is not None and cancelled.exists():
                logger.info("flow %s task %s was cancelled: stopping process %s", flow_id, seq, pid)
                requests[celery_id].terminate(self.pool(), signal="TERM")

    def say_goodbye(self) -> None:
        """Lay the lead down and tell that this worker is gone."""
        try:
            Lease.objects.give_up(DUTY, self.worker)
            Worker.objects.stopped(self.worker)
        except Exception:  # the lease runs out by itself
            logger.warning("watcher: could not say goodbye", exc_info=True)
        finally:
            connection.close()

    def stop(self, timeout: float = 10) -> None:
        """End the loop; waits up to ``timeout`` seconds."""
        self.stopping.set()
        if self.is_alive():
            self.join(timeout)


_watcher: Watcher | None = None


def describe(controller: Any) -> dict[str, Any]:
    """Columns of the worker's row."""
    return {
        "name": controller.hostname,
        "pid": os.getpid(),
        "pool": str(controller.pool_cls).rsplit(".", 1)[-1].removesuffix("'>").removesuffix(":TaskPool"),
        "concurrency": controller.concurrency or 1,
        "queues": sorted(_queue_names(controller.app)),
    }


def _queue_names(app: Any) -> Iterable[str]:
    return (str(name) for name in app.amqp.queues.consume_from)


def on_worker_init(sender: Any, **_: Any) -> None:
    """In the parent, before the pool starts: a new identity, and the tasks that wrap the host's."""
    url = str(sender.app.conf.broker_url)
    if not memory.reachable(url):
        message = "no broker is configured: set CELERY_BROKER_URL, or REDIS_HOST, or run `python manage.py standalone`"
        logger.critical(message)
        raise SystemExit(2)
    identity.renew()
    tasks.add_host_tasks(sender.app)


def on_worker_ready(sender: Any, **_: Any) -> None:
    """In the parent, before it consumes: start the watcher."""
    global _watcher  # noqa: PLW0603 - one per process
    if not conf.get().WATCHER:
        return
    _watcher = Watcher(describe(sender.controller), pool=lambda: sender.pool)
    _watcher.announce()
    connection.close()
    _watcher.start()


def on_worker_shutdown(**_: Any) -> None:
    """In the parent, after the pool has stopped."""
    if _watcher is not None:
        _watcher.stop()


def on_unknown_task(name: str = "", id: str = "", **_: Any) -> None:  # noqa: A002 - the signal's word
    """A message for a program that this worker does not have: suspend its task, saying so."""
    if (place := canvas.place_of(id)) and name.startswith(canvas.PREFIX):
        program = name.removeprefix(canvas.PREFIX)
        reason = f"program {program!r} is unknown to the worker that got it; deploy it there, or route it elsewhere"
        engine.refused(*place, identity.worker(), reason)


def install() -> None:
    """Connect to the worker's life."""
    celery_signals.worker_init.connect(on_worker_init)
    celery_signals.worker_ready.connect(on_worker_ready)
    celery_signals.worker_shutdown.connect(on_worker_shutdown)
    celery_signals.task_unknown.connect(on_unknown_task)
