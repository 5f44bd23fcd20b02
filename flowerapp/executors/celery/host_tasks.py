"""The host's own Celery tasks as programs."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from typing import Any

from celery import Celery, Task
from celery.app import app_or_default
from celery.exceptions import Retry

from flowerapp import conf
from flowerapp.exceptions import RetryTask
from flowerapp.executors.celery.routes import PREFIX
from flowerapp.registry import Program


def host_program(name: str) -> Program | None:
    """A Celery task of the host as a program, with its own retry policy, limits and queue."""
    allowed = conf.get().CELERY_TASKS
    if name.startswith(("celery.", PREFIX)) or not (name in allowed if isinstance(allowed, tuple) else allowed):
        return None
    task = _host_tasks().get(name)
    return _program_of(name, task) if task is not None else None


def host_program_names() -> Iterator[str]:
    """Names of the host's Celery tasks that may be named as programs."""
    return (name for name in sorted(_host_tasks()) if host_program(name) is not None)


def _host_tasks() -> Any:
    """The app's tasks; a process that is no worker has not imported the host's task modules yet."""
    app = app_or_default()
    if app not in _imported:
        _imported.add(app)
        app.loader.import_default_modules()
    return app.tasks


_imported: weakref.WeakSet[Celery] = weakref.WeakSet()


@functools.lru_cache(maxsize=4096)
def _program_of(name: str, task: Task[Any, Any]) -> Program:
    @functools.wraps(task.run)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return task(*args, **kwargs)
        except Retry as retry:
            delay = retry.when if isinstance(retry.when, (int, float)) else None
            raise RetryTask(str(retry), delay=delay) from retry

    retry_kwargs = getattr(task, "retry_kwargs", None) or {}
    return Program(
        name=name,
        function=call,
        autoretry_for=tuple(getattr(task, "autoretry_for", ())),
        dont_autoretry_for=tuple(getattr(task, "dont_autoretry_for", ())),
        max_retries=retry_kwargs.get("max_retries", task.max_retries),
        default_retry_delay=retry_kwargs.get("countdown", task.default_retry_delay),
        retry_backoff=getattr(task, "retry_backoff", False),
        retry_backoff_max=getattr(task, "retry_backoff_max", 600),
        retry_jitter=getattr(task, "retry_jitter", True),
        time_limit=task.time_limit,
        soft_time_limit=task.soft_time_limit,
        queue=getattr(task, "queue", None) or "",
    )
