"""Connects flowerapp to the host's Celery, once the app is ready."""

from __future__ import annotations

from django.apps import apps

from flowerapp import registry
from flowerapp.core import executor
from flowerapp.executors.celery import (
    checks,
    host_requests,
    host_tasks,
    kombu_patches,
    memory_transport,
    registrations,
    reports,
    tasks,
    worker,
)
from flowerapp.executors.celery.executor import CeleryExecutor


def install() -> None:
    """Fill the executor port, make the programs' Celery tasks, and follow the life of workers."""
    checks.install()
    memory_transport.register()
    kombu_patches.install()
    registry.add_source(host_tasks.SOURCE)
    host_requests.install()
    tasks.add_registered()
    worker.install()
    reports.install()
    registrations.install()
    executor.use(CeleryExecutor(is_offline=apps.is_installed("flowerapp.testing")))
