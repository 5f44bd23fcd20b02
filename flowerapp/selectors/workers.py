"""Workers: which of them are alive."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db.models import F

from flowerapp import conf
from flowerapp.core import executor
from flowerapp.models import Task, Worker
from flowerapp.querysets import WorkerQuerySet, clock
from flowerapp.selectors.status_style import FAILED, FINISHED, SKIPPED, Style

COLUMNS = ("id", "name", "pid", "pool", "concurrency", "queues", "started_ts", "seen_ts", "stopped_ts")
"""Columns of a worker that the API shows."""

MOST_LISTED = 500
"""Workers that the command line lists."""

ALIVE = replace(FINISHED, word="Alive")
SILENT = replace(FAILED, word="Silent")
STOPPED = replace(SKIPPED, word="Stopped")


def alive() -> WorkerQuerySet:
    """Workers whose heartbeat is recent, by the database's clock."""
    return Worker.objects.alive(conf.get().LEASE_SECONDS)


def alive_ids() -> set[str]:
    """Ids of the workers that are alive."""
    return set(alive().values_list("pk", flat=True))


def newest() -> tuple[list[Worker], int]:
    """The first ``MOST_LISTED`` workers, those that have not stopped in front, and how many more there are."""
    ordered = Worker.objects.order_by(F("stopped_ts").desc(nulls_first=True), "name", "id")
    listed = list(ordered[:MOST_LISTED])
    return listed, 0 if len(listed) < MOST_LISTED else ordered.count() - len(listed)


def name_and_process(task: Task) -> str:
    """``celery@host, process 42`` of the worker that had a task last; empty before its first start."""
    if not task.worker:
        return ""
    name = Worker.objects.names([task.worker])[task.worker]
    return f"{name}, process {task.pid}" if task.pid else name


def style_of(worker: Worker) -> Style:
    """Looks of a worker's state, by this process's clock."""
    if worker.stopped_ts is not None:
        return STOPPED
    silent = clock.about_now() - worker.seen_ts > timedelta(seconds=conf.get().LEASE_SECONDS)
    return SILENT if silent else ALIVE


def start_command(queue: str = "") -> str:
    """The command that starts a worker of this project, for ``queue`` if one is named."""
    if not executor.current().connected():
        return "python manage.py standalone"
    module = os.environ.get("DJANGO_SETTINGS_MODULE") or getattr(settings, "SETTINGS_MODULE", "") or "project"
    return f"celery -A {module.partition('.')[0]} worker" + (f" -Q {queue}" if queue else "")
