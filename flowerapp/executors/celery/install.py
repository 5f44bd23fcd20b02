"""Connects flowerapp to the host's Celery, once the app is ready."""

from __future__ import annotations

from flowerapp import registry
from flowerapp.core import executor
from flowerapp.executors.celery import checks, host_tasks, kombu_patches, memory_transport, tasks, worker
from flowerapp.executors.celery.executor import CeleryExecutor


def install() -> None:
    """Fill the executor port, make the programs' Celery tasks, and follow the life of workers."""
    checks.install()
    memory_transport.register()
    kombu_patches.install()
    registry.add_source(registry.Source(host_tasks.host_program, host_tasks.host_program_names))
    tasks.add_registered()
    worker.install()
    executor.use(CeleryExecutor())
