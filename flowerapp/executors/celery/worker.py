"""The life of a Celery worker: when it takes an identity, starts its threads, and stops."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined] # missing in the types
from billiard.exceptions import WorkerLostError
from celery import signals
from celery.app import app_or_default
from celery.exceptions import Ignore, TimeLimitExceeded
from celery.worker import state as worker_state
from celery.worker.request import Request
from celery.worker.state import task_ready
from django.db import connections

from flowerapp import conf, workflows
from flowerapp.core import identity, logs
from flowerapp.core.names import part_problems, unseen_problems
from flowerapp.engine import attempts, dispatching, log_writer, recovery
from flowerapp.executors.celery import (
    brokers,
    checks,
    continuation,
    memory_transport,
    reports,
    stopping,
    task_events,
    tasks,
    versions,
)
from flowerapp.executors.celery.routes import PREFIX, has_time_limit, ref_of
from flowerapp.executors.celery.shutdown import Shutdown
from flowerapp.executors.celery.supervisor import PoolSupervisor
from flowerapp.executors.streams.loop import StreamLoop
from flowerapp.querysets.db import CONNECTION_ERRORS, alias, refused_database
from flowerapp.watcher.heartbeat import Heartbeat
from flowerapp.watcher.leader import Leader
from flowerapp.watcher.loop import TICK, Loop, stop_all

logger = logs.logger(__name__)

_loops: list[Loop] = []

PROCESS_LOST = (WorkerLostError, TimeLimitExceeded, SystemExit, KeyboardInterrupt)
"""What the pool reports where a process ended, or was killed, without an outcome."""


class ProgramRequest(Request):
    """A program's message in the worker's parent; its backend learns which process ran it, its process how long it
    may continue."""

    _ended = False
    """Whether the end of its process has been given to the engine."""

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        limited = any(self.time_limits) or has_time_limit(self.task)
        seconds = 0 if limited else continue_seconds()
        clock = app_or_default().clock.value if sends_events() else None  # type: ignore[attr-defined] # missing in the types
        headers = {continuation.HEADER: seconds, task_events.HEADER: clock}
        self._request_dict.update(headers)  # type: ignore[attr-defined] # missing in the types

    def send_event(self, type: str, **fields: Any) -> None:
        """Send an event to monitors, unless its process, which continued, has sent it."""
        if not isinstance(fields.get("result"), task_events.Announced):
            super().send_event(type, **fields)

    def on_timeout(self, soft: Any, timeout: Any) -> None:
        """It ran out of time; the engine decides what follows, and reports it."""
        if soft or worker_state.should_terminate:
            super().on_timeout(soft, timeout)
        else:
            self._end_by(TimeLimitExceeded(timeout))

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Its process was lost, or the attempt ended otherwise than by a success."""
        error = exc_info.exception
        error = error.exc if isinstance(error, ExceptionWithTraceback) else error
        if isinstance(error, PROCESS_LOST) and not self._is_expected():
            self._end_by(error if isinstance(error, Exception) else WorkerLostError(repr(error)))
            return
        super().on_failure(exc_info, send_failed_event, return_ok)
        if isinstance(error, Ignore):  # Celery sends no event, so that a monitor would show it as running
            self.send_event("task-ignored")

    def _is_expected(self) -> bool:
        """Whether its process was stopped because the message was revoked or its worker is stopping."""
        return bool(self._already_cancelled or self._already_revoked)  # type: ignore[attr-defined] # missing in the types

    def _end_by(self, error: Exception) -> None:
        """Let the engine record, once, that the process ended, which the message's task cannot report itself."""
        if self._ended:
            return
        self._ended = True
        task_ready(self)
        self._name_process()
        self.task.backend.mark_as_failure(self.id, error, request=self._context)  # type: ignore[attr-defined] # the same
        self.acknowledge()

    def _name_process(self) -> None:
        self._context.worker_pid = self.worker_pid  # type: ignore[attr-defined] # missing in the types


LOG_SECONDS = 3.0
"""Seconds that a process which ends may take to write the last lines of its tasks."""
_consumer: Any = None


def continue_seconds() -> float:
    """Seconds that a process may continue from a message on.

    0 if a rate limit is set, or the pool renews its processes or limits their time: these work per message.
    """
    if _consumer is None:
        return 0
    options = ("maxtasksperchild", "max_memory_per_child", "timeout", "soft_timeout")
    counted = any(_consumer.task_buckets.values()) or any(map(_consumer.pool.options.get, options))
    return 0 if counted else conf.get().CONTINUE_SECONDS


def sends_events() -> bool:
    """Whether the worker's task events are on, as ``-E`` and ``celery control enable_events`` switch them."""
    events = getattr(_consumer, "event_dispatcher", None)
    return events is not None and events.enabled and (not events.groups or "task" in events.groups)


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


