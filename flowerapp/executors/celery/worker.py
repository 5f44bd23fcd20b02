"""The life of a Celery worker: when it takes an identity, starts its threads, and stops."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable
from typing import Any

from celery import signals
from celery.app import app_or_default
from celery.worker.request import Request
from django.db import connection

from flowerapp import conf, workflows
from flowerapp.core import identity
from flowerapp.engine import dispatching, recovery
from flowerapp.executors.celery import continuation, memory_transport, tasks
from flowerapp.executors.celery.routes import PREFIX, has_time_limit, ref_of
from flowerapp.executors.celery.supervisor import PoolSupervisor
from flowerapp.querysets.db import CONNECTION_ERRORS
from flowerapp.watcher.heartbeat import Heartbeat
from flowerapp.watcher.leader import Leader
from flowerapp.watcher.loop import TICK, Loop

logger = logging.getLogger(__name__)

_loops: list[Loop] = []


class ProgramRequest(Request):
    """A program's message in the worker's parent; its backend learns which process ran it, its process how long it
    may continue."""

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        limited = any(self.time_limits) or has_time_limit(self.task)
        seconds = 0 if limited else continue_seconds()
        self._request_dict[continuation.HEADER] = seconds  # type: ignore[attr-defined] # missing in the types

    def on_timeout(self, soft: Any, timeout: Any) -> None:
        """It ran out of time."""
        self._name_process()
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Its process was lost, or could not report."""
        self._name_process()
        super().on_failure(exc_info, send_failed_event, return_ok)

    def _name_process(self) -> None:
        self._context.worker_pid = self.worker_pid  # type: ignore[attr-defined] # missing in the types


_consumer: Any = None


def continue_seconds() -> float:
    """Seconds that a process may continue from a message on.

    0 if a monitor's task events are on, a rate limit is set, or the pool renews its processes or limits their time:
    these work per message.
    """
    if _consumer is None:
        return 0
    events = _consumer.event_dispatcher
    looked_at = (
        (events is not None and events.enabled and (not events.groups or "task" in events.groups))
        or any(_consumer.task_buckets.values())
        or any(map(_consumer.pool.options.get, ("maxtasksperchild", "max_memory_per_child", "timeout", "soft_timeout")))
    )
    return 0 if looked_at else conf.get().CONTINUE_SECONDS


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
    """In the parent, before the pool starts: a new identity, the tasks that wrap the host's, the workflow classes."""
    url = str(sender.app.conf.broker_url)
    if not memory_transport.reachable(url):
        message = "no broker is configured: set CELERY_BROKER_URL, or REDIS_HOST, or run `python manage.py standalone`"
        logger.critical(message)
        raise SystemExit(2)
    identity.renew()
    tasks.add_host_tasks(sender.app)
    workflows.store_all()
    connection.close()


ASKED = ("broker_pool_acquire_timeout", "task_always_eager", "task_repr_maxlevels", "task_send_sent_event")
"""Settings that Celery looks up for each message that it sends."""


def on_process_init(**_: Any) -> None:
    """In a new process of the pool: let tasks continue with others, and keep the settings that do not change any more;
    in Django's, a look takes 10 µs."""
    app = app_or_default()
    app.conf.update({name: app.conf[name] for name in ASKED})
    tasks.use_continuation(app)


def on_worker_ready(sender: Any, **_: Any) -> None:
    """In the parent, before it consumes: announce the worker, and start its threads."""
    global _consumer
    _consumer = sender
    heartbeat = Heartbeat(functools.partial(describe, sender.controller))
    try:
        heartbeat.announce()
    except CONNECTION_ERRORS as error:
        logger.warning("the database is unreachable (%r): the worker is announced when it is back", error)
    finally:
        connection.close()
    _loops[:] = [heartbeat, PoolSupervisor(sender), Leader()]
    for loop in _loops:
        loop.start()
    _notice_dead_processes(sender)


def _notice_dead_processes(consumer: Any) -> None:
    """Let the parent notice a dead pool process at once.

    Celery looks when the process's pipe closes, which may be a moment before it can be reaped, and then only every 5 s.
    """
    maintain = getattr(consumer.pool, "maintain_pool", None)
    if consumer.hub is not None and maintain is not None:
        consumer.hub.call_repeatedly(TICK, maintain)


def on_worker_shutdown(**_: Any) -> None:
    """In the parent, after the pool has stopped."""
    for loop in _loops:
        loop.stop()


def on_unknown_task(name: str = "", id: str = "", **_: Any) -> None:
    """A message for a program that this worker does not have: suspend its task, saying so."""
    if (ref := ref_of(id)) and name.startswith(PREFIX):
        program = name.removeprefix(PREFIX)
        reason = f"program {program!r} is unknown to the worker that got it; deploy it there, or route it elsewhere"
        try:
            recovery.reject(ref, identity.worker(), reason)
        finally:
            connection.close()


def on_internal_error(task_id: str = "", **_: Any) -> None:
    """In the process that ran a task: what its message carries could not be published, so send what it released."""
    if ref := ref_of(task_id):
        dispatching.send_released_by(ref)


def install() -> None:
    """Connect to the worker's life."""
    signals.worker_init.connect(on_worker_init)
    signals.worker_process_init.connect(on_process_init)
    signals.worker_ready.connect(on_worker_ready)
    signals.worker_shutdown.connect(on_worker_shutdown)
    signals.task_unknown.connect(on_unknown_task)
    signals.task_internal_error.connect(on_internal_error)
