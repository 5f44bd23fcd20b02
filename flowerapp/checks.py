"""System checks: wrong settings of ours, and of the host's Celery where they cost promises."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from celery import current_app
from django.core.checks import CheckMessage, Error, Warning, register

from flowerapp import conf, memory, registry, workflows

SHORTEST_VISIBILITY = 600
"""Seconds; below that messages are delivered again so often that they cost."""


@register("flowerapp")
def check_settings(**_: Any) -> list[CheckMessage]:
    """``settings.FLOWER``."""
    from django.conf import settings

    value = getattr(settings, "FLOWER", {})
    if not isinstance(value, dict):
        return [Error("FLOWER must be a dict", id="flowerapp.E001")]
    unknown = sorted(set(value) - conf.NAMES)
    return [*_unknown(unknown), *_wrong_types(value)]


def _unknown(names: list[str]) -> Iterator[CheckMessage]:
    for name in names:
        yield Error(
            f"FLOWER has no setting {name!r}", hint=f"It knows: {', '.join(sorted(conf.NAMES))}.", id="flowerapp.E002"
        )


def _wrong_types(value: dict[str, Any]) -> Iterator[CheckMessage]:
    kinds = get_type_hints(conf.Settings)
    for name in sorted(set(value) & conf.NAMES):
        kind, given = kinds[name], value[name]
        wanted = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        if not any(_is_a(each, given) for each in wanted):
            words = " or ".join(_WORDS[each] for each in wanted)
            yield Error(f"FLOWER[{name!r}] must be {words}, not {given!r}", id="flowerapp.E003")


_WORDS = {
    int: "a whole number above 0",
    float: "a number of seconds, 0 or more",
    bool: "True or False",
    NoneType: "None",
    tuple[str, ...]: "a list of words",
}


def _is_a(kind: Any, given: Any) -> bool:
    if kind is int:
        return type(given) is int and given > 0
    if kind is float:
        return type(given) in (int, float) and 0 <= given < float("inf")
    if kind in (bool, NoneType):
        return isinstance(given, kind)
    return isinstance(given, (list, tuple, set)) and all(isinstance(each, str) for each in given)


@register("flowerapp")
def check_celery(**_: Any) -> list[CheckMessage]:
    """The host's Celery settings."""
    return list(celery_warnings(current_app.conf))


def celery_warnings(celery: Any) -> Iterator[CheckMessage]:
    """What in a Celery app's configuration costs priorities, limits or speed."""
    url = str(celery.broker_url or "")
    if memory.is_memory(url):
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
    own = {each.name for each in registry.registered() if each.time_limit or each.soft_time_limit}
    return sorted(
        own | {node.program for each in workflows.known_classes() for node in each.plan().nodes if node.time_limit}
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


@register("flowerapp")
def check_workflows(**_: Any) -> list[CheckMessage]:
    """The plans of the workflow classes, as far as no database is needed; once the settings are right."""
    if check_settings():
        return []
    return [
        Warning(
            f"{each.__module__}.{each.__qualname__}: {problem}",
            hint="Mend the class; until then it is not stored.",
            id="flowerapp.W007",
        )
        for each in workflows.known_classes()
        for problem in each.plan().problems()
    ]
