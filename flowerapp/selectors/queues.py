"""What waits in which queue, and which workers serve it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q

from flowerapp import conf
from flowerapp.core import executor
from flowerapp.core.executor import QueueSize
from flowerapp.models import Task, Worker
from flowerapp.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue as the database and the broker see it."""

    name: str
    waiting: int
    """Ready tasks that no worker has claimed yet."""
    messages: int | None
    """Messages in the broker; None if that is unknown."""
    unknown: str
    """Why the number of messages is unknown; empty if it is known."""
    workers: tuple[str, ...]
    """Workers that serve it and are alive."""

    @property
    def unserved(self) -> bool:
        """Whether tasks wait and no worker serves it."""
        return bool(self.waiting) and not self.workers


def queue_of(program: str, queue: str) -> str:
    """Name of the queue that a task goes to, empty if its routing fails; ``queue`` is that of its row, or empty."""
    return executor.current().route_of(program, queue)


def waiting(tasks: Any) -> Counter[str]:
    """Number of tasks per queue, without those whose routing fails."""
    counts: Counter[str] = Counter()
    for row in tasks.order_by().values("program", "queue").annotate(count=Count("pk")):
        if name := queue_of(row["program"], row["queue"]):
            counts[name] += row["count"]
    return counts


def by_queue(tasks: Any) -> dict[str, Q]:
    """Queues that tasks go to, each with the filter that leaves its tasks; without those whose routing fails."""
    filters: dict[str, Q] = {}
    for row in tasks.order_by().values("program", "queue").distinct():
        if name := queue_of(row["program"], row["queue"]):
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
    """Messages that the workers of each queue take from it at once."""
    prefetch = max(1, executor.current().prefetch)
    counts: Counter[str] = Counter()
    for concurrency, queues in Worker.objects.alive(conf.get().LEASE_SECONDS).values_list("concurrency", "queues"):
        counts.update(dict.fromkeys(queues, concurrency * prefetch))
    return counts


def untraced() -> Counter[str]:
    """Messages of each queue that workers may have taken without having begun their tasks.

    A message is acknowledged when its task has ended, so each task that runs leaves room for one less.
    """
    prefetch = executor.current().prefetch
    running = Counter(Task.objects.filter(exec_status=Status.RUNNING).values_list("worker", flat=True))
    counts: Counter[str] = Counter()
    alive = Worker.objects.alive(conf.get().LEASE_SECONDS)
    for pk, concurrency, queues in alive.values_list("pk", "concurrency", "queues"):
        room = max(0, concurrency * prefetch - running[pk]) if prefetch else sys.maxsize
        counts.update(dict.fromkeys(queues, room))
    return counts


def sizes(names: Iterable[str]) -> dict[str, QueueSize]:
    """What the broker answers about each of these queues; unknown for all if it is unreachable."""
    names = list(names)
    missing = dict.fromkeys(names, QueueSize(unknown="the executor did not answer"))
    try:
        return missing | dict(executor.current().queue_sizes(names))
    except Exception as error:  # what the broker raises where it is unreachable
        return dict.fromkeys(names, QueueSize(unknown=f"the broker is unreachable ({type(error).__name__})"))


def overview() -> list[Queue]:
    """All queues that a worker serves or a task waits in, by name."""
    counts = waiting(Task.objects.startable())
    workers = served()
    names = sorted(set(counts) | set(workers))
    in_broker = sizes(names)
    return [
        Queue(
            name=name,
            waiting=counts[name],
            messages=in_broker[name].messages,
            unknown=in_broker[name].unknown,
            workers=tuple(sorted(workers.get(name, ()))),
        )
        for name in names
    ]


def unserved(flow_id: str) -> list[str]:
    """Queues that tasks of a flow wait in and no worker serves."""
    counts = waiting(Task.objects.filter(task_flow_id=flow_id).startable())
    return sorted(set(counts) - set(served()))
