"""The Celery tasks: one for each program, three lines long."""

from __future__ import annotations

import logging
from typing import Any

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined] # newer than its types
from celery import Celery, Task, shared_task
from celery.exceptions import Ignore

from flowerapp import canvas, engine, registry, slices
from flowerapp.backend import FlowBackend
from flowerapp.registry import Program

logger = logging.getLogger(__name__)


class ProgramTask(Task):  # type: ignore[type-arg]
    """Base of the program tasks: late acknowledgement, and the task's row as its result."""

    abstract = True
    acks_late = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False
    ignore_result = True
    serializer = "json"
    track_started = False
    Request = "flowerapp.watcher.life:ProgramRequest"

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
    outcome = slices.current.perform(flow_id, seq)
    if not outcome.finished:
        engine.send(outcome.released)
        raise Ignore
    canvas.follow(self.request, slices.current.keep_next(outcome.released))


@shared_task(name=canvas.TELL, acks_late=True, ignore_result=True)
def tell(flow_id: str) -> None:
    """Tell what happened in a flow to those who listen."""
    engine.tell(flow_id)


def add(program: Program) -> None:
    """Make the Celery task of a program, in every app."""
    shared_task(  # type: ignore[no-untyped-call] # options in a dict
        name=canvas.task_name(program.name),
        base=ProgramTask,
        bind=True,
        **{name: limit for name in ("time_limit", "soft_time_limit") if (limit := getattr(program, name))},
    )(_named(program))


def _named(program: Program) -> Any:
    def task(self: ProgramTask, flow_id: str, seq: int) -> None:
        run(self, flow_id, seq)

    task.__doc__ = program.description
    return task


def add_all() -> None:
    """Make the tasks of all registered programs, and let the engine know when a pool process is told to end."""
    engine.use_end_notice(terminate_handler_fired)
    for program in registry.registered():
        add(program)


def add_host_tasks(app: Celery) -> None:
    """Make the tasks that run the host's own Celery tasks as programs; in workers, once all modules are imported."""
    for name in canvas.host_program_names():
        if canvas.task_name(name) not in app.tasks:
            add(registry.get(name))


def use_slices(app: Celery) -> None:
    """Let the program tasks of a new pool process go on with what they release."""
    slices.install(app, [name for name, task in app.tasks.items() if isinstance(task, ProgramTask)])
