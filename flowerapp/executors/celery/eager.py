"""``task_always_eager``: flows run in the process that sends them, as soon as they are sent.

A flow runs to its end before ``send`` returns, without Celery's canvas: task after task, so that it may be of any
length. Retries and parked tasks with a time start at once, as eager retries of Celery do. With
``task_eager_propagates`` the error of a task that has failed is raised where the flow was sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded

from flowerapp.core import identity, logs
from flowerapp.core.endings import Ending
from flowerapp.core.executor import Limits
from flowerapp.core.messages import Message, TaskRef
from flowerapp.exceptions import FlowerError
from flowerapp.executors.celery import reports
from flowerapp.executors.drain import Drain, EndlessTaskError
from flowerapp.executors.inline import InlineRunner
from flowerapp.models import Task
from flowerapp.states import Status

logger = logs.logger(__name__)

Result = TypeVar("Result")


def is_eager() -> bool:
    """Whether Celery is to run tasks where they are called."""
    return bool(current_app.conf.task_always_eager)


class EagerRunner(InlineRunner):
    """Runs one flow, or several that are sent together, and keeps the errors of the tasks that have failed."""

    def __init__(self) -> None:
        super().__init__(identity.worker(), SoftTimeLimitExceeded)
        self.errors: dict[TaskRef, BaseException] = {}

    def report(self, ending: Ending) -> None:
        """Log it, and send Celery's signal."""
        reports.report(ending)
        if not ending.retried:
            self.errors[ending.ref] = ending.error

    def flow_ids(self) -> set[str]:
        """The flows that were sent."""
        return {message.flow_id for message in self.sent}


class EagerExecutor:
    """What ``CeleryExecutor`` does instead where Celery is eager."""

    def __init__(self) -> None:
        self._thread = threading.local()

    @property
    def _runner(self) -> EagerRunner | None:
        """The runner of this thread, between two of its programs."""
        return getattr(self._thread, "runner", None)

    @_runner.setter
    def _runner(self, runner: EagerRunner | None) -> None:
        self._thread.runner = runner

    def send(self, messages: Sequence[Message]) -> None:
        """Run the tasks and all that follows them; during a run add them to it."""
        if self._runner is not None:
            self._runner.send(messages)
            return
        self._runner = runner = EagerRunner()
        try:
            runner.send(messages)
            _run(runner)
        finally:
            self._runner = None

    def call(self, function: Callable[[], Result], limits: Limits) -> Result:
        """Call a program; what it sends runs before it continues, because it may wait for that."""
        runner, self._runner = self._runner, None
        try:
            return function() if runner is None else runner.call(function, limits)
        finally:
            self._runner = runner


def _run(runner: EagerRunner) -> None:
    try:
        Drain(runner, _start_at_once, runner.flow_ids).run()
    except EndlessTaskError as error:
        logger.warning("task_always_eager: %s", error)
    if current_app.conf.task_eager_propagates:
        _raise_failure(runner)


def _start_at_once(task: Task) -> None:
    Task.objects.at(task.ref).hasten()


def _raise_failure(runner: EagerRunner) -> None:
    """Raise the error of the first task of the run that has failed."""
    failed = Task.objects.filter(task_flow_id__in=runner.flow_ids(), exec_status=Status.SUSPEND)
    task = failed.order_by("suspended_ts", "pk").first()
    if task is not None:
        raise runner.errors.get(task.ref) or FlowerError(f"{task.ref}: {task.error}")
