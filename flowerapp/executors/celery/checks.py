"""System checks of the host's Celery settings, where they cost promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Warning, register

from flowerapp import registry, workflows
from flowerapp.executors.celery import memory_transport

SHORTEST_VISIBILITY = 600
"""Seconds; below that messages are delivered again so often that they cost."""


def install() -> None:
    """Register the checks."""
    register(check_celery, "flowerapp")


def check_celery(**_: Any) -> list[CheckMessage]:
    """The host's Celery settings."""
    return list(celery_warnings(current_app.conf))


def celery_warnings(celery: Any) -> Iterator[CheckMessage]:
    """What in a Celery app's configuration costs priorities, limits or speed."""
    url = str(celery.broker_url or "")
    if memory_transport.is_memory(url):
        return
    if celery.worker_prefetch_multiplier != 1 and not celery.worker_disable_prefetch:
        yield Warning(
            f"worker_prefetch_multiplier is {celery.worker_prefetch_multiplier}: prefetched tasks bar urgent ones",
            hint="Set CELERY_WORKER_PREFETCH_MULTIPLIER = 1.",
            id="flowerapp.W001",
        )
    if url.startswith("redis"):
        yield from _redis_warnings(celery.broker_transport_options or {})
    if url.startswith(("amqp", "pyamqp")) and (celery.task_queue_max_priority or 0) < 9:
        yield Warning(
            "task_queue_max_priority is below 9, so RabbitMQ's queues have no priorities",
            hint="Set CELERY_TASK_QUEUE_MAX_PRIORITY = 9; queues that exist without it must be deleted first.",
            id="flowerapp.W003",
        )
    if not celery.get("CELERY_DB_REUSE_MAX"):
        yield Warning(
            "Celery closes the database connection around every task",
            hint="Set CELERY_DB_REUSE_MAX on the Celery app's configuration, for example to 1_000_000.",
            id="flowerapp.W004",
        )
    limited = _limited()
    if limited and celery.worker_pool not in ("prefork", "processes"):
        yield Warning(
            f"worker pool {celery.worker_pool!r} has no time limits, but these programs set one: {', '.join(limited)}",
            hint="Use the prefork pool.",
            id="flowerapp.W005",
        )


def _limited() -> list[str]:
    """Names of the programs that have a time limit, or get one from a workflow class."""
    own = {program.name for program in registry.registered() if program.time_limit or program.soft_time_limit}
    return sorted(
        own | {node.program for flow in workflows.known_classes() for node in flow.plan().nodes if node.time_limit}
    )


def _redis_warnings(options: dict[str, Any]) -> Iterator[CheckMessage]:
    if len(options.get("priority_steps", ())) != 10:
        yield Warning(
            "the Redis broker has not ten priority steps, so priorities are coarse",
            hint='Its transport options want {"priority_steps": list(range(10)), "queue_order_strategy": "priority"}.',
            id="flowerapp.W002",
        )
    seconds = options.get("visibility_timeout", SHORTEST_VISIBILITY)
    if seconds < SHORTEST_VISIBILITY:
        yield Warning(
            f"visibility_timeout is {seconds} s: Redis delivers the message of a task that runs longer again and again",
            hint=f'Set "visibility_timeout" in the transport options to {SHORTEST_VISIBILITY} or more.',
            id="flowerapp.W006",
        )
