"""Names and ids of our tasks in Celery, and the route of their messages: queues, priorities, limits."""

from __future__ import annotations

import functools
import secrets
from typing import Any, NamedTuple

from celery import Celery, current_app
from celery.app import app_or_default

from flowerapp import registry
from flowerapp.core import logs
from flowerapp.core.messages import TaskCall, TaskRef, broker_step

logger = logs.logger(__name__)

PREFIX = "flowerapp."
"""A program's Celery task is named ``flowerapp.NAME``."""

DELIVER = "flowerapp.tasks.deliver"
"""The Celery task that calls the listeners of what was recorded in a flow."""

REGISTER = "flowerapp.tasks.register"
"""The Celery task that registers a flow, for schedules of beat and for code that has Celery's API alone."""

MARKER = "flowerapp.tasks.marker"
"""The Celery task of a marker."""


class Route(NamedTuple):
    """Where a message travels: two with equal routes reach the same workers, one after the other."""

    routing_key: str | None
    priority: int | None
    """The broker's, 0…9."""


def task_name(program: str) -> str:
    """Name of the Celery task that runs a program."""
    return PREFIX + program


def is_internal(name: str) -> bool:
    """Whether only flowerapp itself can send a Celery task of this name: its arguments name a task of a flow."""
    return name.startswith(PREFIX) and name != REGISTER


def message_id(ref: TaskRef) -> str:
    """A new Celery id for a message about a task."""
    return f"{ref.flow_id}:{ref.seq}:{secrets.token_hex(4)}"


def ref_of(celery_id: str | None) -> TaskRef | None:
    """The task that a Celery id is about; None if the id is none of ours."""
    parts = (celery_id or "").rsplit(":", 2)
    return TaskRef(parts[0], int(parts[1])) if len(parts) == 3 and parts[1].isdecimal() else None


_highest_first: dict[str, bool] = {}


def broker_priority(app: Celery, nice: int) -> int:
    """The broker's priority: RabbitMQ takes the highest first, Redis and our in-memory transport the lowest."""
    url = str(app.conf.broker_url)
    if url not in _highest_first:
        with app.connection_for_write() as connection:
            _highest_first[url] = connection.transport.driver_type == "amqp"
    return broker_step(nice, highest_first=_highest_first[url])


def options_of(app: Celery, call: TaskCall) -> dict[str, Any]:
    """Celery options that a task is sent with."""
    options: dict[str, Any] = {"priority": broker_priority(app, call.priority)}
    if call.queue:
        options["queue"] = call.queue
    elif is_routed_by_name(app, call.program):
        options["route_name"] = call.program
    return options | _limits_of(call)


def is_routed_by_name(app: Celery, program: str) -> bool:
    """Whether the host's routes know a host task by its own name; they are asked for ``flowerapp.NAME`` otherwise."""
    router: Any = app.amqp.router
    if not router.routes or registry.find(program) is None or program not in app.tasks:
        return False
    try:
        return router.lookup_route(program, (), {}, {}, app.tasks[program]) is not None
    except Exception:  # a router's; it is raised where the message is published
        return True


def _limits_of(call: TaskCall) -> dict[str, Any]:
    program = registry.find(call.program)
    limits = [limit for limit in (call.time_limit, program and program.time_limit) if limit]
    options: dict[str, Any] = {"time_limit": min(limits)} if limits else {}
    if program and program.soft_time_limit and program.soft_time_limit < min(limits, default=2**31):
        options["soft_time_limit"] = program.soft_time_limit
    return options


def queue_of(program: str, queue: str) -> str:
    """Name of the queue that a task goes to; one without a queue of its own is routed by Celery.

    Empty if the routing fails: a router raises, or the queue that it names is missing.
    """
    if queue:
        return queue
    name = program if is_routed_by_name(app_or_default(), program) else task_name(program)
    try:
        route = current_app.amqp.router.route({}, name)
    except Exception:  # a router's; a task that it concerns cannot be published, and its row says why
        logger.debug("no queue for program %s", program, exc_info=True)
        return ""
    return str(getattr(route.get("queue"), "name", None) or current_app.conf.task_default_queue)


def route_of(program: str, queue: str, priority: int) -> Route | None:
    """Route of a message for such a task; None if the message would carry options that a continuing process lacks."""
    try:
        return _route_of(program, queue, priority)
    except Exception:  # a router's; the task before, which has been done, is not to suffer from it
        logger.debug("no route for program %s and queue %r", program, queue, exc_info=True)
        return None


@functools.lru_cache(maxsize=4096)
def _route_of(program: str, queue: str, priority: int) -> Route | None:
    app = app_or_default()
    task = app.tasks[task_name(program)]
    if has_time_limit(task) or any(getattr(task, name, None) for name in ("queue", "exchange", "routing_key")):
        return None
    if not (name := queue_of(program, queue)):
        raise LookupError(f"program {program!r} cannot be routed")  # not kept: the next time it may be
    call = TaskCall(seq=0, program=program, queue=queue, priority=priority)
    return Route(name, options_of(app, call)["priority"])


def has_time_limit(task: Any) -> bool:
    """Whether a Celery task has a time limit of its own, as its program or the host's annotations give it."""
    return bool(task.time_limit or task.soft_time_limit)