def on_celeryd_init(instance: Any, options: Any = None, **_: Any) -> None:
    """Before a ``celery worker`` does anything: end it where it could not do its work, saying why and what to do."""
    reasons = [f"{refusal.msg}. {refusal.hint}" for refusal in checks.refusals(instance.app)]
    if database := refused_database(alias()):
        reasons.append(f"{database.reason}. {database.cure}.")
    if not reasons and brokers.is_cluster(instance.app):
        reasons.append("the broker is a Redis Cluster, which kombu cannot use. Use a single Redis server, or Sentinel.")
    reasons += _name_problems(str(instance.hostname), options)
    for reason in reasons:
        logger.critical("%s", reason)
    if reasons:
        raise SystemExit(2)


def _name_problems(name: str, options: Any) -> Iterator[str]:
    """The problems of the names that ``celery worker -n NAME -Q QUEUES`` gives."""
    yield from unseen_problems(name, "the name of the worker")
    queues = (options or {}).get("queues") or ()
    for queue in queues.split(",") if isinstance(queues, str) else queues:
        yield from part_problems(str(queue), f"the name of the queue {queue!r}")


def on_worker_init(sender: Any, **_: Any) -> None:
    """In the parent, before the pool starts: a new identity, the tasks that wrap the host's, the workflow classes."""
    url = str(sender.app.conf.broker_url)
    if not memory_transport.reachable(url):
        message = "no broker is configured: set CELERY_BROKER_URL, or REDIS_HOST, or run `python manage.py standalone`"
        logger.critical(message)
        raise SystemExit(2)
    if sender.app.conf.task_always_eager:
        logger.warning("task_always_eager is on; this worker turns it off for itself, or tasks would run in its parent")
        sender.app.conf.task_always_eager = False
    identity.renew()
    stopping.enter(stopping.Phase.RUNNING)
    tasks.add_further(sender.app)
    workflows.store_all()
    connections.close_all()


ASKED = ("broker_pool_acquire_timeout", "task_always_eager", "task_repr_maxlevels", "task_send_sent_event")
"""Settings that Celery looks up for each message that it sends."""


def on_process_init(**_: Any) -> None:
    """In a new process of the pool: let tasks continue with others, and keep the settings that do not change any more;
    in Django's, a look takes 10 µs."""
    app = app_or_default()
    app.conf.update(versions.present(app, ASKED))
    tasks.use_continuation(app)


def on_process_shutdown(**_: Any) -> None:
    """In a process of the pool that ends: send the events that wait, and write the last lines of its tasks."""
    task_events.sender.flush()
    log_writer.writer.stop(LOG_SECONDS)


def on_worker_ready(sender: Any, **_: Any) -> None:
    """In the parent, before it consumes: announce the worker, and start its threads."""
    global _consumer
    _consumer = sender
    reports.use(sender)
    heartbeat = Heartbeat(functools.partial(describe, sender.controller))
    try:
        heartbeat.announce()
    except CONNECTION_ERRORS as error:
        logger.warning("the database is unreachable (%r): the worker is announced when it is back", error)
    finally:
        connections.close_all()
    leader = Leader()
    loops = [heartbeat, PoolSupervisor(sender), leader, StreamLoop(lambda: leader.leads)]
    _loops[:] = [*loops, Shutdown(sender, loops)]
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
    stop_all(_loops)
    log_writer.writer.stop(LOG_SECONDS)


def on_shutting_down(how: str = "", **_: Any) -> None:
    """In the parent's signal handler: it was asked to stop."""
    for loop in _loops:
        if isinstance(loop, Shutdown):
            loop.ask(0 if how == "Cold" else conf.get().STOP_GRACE)


def on_unknown_task(name: str = "", id: str = "", **_: Any) -> None:
    """A message for a program that this worker does not have: another one may, so its task is sent again."""
    if (ref := ref_of(id)) and name.startswith(PREFIX):
        try:
            recovery.refuse(ref, attempts.UNKNOWN_PROGRAM.format(name.removeprefix(PREFIX)))
        finally:
            connections.close_all()


def on_internal_error(task_id: str = "", **_: Any) -> None:
    """In the process that ran a task: what its message carries could not be published, so send what it released."""
    if ref := ref_of(task_id):
        dispatching.send_released_by(ref)


def install() -> None:
    """Connect to the worker's life."""
    signals.celeryd_init.connect(on_celeryd_init)
    signals.worker_init.connect(on_worker_init)
    signals.worker_process_init.connect(on_process_init)
    signals.worker_process_shutdown.connect(on_process_shutdown)
    signals.worker_ready.connect(on_worker_ready)
    signals.worker_shutting_down.connect(on_shutting_down)
    signals.worker_shutdown.connect(on_worker_shutdown)
    signals.task_unknown.connect(on_unknown_task)
    signals.task_internal_error.connect(on_internal_error)
