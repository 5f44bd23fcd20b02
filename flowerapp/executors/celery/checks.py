"""System checks of the host's Celery settings: what is refused, which also ends a worker that starts, and what costs
promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import Celery
from celery.app import app_or_default
from django.core.checks import CheckMessage, Error, Info, Warning, register
from kombu import serialization

from flowerapp import registry, workflows
from flowerapp.executors.celery import brokers
from flowerapp.executors.celery.brokers import Support

SHORTEST_VISIBILITY = 600
"""Seconds; below that messages are delivered again so often that they cost."""


JSON = "application/json"
"""Content type of flowerapp's messages, whatever the host's tasks use."""


def install() -> None:
    """Register the checks."""
    register(check_celery, "flowerapp")


def check_celery(**_: Any) -> list[CheckMessage]:
    """The host's Celery settings."""
    app = app_or_default()
    return [*map(_tolerate_memory, refusals(app)), *celery_warnings(app)]


def _tolerate_memory(refusal: CheckMessage) -> CheckMessage:
    """A project's tests often name ``memory://``, and ``manage.py test`` ends at an error; workers refuse it."""
    if refusal.id != MEMORY:
        return refusal
    return Warning(refusal.msg, hint=refusal.hint, id=MEMORY)


MEMORY = "flowerapp.W010"
"""Id of the message about kombu's own ``memory://``."""
_BROKERS = "Set CELERY_BROKER_URL to one of redis://, rediss://, sentinel://, amqp:// and amqps://."


def refusals(app: Celery) -> Iterator[CheckMessage]:
    """What in a Celery app's configuration flowerapp cannot work with."""
    used = brokers.in_use(app.conf)
    refused = [broker for broker in used if broker.support is Support.REFUSED]
    for broker in refused:
        number = MEMORY if "memory" in broker.schemes else "flowerapp.E010"
        message = f"the broker {broker.name} ({broker.schemes[0]}://) is refused: {broker.lacks}"
        yield Error(message, hint=_BROKERS, id=number)
    if len({broker.family for broker in used}) > 1 and not refused:
        yield Error(
            f"CELERY_BROKER_URL names brokers of several kinds: {', '.join(broker.name for broker in used)}",
            hint="Name one kind; several servers of it may stand in for each other.",
            id="flowerapp.E011",
        )
    if "sentinel" in brokers.schemes(app.conf) and not (app.conf.broker_transport_options or {}).get("master_name"):
        yield Error(
            "CELERY_BROKER_URL names Redis Sentinel, but not which of its masters is the broker",
            hint='Set CELERY_BROKER_TRANSPORT_OPTIONS = {"master_name": …}.',
            id="flowerapp.E016",
        )
    if brokers.family(app.conf) == "amqp":
        yield from _queue_refusals(app)
    yield from _accept_refusals(app)


def _accept_refusals(app: Celery) -> Iterator[CheckMessage]:
    accepted = app.conf.accept_content
    if accepted is None:  # all
        return
    names: dict[str, str] = serialization.registry.name_to_type  # type: ignore[attr-defined] # missing in the types
    if JSON not in {names.get(name, name) for name in accepted}:
        yield Error(
            f"workers accept only {', '.join(accepted)}, and flowerapp's messages are JSON",
            hint='Add "json" to CELERY_ACCEPT_CONTENT; your own tasks may keep their serializer.',
            id="flowerapp.E012",
        )


def _queue_refusals(app: Celery) -> Iterator[CheckMessage]:
    """Queues that end a worker as soon as it declares them or consumes from them."""
    for name, kind, prioritized in brokers.queue_types(app):
        if kind == "stream":
            yield Error(
                f"queue {name!r} is a stream, whose messages stay when they are done",
                hint='Set its "x-queue-type" to "quorum" or "classic".',
                id="flowerapp.E013",
            )
        elif kind == "quorum" and prioritized:
            yield Error(
                f"queue {name!r} is a quorum queue and asks for priorities, which RabbitMQ refuses",
                hint="Remove CELERY_TASK_QUEUE_MAX_PRIORITY and max_priority, or make it a classic queue.",
                id="flowerapp.E013",
            )
        elif kind == "quorum" and not app.conf.worker_detect_quorum_queues:
            yield Error(
                f"queue {name!r} is a quorum queue, and CELERY_WORKER_DETECT_QUORUM_QUEUES is off",
                hint="Set CELERY_WORKER_DETECT_QUORUM_QUEUES = True; RabbitMQ ends the worker's connection otherwise.",
                id="flowerapp.E013",
            )


def celery_warnings(app: Celery) -> Iterator[CheckMessage]:
    """What in a Celery app's configuration costs priorities, limits or speed."""
    celery: Any = app.conf
    family = brokers.family(celery)
    if family == "memory":
        return
    if celery.worker_prefetch_multiplier != 1 and not getattr(celery, "worker_disable_prefetch", False):
        yield Warning(
            f"worker_prefetch_multiplier is {celery.worker_prefetch_multiplier}: prefetched tasks bar urgent ones",
            hint="Set CELERY_WORKER_PREFETCH_MULTIPLIER = 1.",
            id="flowerapp.W001",
        )
    if family == "redis":
        yield from _redis_warnings(celery.broker_transport_options or {})
    if family == "amqp":
        yield from _rabbitmq_warnings(app)
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


def _rabbitmq_warnings(app: Celery) -> Iterator[CheckMessage]:
    quorum = [name for name, kind, _ in brokers.queue_types(app) if kind == "quorum"]
    if quorum:
        yield Info(
            f"RabbitMQ's quorum queues have no priorities, or two from version 4 on: {', '.join(quorum)}",
            hint="Where the priorities of tasks matter, use a classic queue and CELERY_TASK_QUEUE_MAX_PRIORITY = 9.",
            id="flowerapp.I001",
        )
    elif (app.conf.task_queue_max_priority or 0) < 9:
        yield Warning(
            "task_queue_max_priority is below 9, so RabbitMQ's queues have no priorities",
            hint="Set CELERY_TASK_QUEUE_MAX_PRIORITY = 9; queues that exist without it must be deleted first.",
            id="flowerapp.W003",
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
