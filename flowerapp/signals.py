"""Django signals that flowerapp sends, and who listens to what happens in flows.

A listener is a receiver of one of the signals, or a method of a workflow class, which hears of its own flows only. Each
is called with an ``event`` (``flowerapp.engine.HookEvent``), at least once.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Any

from django.dispatch import Signal

Listener = Callable[[Any], object]

intervened = Signal()
"""The watcher had to resend or rescue something: ``kind``, ``flow_id``, ``seq``."""

start_flow = Signal()
"""A flow's first task was claimed."""
all_over = Signal()
"""A flow has finished."""
task_start = Signal()
"""An attempt of a task or child was claimed; its program starts when this has been heard."""
task_over = Signal()
"""The program of a task or child has succeeded."""
task_all_over = Signal()
"""A task is finished, and so are its children."""
task_failed = Signal()
"""A task or child has failed, and its retries are spent."""
task_timeout = Signal()
"""An attempt ran out of time."""
task_exit = Signal()
"""An attempt ended by an error, or its process was lost."""

HOOKS: dict[str, Signal] = {
    "start_flow": start_flow,
    "all_over": all_over,
    "task_start": task_start,
    "task_over": task_over,
    "task_all_over": task_all_over,
    "task_failed": task_failed,
    "task_timeout": task_timeout,
    "task_exit": task_exit,
}
"""What code may hear of, by name."""

ERRORS = (Exception, SystemExit, CancelledError)
"""What a listener or a program may raise that is its own fault."""

_methods: dict[tuple[str, str], Listener] = {}


def listen(hook: str, task_id: str, listener: Listener) -> None:
    """Let ``listener`` hear of one kind of event in the flows of one workflow."""
    _methods[hook, task_id] = listener


def wanted(hook: str, task_id: str | None = None) -> bool:
    """Whether anybody in this process listens to such events of a workflow, or of any."""
    signal = HOOKS[hook]
    if signal.receivers and signal.has_listeners():
        return True
    return (hook, task_id) in _methods if task_id is not None else any(each == hook for each, _ in _methods)


def tell(hook: str, task_id: str, event: Any) -> Iterator[BaseException]:
    """Call all listeners; the errors that they raise."""
    method = _methods.get((hook, task_id))
    if method is not None:
        try:
            method(event)
        except ERRORS as error:
            yield error
    try:
        answers = HOOKS[hook].send_robust(sender=None, event=event)
    except ERRORS as error:
        yield error
    else:
        yield from (answer for _, answer in answers if isinstance(answer, Exception))
