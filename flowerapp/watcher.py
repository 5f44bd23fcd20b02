"""The loop in every worker that vouches for it, and, led by one, mends what messages lost.

It runs as a thread of the worker's parent process, so a program that holds the interpreter lock of a pool process
does not silence it. All times are the database's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
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
REVIVAL = 6
"""Seconds after a time without the database before anyone is taken for dead: nobody could give a sign of life."""
GRACE = 2
"""Seconds that a claim may be older than what the worker's parent knows of it."""


def intervened(kind: str, flow_id: str, seq: int) -> None:
    """Log and count that a message or a worker was lost and the watcher stepped in."""
    logger.warning("intervention: %s of flow %s task %s", kind, flow_id, seq)
    signals.intervened.send(sender=Watcher, kind=kind, flow_id=flow_id, seq=seq)


# Duties of the leader


def hand_over() -> int:
    """Send what nobody sent yet: due retries, parked tasks whose time has come, tasks of processes without a broker."""
    overslept = list(Task.objects.overslept().values_list("pk", flat=True)[:PAGE])
    Task.objects.filter(pk__in=overslept).wake()
    found = list(Task.objects.handed_over().order_by("task_priority", "pk").values_list("pk", flat=True)[:PAGE])
    if not found:
        return 0
    chosen = Task.objects.filter(pk__in=found)
    messages = chosen.startable().messages(alone=True)
    chosen.mark_sent()
    engine.send(messages)
    return len(messages)


class Resend:
    """Send again what was sent long ago and is in its queue no more.

    A queue that holds fewer messages than silent tasks wait for it has lost some: the oldest. The broker is asked
    first, so what is taken from the queue meanwhile is not missed; and a task must be among the oldest in two looks, so
    one that a worker has just taken is not either.
    """

    def __init__(self) -> None:
        self.suspects: set[int] = set()

    def __call__(self) -> int:
        """One look; the number sent again."""
        before, self.suspects = self.suspects, set()
        silent = Task.objects.silent(conf.get().RESEND_AFTER)
        if silent.exists():
            in_broker = queues.sizes(queues.waiting(silent))
            oldest = silent.order_by("sent_ts", "pk").values_list("pk", "program", "queue")
            counts = queues.waiting(silent)
            missing = {name: counts[name] - in_broker.get(name, 0) for name in counts}
            for pk, program, queue in oldest[: PAGE * 10] if max(missing.values(), default=0) > 0 else ():
                name = queues.queue_of(program, queue)
                if missing.get(name, 0) > 0:
                    missing[name] -= 1
                    self.suspects.add(pk)
        return _send_again(sorted(self.suspects & before)[: PAGE * 4])


def _send_again(pks: Sequence[int]) -> int:
    count = 0
    for some in batched(pks):
        chosen = Task.objects.filter(pk__in=some)
        messages = chosen.startable().messages(alone=True)
        chosen.mark_sent()
        Event.objects.record_all("resend", [(each.flow_id, each.head.seq) for each in messages], "its message was lost")
        for message in messages:
            intervened("resend", message.flow_id, message.head.seq)
        engine.send(messages)
        count += len(messages)
    return count


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


def duties() -> list[tuple[str, float, Callable[[], int]]]:
    """What the leader does, each with the seconds between."""
    return [
        ("hand over", 0.5, hand_over),
        ("adopt", 2, engine.adopt),
        ("rescue", 2, rescue),
        ("resend", 2, Resend()),
        ("settle", 3, settle),
        ("prune", 60, prune),
    ]


class Watcher(threading.Thread):
    """The loop of one worker."""

    def __init__(self, description: dict[str, Any], pool: Callable[[], Any] = lambda: None) -> None:
        super().__init__(name="flowerapp-watcher", daemon=True)
        self.description = description
        self.pool = pool
        self.worker = identity.worker()
        self.leads = False
        self.duties = duties()
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
            self._last["rescue"] = time.monotonic() + REVIVAL
            return
        self._do("stop cancelled", 1, self.stop_cancelled)
        self._do("rescue own", 1, self.rescue_own)
        self._do("lead", conf.get().LEADER_SECONDS / 4, self.take_lead)
        if self.leads:
            for name, seconds, duty in self.duties:
                self._do(name, seconds, duty)

    def _do(self, name: str, seconds: float, duty: Callable[[], Any]) -> bool:
        """Run a duty if it is due and we are not stopping; False if it failed."""
        if self.stopping.is_set() or time.monotonic() - self._last.get(name, float("-inf")) < seconds:
            return True
        try:
            duty()
        except Exception as error:  # the database or the broker may be away; a later look tries again
            logger.warning("watcher: %s failed and is tried again in %g s: %r", name, seconds, error)
            logger.debug("watcher: %s", name, exc_info=True)
            connection.close()
            return False
        finally:
            self._last[name] = time.monotonic()
        return True

    def vouch(self) -> None:
        """Give a sign of life for all tasks of this worker."""
        if not Worker.objects.seen(self.worker):
            self.announce()

    def take_lead(self) -> None:
        """Take the lead if nobody has it, or keep it; never where the setting WATCHER is off."""
        self.leads = conf.get().WATCHER and Lease.objects.take(DUTY, self.worker, conf.get().LEADER_SECONDS)

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

    def rescue_own(self) -> None:
        """Send tasks again that this worker claimed and no longer knows of: their process or its outcome was lost."""
        known = {place for celery_id in list(worker_state.requests) if (place := canvas.place_of(celery_id))}
        mine = Task.objects.orphaned([], GRACE).filter(worker=self.worker).order_by("pk")
        for place in mine.values_list("task_flow_id", "task_exec_seq")[:PAGE]:
            if place not in known:
                outcome = engine.lost(*place, "its process ended without an outcome", worker=self.worker)
                engine.send(outcome.released)
                intervened("rescue", *place)

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
    global _watcher
    _watcher = Watcher(describe(sender.controller), pool=lambda: sender.pool)
    _watcher.announce()
    connection.close()
    _watcher.start()


def on_worker_shutdown(**_: Any) -> None:
    """In the parent, after the pool has stopped."""
    if _watcher is not None:
        _watcher.stop()


def on_unknown_task(name: str = "", id: str = "", **_: Any) -> None:
    """A message for a program that this worker does not have: suspend its task, saying so."""
    if (place := canvas.place_of(id)) and name.startswith(canvas.PREFIX):
        program = name.removeprefix(canvas.PREFIX)
        reason = f"program {program!r} is unknown to the worker that got it; deploy it there, or route it elsewhere"
        try:
            engine.refused(*place, identity.worker(), reason)
        finally:
            connection.close()


def install() -> None:
    """Connect to the worker's life."""
    celery_signals.worker_init.connect(on_worker_init)
    celery_signals.worker_ready.connect(on_worker_ready)
    celery_signals.worker_shutdown.connect(on_worker_shutdown)
    celery_signals.task_unknown.connect(on_unknown_task)
