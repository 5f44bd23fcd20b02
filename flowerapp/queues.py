"""What waits in which queue, and who serves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from celery import Celery, current_app
from celery.app import app_or_default
from django.db.models import Count

from flowerapp import canvas, conf
from flowerapp.models import Task, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue as the database and the broker see it."""

    name: str
    waiting: int
    """Ready tasks that nobody claimed yet."""
    messages: int | None
    """Messages in the broker; None if it does not answer."""
    workers: tuple[str, ...]
    """Living workers that serve it."""

    @property
    def unserved(self) -> bool:
        """Tasks wait, and no worker takes them."""
        return bool(self.waiting) and not self.workers


def queue_of(program: str, queue: str) -> str:
    """Name of the queue that a task goes to; one without a queue of its own is routed by Celery."""
    if queue:
        return queue
    route = current_app.amqp.router.route({}, canvas.task_name(program))
    return str(getattr(route.get("queue"), "name", None) or current_app.conf.task_default_queue)


def waiting(tasks: Any) -> Counter[str]:
    """Number of tasks per queue."""
    counts: Counter[str] = Counter()
    for row in tasks.order_by().values("program", "queue").annotate(count=Count("pk")):
        counts[queue_of(row["program"], row["queue"])] += row["count"]
    return counts


def sizes(names: Iterable[str], app: Celery | None = None) -> dict[str, int]:
    """Messages in each queue of the broker; raises what the broker raises when it does not answer."""
    app = app or app_or_default()
    result = {}
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        for name in names:
            channel: Any = connection.channel()
            with channel:
                try:
                    result[name] = channel.queue_declare(name, passive=True).message_count
                except connection.channel_errors:
                    result[name] = 0
    return result


def served() -> dict[str, list[str]]:
    """Queue → names of the living workers that serve it."""
    result: dict[str, list[str]] = {}
    for name, queues in Worker.objects.living(conf.get().LEASE_SECONDS).values_list("name", "queues"):
        for queue in queues:
            result.setdefault(queue, []).append(name)
    return result


def capacity() -> Counter[str]:
    """Messages that the living workers of each queue may have taken from it and not begun with."""
    prefetch = max(1, current_app.conf.worker_prefetch_multiplier or 1)
    counts: Counter[str] = Counter()
    for concurrency, queues in Worker.objects.living(conf.get().LEASE_SECONDS).values_list("concurrency", "queues"):
        counts.update(dict.fromkeys(queues, concurrency * prefetch))
    return counts


def overview() -> list[Queue]:
    """All queues that are served or waited for, by name."""
    counts = waiting(Task.objects.startable())
    workers = served()
    names = sorted(set(counts) | set(workers))
    try:
        messages: dict[str, int] | None = sizes(names)
    except Exception:
        messages = None
    return [
        Queue(
            name=name,
            waiting=counts[name],
            messages=None if messages is None else messages.get(name, 0),
            workers=tuple(sorted(workers.get(name, ()))),
        )
        for name in names
    ]


def unserved(flow_id: str) -> list[str]:
    """Queues that tasks of a flow wait in and nobody serves."""
    counts = waiting(Task.objects.filter(task_flow_id=flow_id).startable())
    return sorted(set(counts) - set(served()))
