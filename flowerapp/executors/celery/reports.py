"""Says through Celery how attempts ended: its signals, its events for monitors, and the log.

Where an attempt has a message, or a process continues with it, the message's own Celery task ends by the error or by
Celery's Retry; so the tracer, its signals, error trackers that wrap it, and the worker's events say it as for any task.
All others, such as those of processes that were lost, are reported here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, WorkerLostError
from celery import Celery, Task, current_task, signals
from celery.app import app_or_default
from celery.app.task import Context as Request
from celery.exceptions import Retry, TaskPredicate
from kombu.utils.encoding import safe_repr

from flowerapp.core.endings import Ending
from flowerapp.exceptions import AttemptError
from flowerapp.executors.celery.routes import message_id, task_name

_ENDING, _LOGGED = "flower_ending", "flower_logged"
"""Attributes of the request of a message whose attempt ended by an error: the ``Ending``, until it is logged."""

_NOT_FAILURES = (TaskPredicate, MemoryError, WorkerLostError, Terminated)
"""Errors that mean something else to Celery than that the task has failed."""

_message: ContextVar[str] = ContextVar("message", default="")
"""Celery's id of the task that is reported about."""

_consumer: Any = None


def use(consumer: Any) -> None:
    """In a worker's parent: send events over the connection of its consumer."""
    global _consumer
    _consumer = consumer


@contextmanager
def about(celery_id: str) -> Iterator[None]:
    """Within the block the attempt that is reported is known by this id; by a new one if it is empty."""
    token = _message.set(celery_id)
    try:
        yield
    finally:
        _message.reset(token)


# Where the attempt has a message


def end_by(task: Task[Any, Any], ending: Ending) -> NoReturn:
    """End a message's Celery task as its attempt ended: by the program's error, or by Celery's Retry."""
    raised = _raisable(ending)
    setattr(task.request, _ENDING, replace(ending, error=raised))
    if not ending.retried:
        raise raised
    log_once(task.request, task)
    raise _retry(ending)


def log_once(request: Any, task: Task[Any, Any] | None) -> bool:
    """Log the ending that a request has, the first time; False if it has none.

    For a failure it is called by the result backend: error trackers that wrap the task have seen the error by then, and
    take what is logged for the same.
    """
    ending: Ending | None = getattr(request, "__dict__", {}).pop(_ENDING, None)
    if ending is None:
        return hasattr(request, _LOGGED)
    setattr(request, _LOGGED, True)
    ending.log(expected=not ending.retried and isinstance(ending.error, tuple(getattr(task, "throws", None) or ())))
    return True


def _raisable(ending: Ending) -> Exception:
    """The error itself, or one with its message where the error would end the process or means something else."""
    error = ending.error
    if isinstance(error, Exception) and not isinstance(error, _NOT_FAILURES):
        return error
    raised = AttemptError(ending.message)
    raised.__cause__ = error
    return raised


def _retry(ending: Ending) -> Retry:
    reason = getattr(ending.error, "reason", None)  # of a host task's own retry
    cause = reason if isinstance(reason, Exception) else _raisable(ending)
    return Retry(f"in {ending.delay:g} s: {ending.message}", exc=cause, when=ending.delay)  # type: ignore[arg-type] # a float is real


def _is_news(record: logging.LogRecord) -> bool:
    """False for the line of Celery's tracer about an ending that is logged already."""
    return not hasattr(getattr(current_task, "request", None), _LOGGED)


def install() -> None:
    """Keep Celery's tracer from logging an ending a second time, with less in it."""
    logging.getLogger("celery.app.trace").addFilter(_is_news)


# Where it has none


def report(ending: Ending) -> None:
    """Log an ending, send Celery's signal, and, in a worker whose events are on, its event."""
    ending.log()
    app = app_or_default()
    celery_id = _message.get() or message_id(ending.ref)
    reason = _retry(ending) if ending.retried else _raisable(ending)
    try:
        raise reason
    except Exception:
        info = ExceptionInfo()
    _send_signal(_task_of(app, ending.program), celery_id, ending, reason, info)
    _send_event(celery_id, ending, info)


def _task_of(app: Celery, program: str) -> Task[Any, Any]:
    """The program's Celery task; one that only has its name where this worker does not have the program."""
    name = task_name(program)
    if name in app.tasks:
        return app.tasks[name]
    task: Task[Any, Any] = type("Task", (Task,), {"name": name, "app": app})()
    return task


def _send_signal(task: Task[Any, Any], celery_id: str, ending: Ending, reason: Exception, info: ExceptionInfo) -> None:
    args: tuple[Any, ...] = tuple(ending.ref)
    if ending.retried:
        request = Request({"id": celery_id, "task": task.name, "args": args, "kwargs": {}})
        signals.task_retry.send(sender=task, request=request, reason=reason, einfo=info)
        return
    signals.task_failure.send(
        sender=task,
        task_id=celery_id,
        exception=reason,
        args=args,
        kwargs={},
        traceback=reason.__traceback__,
        einfo=info,
    )


def _send_event(celery_id: str, ending: Ending, info: ExceptionInfo) -> None:
    dispatcher = getattr(_consumer, "event_dispatcher", None)
    if dispatcher is None or not dispatcher.enabled:
        return
    kind = "task-retried" if ending.retried else "task-failed"
    named = {"name": task_name(ending.program), "args": repr(tuple(ending.ref)), "kwargs": "{}"}
    exception = safe_repr(_raisable(ending))
    send = partial(dispatcher.send, kind, uuid=celery_id, exception=exception, traceback=info.traceback, **named)
    _in_event_loop(send)


def _in_event_loop(send: Callable[[], Any]) -> None:
    """Send an event from the thread that sends all others: before Celery 5.7, one that is added while that thread
    writes may be lost, and out of order it would mean something else."""
    if _consumer.hub is None:
        send()
    else:
        _consumer.hub.call_soon(send)
