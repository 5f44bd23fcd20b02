"""What waits in which queue, and which workers serve it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q

from flowerapp import conf
from flowerapp.core import executor
from flowerapp.models import Task, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue as the database and the broker see it."""

    name: str
    waiting: int
    """Ready tasks that no worker has claimed yet."""
    messages: int | None
    """Messages in the broker; None if it is unreachable."""
    workers: tuple[str, ...]
    """Workers that serve it and are alive."""

    @property
    def unserved(self) -> bool:
        """Whether tasks wait and no worker serves it."""
        return bool(self.waiting) and not self.workers


def queue_of(program: str, queue: str) -> str:
    """Name of the queue that a task goes to; ``queue`` is that of its row, empty for none of its own."""
    return executor.current().route_of(program, queue)


def waiting(tasks: Any) -> Counter[str]:
    """Number of tasks per queue."""
    counts: Counter[str] = Counter()
    for row in tasks.order_by().values("program", "queue").annotate(count=Count("pk")):
        counts[queue_of(row["program"], row["queue"])] += row["count"]
    return counts


def by_queue(tasks: Any) -> dict[str, Q]:
    """Queues that tasks go to, each with the filter that leaves its tasks."""
    filters: dict[str, Q] = {}
    for row in tasks.order_by().values("program", "queue").distinct():
        name = queue_of(row["program"], row["queue"])
        filters[name] = filters.get(name, Q()) | Q(**row)
    return filters


def served() -> dict[str, list[str]]:
    """Queue → names of the workers that serve it and are alive."""
    result: dict[str, list[str]] = {}
    for name, queues in Worker.objects.alive(conf.get().LEASE_SECONDS).values_list("name", "queues"):
        for queue in queues:
            result.setdefault(queue, []).append(name)
    return result


def capacity() -> Counter[str]:
    """Messages that the workers of each queue may have prefetched from it without starting them."""
    prefetch = executor.current().prefetch
    counts: Counter[str] = Counter()
    for concurrency, queues in Worker.objects.alive(conf.get().LEASE_SECONDS).values_list("concurrency", "queues"):
        counts.update(dict.fromkeys(queues, concurrency * prefetch))
    return counts


def overview() -> list[Queue]:
    """All queues that a worker serves or a task waits in, by name."""
    counts = waiting(Task.objects.startable())
    workers = served()
    names = sorted(set(counts) | set(workers))
    try:
        messages = dict(executor.current().queue_sizes(names))
    except Exception:  # what the broker raises where it is unreachable
        messages = {}
    return [
        Queue(
            name=name,
            waiting=counts[name],
            messages=messages.get(name),
            workers=tuple(sorted(workers.get(name, ()))),
        )
        for name in names
    ]


def unserved(flow_id: str) -> list[str]:
    """Queues that tasks of a flow wait in and no worker serves."""
    counts = waiting(Task.objects.filter(task_flow_id=flow_id).startable())
    return sorted(set(counts) - set(served()))
