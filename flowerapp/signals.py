"""The Django signals that flowerapp sends, and the hook methods of workflow classes.

A listener is a receiver of one of the hook signals, or a hook method of a workflow class, which receives the events of
its own workflow only. It is called with a keyword ``event`` (``flowerapp.engine.HookEvent``), at least once for each
event; calls for the same event have the same ``event.id``.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Any

from django.dispatch import Signal

Listener = Callable[[Any], object]


class HookSignal(Signal):
    """A signal whose listeners' errors the engine logs, with secrets masked; Django would log them as they are."""

    def _log_robust_failure(self, receiver: Any, err: BaseException) -> None:
        """Nothing."""


intervened = Signal()
"""The watcher or a supervisor sent a task again. Arguments: ``kind``, which is "resend" or "rescue", ``flow_id`` and
``seq``; it has no ``event``."""

start_flow = HookSignal()
"""The first task of a flow was claimed."""
all_over = HookSignal()
"""A flow has finished."""
task_start = HookSignal()
"""A task or child was claimed; its program starts after the listeners have returned."""
task_over = HookSignal()
"""The program of a task or child has succeeded."""
task_all_over = HookSignal()
"""A task has finished, and so have its children."""
task_failed = HookSignal()
"""A task or child has failed and has no retries left."""
task_timeout = HookSignal()
"""An attempt ran out of time."""
task_exit = HookSignal()
"""An attempt ended with an error, or its process died."""
approval_asked = HookSignal()
"""A step asks for a person's decision; ``event.approval`` is what it asks."""
approval_reminded = HookSignal()
"""The time has come to remind of that."""

HOOKS: dict[str, Signal] = {
    "start_flow": start_flow,
    "all_over": all_over,
    "task_start": task_start,
    "task_over": task_over,
    "task_all_over": task_all_over,
    "task_failed": task_failed,
    "task_timeout": task_timeout,
    "task_exit": task_exit,
    "approval_asked": approval_asked,
    "approval_reminded": approval_reminded,
}
"""``{name of a hook: its signal}``."""

ERRORS = (Exception, SystemExit, CancelledError)
"""The exceptions that count as errors of a listener or program; others, such as KeyboardInterrupt, end the process."""

_methods: dict[tuple[str, str], Listener] = {}


def listen(hook: str, task_id: str, listener: Listener) -> None:
    """Make ``listener`` the hook method of a workflow for one hook; it is called with the event."""
    _methods[hook, task_id] = listener


def has_listeners(task_id: str | None, *hooks: str) -> bool:
    """Whether any of these hooks has a listener in this process for a workflow, or for any workflow if None."""
    return any(_has_listeners(hook, task_id) for hook in hooks)


def _has_listeners(hook: str, task_id: str | None) -> bool:
    signal = HOOKS[hook]
    if signal.receivers and signal.has_listeners():
        return True
    return (hook, task_id) in _methods if task_id is not None else any(name == hook for name, _ in _methods)


def deliver(hook: str, task_id: str, event: Any) -> Iterator[BaseException]:
    """Call all listeners of one event and yield the errors that they raise; an error does not stop the others."""
    method = _methods.get((hook, task_id))
    if method is not None:
        try:
            method(event)
        except ERRORS as error:
            yield error
    try:
        responses = HOOKS[hook].send_robust(sender=None, event=event)
    except ERRORS as error:
        yield error
    else:
        yield from (response for _, response in responses if isinstance(response, Exception))
