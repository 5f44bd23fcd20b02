"""The Celery tasks, one for each program: look, call the engine, send what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery, Task, shared_task
from celery.exceptions import Ignore, Reject

from flowerapp import engine, registry
from flowerapp.core.messages import Marker, TaskRef
from flowerapp.engine import dispatching, hooks
from flowerapp.exceptions import InvalidError
from flowerapp.executors.celery import canvas, continuation, reports, stopping
from flowerapp.executors.celery.backend import FlowBackend
from flowerapp.executors.celery.registrations import RegisterTask
from flowerapp.executors.celery.routes import DELIVER, MARKER, REGISTER, task_name
from flowerapp.querysets.db import CONNECTION_ERRORS
from flowerapp.registry import Program
from flowerapp.watcher.duties.resend import resend_before


class ProgramTask(Task):  # type: ignore[type-arg]
    """Base of the program tasks: late acknowledgement, and the task's row as its result."""

    abstract = True
    acks_late = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False
    ignore_result = True
    serializer = "json"
    track_started = False
    Request = "flowerapp.executors.celery.worker:ProgramRequest"

    _backend: Any = None

    @property
    def backend(self) -> Any:
        """The backend of program tasks, whatever the app's is."""
        if self._backend is None:
            self._backend = FlowBackend(app=self.app, url="django-db://")
        return self._backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value


def run(self: ProgramTask, flow_id: str, seq: int) -> None:
    """Look at a task of a flow and do what it needs; a worker that was asked to stop leaves it to others."""
    if stopping.asked():
        raise Reject("its worker was asked to stop", requeue=True)
    stopping.shield()
    outcome = continuation.current.perform(TaskRef(flow_id, seq))
    if not outcome.finished:
        dispatching.send(outcome.released)
        if outcome.ending is not None:
            reports.end_by(self, outcome.ending)
        raise Ignore
    canvas.follow(self.request, continuation.current.keep_next(outcome.released))


@shared_task(name=DELIVER, acks_late=True, ignore_result=True)
def deliver(flow_id: str) -> None:
    """Call the listeners of what was recorded in a flow."""
    hooks.deliver(flow_id)


@shared_task(name=MARKER, acks_late=True, ignore_result=True)
def marker(queue: str, step: int, until: str) -> None:
    """Send again what was sent to that queue and step before and was not taken."""
    resend_before(Marker(queue, step, until))


@shared_task(
    name=REGISTER,
    base=RegisterTask,
    bind=True,
    acks_late=True,
    autoretry_for=CONNECTION_ERRORS,
    retry_backoff=True,
    max_retries=10,
)
def register(
    self: Task[Any, Any],
    task_id: str,
    input: Any = None,
    priority: int = 0,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    entrance: int | str | None = None,
    idempotency_key: str | None = None,
) -> str:
    """Register a flow and return its id. The arguments are those of ``engine.register``; the keys of ``parameters`` may
    be text. The sender is not known, so it may override what a user may who cannot edit workflows. A message that
    arrives twice, or is retried while the database is unreachable, registers once.
    """
    flow = engine.register(
        task_id,
        input=input,
        priority=priority,
        parameters=_by_seq(parameters or {}),
        entrance=entrance,
        idempotency_key=idempotency_key or self.request.id,
        actor=_sender(self.request),
        may_override=engine.MayOverride.LISTED,
    )
    return str(flow.pk)


def _by_seq(parameters: Mapping[str, Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The parameters by number of the step, which JSON writes as text."""
    try:
        return {int(seq): values for seq, values in parameters.items()}
    except (AttributeError, ValueError):
        raise InvalidError('parameters must be an object such as {"3": {"KEY": "value"}}, by task_seq') from None


def _sender(request: Any) -> str:
    """Who sent a registration, for the history: the schedule of django-celery-beat, or Celery."""
    schedule = getattr(request, "periodic_task_name", None) or (request.headers or {}).get("periodic_task_name")
    return f"schedule {schedule}"[:150] if schedule else "celery"


_OPTIONS = ("time_limit", "soft_time_limit", "rate_limit", "throws")
"""Options that a program's Celery task has from the program; the last two only host tasks have."""


def add(program: Program) -> None:
    """Make the Celery task of a program, in every app."""
    shared_task(  # type: ignore[no-untyped-call] # options in a dict
        name=task_name(program.name),
        base=ProgramTask,
        bind=True,
        **{name: value for name in _OPTIONS if (value := getattr(program, name, None))},
    )(_task_of(program))


def _task_of(program: Program) -> Any:
    def task(self: ProgramTask, flow_id: str, seq: int) -> None:
        run(self, flow_id, seq)

    task.__doc__ = program.description
    return task


def add_registered() -> None:
    """Make the tasks of all registered programs."""
    for program in registry.registered():
        add(program)


def add_further(app: Celery) -> None:
    """Make the tasks of programs that come from elsewhere; in workers, once the host's modules are imported."""
    for program in registry.programs():
        if task_name(program.name) not in app.tasks:
            add(program)


def use_continuation(app: Celery) -> None:
    """Let the program tasks of a new pool process continue with what they release."""
    continuation.install(app, [name for name, task in app.tasks.items() if isinstance(task, ProgramTask)])
