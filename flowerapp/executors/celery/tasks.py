"""The Celery tasks, one for each program: look, call the engine, send what follows."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task, shared_task
from celery.exceptions import Ignore

from flowerapp import registry
from flowerapp.core.messages import TaskRef
from flowerapp.engine import dispatching, hooks
from flowerapp.executors.celery import canvas, continuation, host_tasks
from flowerapp.executors.celery.backend import FlowBackend
from flowerapp.executors.celery.routes import DELIVER, task_name
from flowerapp.registry import Program


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
    """Look at a task of a flow and do what it needs."""
    outcome = continuation.current.perform(TaskRef(flow_id, seq))
    if not outcome.finished:
        dispatching.send(outcome.released)
        raise Ignore
    canvas.follow(self.request, continuation.current.keep_next(outcome.released))


@shared_task(name=DELIVER, acks_late=True, ignore_result=True)
def deliver(flow_id: str) -> None:
    """Call the listeners of what was recorded in a flow."""
    hooks.deliver(flow_id)


def add(program: Program) -> None:
    """Make the Celery task of a program, in every app."""
    shared_task(  # type: ignore[no-untyped-call] # options in a dict
        name=task_name(program.name),
        base=ProgramTask,
        bind=True,
        **{name: limit for name in ("time_limit", "soft_time_limit") if (limit := getattr(program, name))},
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


def add_host_tasks(app: Celery) -> None:
    """Make the tasks that run the host's own Celery tasks as programs; in workers, once all modules are imported."""
    for name in host_tasks.host_program_names():
        if task_name(name) not in app.tasks:
            add(registry.get(name))


def use_continuation(app: Celery) -> None:
    """Let the program tasks of a new pool process continue with what they release."""
    continuation.install(app, [name for name, task in app.tasks.items() if isinstance(task, ProgramTask)])
