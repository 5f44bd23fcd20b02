"""Runs flows in the test's own process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from flowerapp import engine
from flowerapp.core import executor, passing
from flowerapp.executors.celery.broker_guard import guarded
from flowerapp.executors.celery.executor import CeleryExecutor
from flowerapp.executors.inline import InlineRunner
from flowerapp.models import Flow, Task
from flowerapp.querysets import clock
from flowerapp.selectors import task_logs
from flowerapp.selectors.status_style import flow_style
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import SATISFIED, Status
from flowerapp.testing.contexts import DetachedContext, context_for
from flowerapp.testing.steps import step_of
from flowerapp.testing.virtual import VirtualDrain, VirtualRunner
from flowerapp.workflows import Workflow, rows

Steps = Sequence[Mapping[str, Any]]
"""The steps of a workflow, as in the documents of ``/api/workflows/NAME/``; each follows the one before unless it has
``depends_on``."""

Runner = TypeVar("Runner", bound=InlineRunner)

_numbers = itertools.count(1)


@contextmanager
def inline() -> Iterator[InlineRunner]:
    """Within the block the engine sends to an ``InlineRunner`` instead of Celery."""
    with _used(InlineRunner(soft_limit_error=CeleryExecutor.soft_limit_error)) as runner:
        yield runner


@contextmanager
def _used(runner: Runner) -> Iterator[Runner]:
    """Within the block it is the executor of this process."""
    previous = executor.use(runner)
    try:
        yield runner
    finally:
        executor.use(previous)


@contextmanager
def flower() -> Iterator[FlowRunner]:
    """Within the block flows run in this process when the runner says so, and no broker can be reached.

    In a transaction that is never committed, as that of a ``TestCase``, too. Raises BrokerGuardError, in the code that
    tries it, for anything that would connect Celery to a broker.
    """
    with _used(VirtualRunner(CeleryExecutor.soft_limit_error)) as runner, guarded():
        clock.stop()
        try:
            yield FlowRunner(runner)
        finally:
            clock.reset()


class FlowRunner:
    """Runs flows: the fixture ``flower``, and the attribute ``flower`` of the test cases."""

    def __init__(self, runner: VirtualRunner) -> None:
        self._runner = runner

    def register(self, workflow: str | type[Workflow] | Steps, **options: Any) -> Flow:
        """Register a flow, and run nothing yet.

        ``workflow`` is the name of a stored workflow, a class, or a list of steps; ``options`` are those of
        ``engine.register``, such as ``input``. Raises what that raises.
        """
        if isinstance(workflow, type):
            return workflow.register(**options)
        name = workflow if isinstance(workflow, str) else _store(workflow)
        return engine.register(name, **options)

    def run(self, workflow: str | type[Workflow] | Steps | Flow, *, skip_delays: bool = True, **options: Any) -> Flow:
        """Register a flow, or take one, and run all flows until none can continue; the flow as it is then.

        It has ended, or it is Suspend because a task failed or it is held, or it waits for what a run does not bring,
        such as ``engine.wake``. Retries, and tasks that are parked for a time, need no waiting: flowerapp's clock
        stands while tasks run, and is moved on to what happens next, a time-out of a wait among that. With
        ``skip_delays=False`` it is not moved, and ``advance`` moves it.
        """
        flow = workflow if isinstance(workflow, Flow) else self.register(workflow, **options)
        self.run_all(skip_delays=skip_delays)
        flow.refresh_from_db()
        return flow

    def run_all(self, *, skip_delays: bool = True) -> int:
        """Run all flows until none can continue; the number of starts that were tried.

        Raises EndlessTaskError for a task that waits again after each delay.
        """
        return VirtualDrain(self._runner, None if skip_delays else self.now).run()

    @property
    def now(self) -> datetime:
        """The time by flowerapp's clock, in UTC, as ``ctx.now`` and ``engine.now()`` have it."""
        return clock.about_now()

    def advance(self, seconds: float) -> None:
        """Let time pass on flowerapp's clock, and run in order what is due meanwhile, each at its time.

        The clock goes back at the end of the test.
        """
        self.advance_to(self.now + timedelta(seconds=seconds))

    def advance_to(self, when: datetime) -> None:
        """Let time pass until ``when``; raises ValueError for a time without a zone, or before ``now``."""
        if when.tzinfo is None or when < self.now:
            raise ValueError(f"time cannot pass from {self.now} until {when}; give a later time with a zone")
        VirtualDrain(self._runner, when).run()
        clock.stop(max(when, self.now))

    def emit(self, kind: str, data: Mapping[str, Any] | None = None) -> None:
        """Let an event happen now, and run what it leads to; raises InvalidValueError as ``engine.emit`` does.

        No time passes: ``run`` would first let all time-outs pass that come before anything else.
        """
        engine.emit(kind, None if data is None else dict(data))
        self.run_all(skip_delays=False)

    def set_duration(self, program: Any, *seconds: float) -> None:
        """Let the program last for so many seconds of flowerapp's clock, without waiting.

        ``program`` is a function with ``@program``, a method of a workflow class, a Celery task, or a name. Of several
        ``seconds`` its first start takes the first, and so on; the last is that of all further starts. A program that
        would last longer than its time limit is not called: the task ends with the limit's error at its limit. Raises
        ValueError for no or negative seconds.
        """
        if not seconds or min(seconds) < 0:
            raise ValueError(f"a program lasts 0 seconds or more; got {seconds}")
        self._runner.set_duration(step_of(program).program, seconds)

    def outputs(self, flow: Flow) -> dict[str | int, Any]:
        """``{name of a step: its output}`` of the satisfied steps; ``task_seq`` for a step without a name."""
        steps = flow.tasks.filter(parent_seq=None, exec_status__in=SATISFIED).only("task_exec_seq", "name", "task_seq")
        outputs = Task.objects.outputs(flow.pk, [task.task_exec_seq for task in steps])
        return {task.name or task.task_seq: passing.plain(outputs[task.task_exec_seq]) for task in steps}

    def errors(self, flow: Flow) -> dict[str | int, str]:
        """``{name of a step: the error}`` of the steps and children that have failed; keys as of ``outputs``."""
        return {task.name or task.task_seq: task.error for task in flow.tasks.filter(exec_status=Status.SUSPEND)}

    def logs(self, flow: Flow, step: str | int | None = None) -> list[str]:
        """What the programs of a flow logged, printed or said with ``ctx.log``, in order.

        ``step`` is the key of a step as of ``outputs``, for the lines of that step and its children alone.
        """
        lines = task_logs.lines(flow.pk)
        if step is not None:
            column = "task_seq" if isinstance(step, int) else "name"
            lines = lines.filter(task_exec_seq__in=flow.tasks.filter(**{column: step}).values("task_exec_seq"))
        return [line.message for line in lines]

    def assert_finished(self, flow: Flow) -> None:
        """Raise AssertionError, with the failed tasks and what the others wait for, unless the flow is Finish."""
        flow.refresh_from_db()
        if flow.status is not Status.FINISH:
            raise AssertionError(
                "\n".join([f"flow {flow.pk} of {flow.task_id!r} is {flow_style(flow).word}", *_why(flow)])
            )

    def context_for(self, program: Any, **options: Any) -> DetachedContext:
        """``testing.context_for``."""
        return context_for(program, **options)


def _store(steps: Steps) -> str:
    name = f"test-{next(_numbers)}"
    rows.store({"task_id": name, "tasks": [{"task_seq": seq, **step} for seq, step in enumerate(steps, start=1)]})
    return name


def _why(flow: Flow) -> Iterator[str]:
    """A line for each task that has failed or waits."""
    tasks = list(flow.tasks.order_by("task_exec_seq"))
    reasons = wait_reasons(tasks)
    for task in tasks:
        if task.failed:
            yield f"{task.mention} failed: {task.error}\n{task.traceback}"
        elif task.status is Status.WAIT:
            yield f"{task.mention} waits {reasons.get(task.pk, 'to be run')}"
