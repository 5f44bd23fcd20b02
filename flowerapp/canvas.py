"""Ready tasks as Celery canvas: signatures, chains and chords, and what of them goes on after a task.

A chord's header is sent as single signatures that carry ``chord=body``: the same protocol as ``celery.chord``, but
the counter is the join's own row (see ``backend``), so it needs nothing of the host's result backend.
"""

from __future__ import annotations

import functools
import secrets
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from celery import Celery, Signature, Task, current_app
from celery.app import app_or_default
from celery.exceptions import Retry
from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined] # newer than its types

from flowerapp import conf, dispatch, engine, memory, registry
from flowerapp.dispatch import Link, Message
from flowerapp.exceptions import FlowerError, RetryTask
from flowerapp.models import Worker
from flowerapp.registry import Program
from flowerapp.states import HIGHEST_PRIORITY

PREFIX = "flowerapp."
"""A program's Celery task is named ``flowerapp.NAME``."""

TELL = "flowerapp.tasks.tell"
"""The Celery task that tells what happened in a flow."""

PAUSE = 5.0
"""Seconds after a failure during which the broker is taken to be away."""

_RETRY_POLICY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}


def task_name(program: str) -> str:
    """Name of the Celery task that runs a program."""
    return PREFIX + program


def message_id(flow_id: str, seq: int) -> str:
    """A new Celery id for a message about a task."""
    return f"{flow_id}:{seq}:{secrets.token_hex(4)}"


def place_of(celery_id: str | None) -> tuple[str, int] | None:
    """Flow and seq that a Celery id is about; None if it is none of ours."""
    parts = (celery_id or "").rsplit(":", 2)
    return (parts[0], int(parts[1])) if len(parts) == 3 and parts[1].isdigit() else None


_highest_first: dict[str, bool] = {}


def _priority(app: Celery, nice: int) -> int:
    """RabbitMQ takes the highest first, Redis and our in-memory transport the lowest."""
    url = str(app.conf.broker_url)
    if url not in _highest_first:
        with app.connection_for_write() as connection:
            _highest_first[url] = connection.transport.driver_type == "amqp"
    return dispatch.broker_step(nice, highest_first=_highest_first[url])


def options_of(app: Celery, link: Link) -> dict[str, Any]:
    """Celery options of a task's own."""
    options: dict[str, Any] = {"priority": _priority(app, link.priority)}
    if link.queue:
        options["queue"] = link.queue
    try:
        program = registry.get(link.program)
    except FlowerError:
        program = None
    limits = [each for each in (link.time_limit, program and program.time_limit) if each]
    if limits:
        options["time_limit"] = min(limits)
    if program and program.soft_time_limit and program.soft_time_limit < min(limits, default=2**31):
        options["soft_time_limit"] = program.soft_time_limit
    return options


def signature(app: Celery, flow_id: str, link: Link) -> Signature[Any]:
    """The immutable signature of one task."""
    return app.signature(
        task_name(link.program),
        args=(flow_id, link.seq),
        immutable=True,
        task_id=message_id(flow_id, link.seq),
        serializer="json",
        **options_of(app, link),
    )


def canvas_of(app: Celery, message: Message) -> Signature[Any]:
    """The signature of a message's task, with what it carries: the rest of its chain, last link first, as Celery's
    protocol has it, and the body of the chord on the last.

    ``celery.chain`` makes the same of it, and copies and freezes each link on the way.
    """
    head, *rest = steps = [signature(app, message.flow_id, link) for link in (message.head, *message.then)]
    if message.join is not None:
        steps[-1].options["chord"] = signature(app, message.flow_id, message.join)
    if rest:
        head.options["chain"] = rest[::-1]
    return head


class Sender:
    """The engine's sender: publishes on the current Celery app.

    After a failure it does not ask the broker again for ``PAUSE`` seconds, so that one caller waits for a broker that
    hangs, not each; what they register meanwhile is the watcher's to send. A single queue that refuses its messages
    is no reason to pause.
    """

    def __init__(self) -> None:
        self._away_until = 0.0

    def __call__(self, messages: Sequence[Message]) -> None:
        """Publish messages over one connection."""
        try:
            send(messages)
        except Exception as error:
            if not isinstance(error.__cause__, app_or_default().connection_for_write().channel_errors):
                self._away_until = time.monotonic() + PAUSE
            raise

    def tell(self, flow_ids: Sequence[str]) -> None:
        """Send a message for each flow of which something is to be told."""
        if self.connected():
            app = app_or_default()
            options: dict[str, Any] = {"priority": _priority(app, HIGHEST_PRIORITY), "queue": _served_queue(app)}
            with app.producer_or_acquire() as producer:
                for flow_id in flow_ids:
                    publish(
                        app.signature(TELL, args=(flow_id,), immutable=True, serializer="json", **options), producer
                    )

    def connected(self) -> bool:
        """False in a process beside a standalone server, whose broker is in that server, and after a failure."""
        return time.monotonic() >= self._away_until and memory.reachable(str(current_app.conf.broker_url))


def _served_queue(app: Celery) -> str:
    """The app's default queue, or one that a living worker takes from where none takes from that."""
    default = str(app.conf.task_default_queue)
    living = Worker.objects.living(conf.get().LEASE_SECONDS).values_list("queues", flat=True)
    served = sorted({queue for queues in living for queue in queues})
    return default if default in served or not served else served[0]


def send(messages: Sequence[Message]) -> None:
    """Publish messages over one connection, many in one round trip where the transport can."""
    app = app_or_default()
    with app.producer_or_acquire() as producer:
        try:
            with producer.batch() if len(messages) > 1 else nullcontext():
                _publish_all(app, messages, producer)
        except BatchPublishError:  # a kept connection had broken, and some may have gone out: copies are harmless
            _publish_all(app, messages, producer)


def _publish_all(app: Celery, messages: Sequence[Message], producer: Any) -> None:
    for message in messages:
        publish(canvas_of(app, message), producer)


def publish(canvas: Signature[Any], producer: Any = None) -> None:
    """Send a signature with what it carries."""
    canvas.apply_async(producer=producer, add_to_parent=False, retry=True, retry_policy=_RETRY_POLICY)


def follow(request: Any, messages: Sequence[Message]) -> None:
    """After a task: let its message go on with what it carries, and send what was released beside.

    A link whose queue or options were changed since the message was made is taken off it and sent anew.
    """
    app = app_or_default()
    released = {message.head.seq: message for message in messages}
    carried = set()
    for name, step in _carried(request):
        place = place_of(step["options"].get("task_id"))
        message = released.get(place[1]) if place else None
        if message and _routing(options_of(app, message.head)) == _routing(step["options"]):
            carried.add(message.head.seq)
        else:
            setattr(request, name, None)
    engine.send([message for seq, message in released.items() if seq not in carried])


def _routing(options: Mapping[str, Any]) -> list[Any]:
    return [options.get(name) for name in ("queue", "priority", "time_limit", "soft_time_limit")]


def _carried(request: Any) -> Iterator[tuple[str, Any]]:
    """The next step of a message's chain and the body of its chord, each with the attribute that holds it."""
    if request.chain:
        yield "chain", request.chain[-1]
    if request.chord:
        yield "chord", request.chord


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
