"""Signs that the message of a task is lost: the broker holds too few, or a later message was taken before it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from django.db.models import Count, Max, Min, Q

from flowerapp import conf
from flowerapp.core import logs
from flowerapp.core.executor import ALL_STEPS, Lane
from flowerapp.core.messages import broker_step, sent_priority
from flowerapp.models import Task
from flowerapp.querysets import TaskQuerySet
from flowerapp.querysets.clock import ago
from flowerapp.selectors import queues
from flowerapp.states import Status
from flowerapp.watcher.pages import PAGE

logger = logs.logger(__name__)

SUSPECTS = 2000
"""Most tasks of a lane that are suspected at once."""
PUBLISH_SECONDS = 0.5
"""Seconds in which a message is in the broker after its task was marked as sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tasks with the same values of ``_COLUMNS``; their messages have the same queue and the same priority step."""

    queue: str
    """Name of the queue."""
    step: int
    """0…9, the lowest is the most urgent."""
    columns: dict[str, Any]
    """The filter that leaves its tasks."""
    number: int
    arrived: int
    """How many of them were sent over ``PUBLISH_SECONDS`` ago."""
    quiet: int
    """How many of them were sent over half of ``RESEND_AFTER`` ago."""
    oldest: datetime
    """``sent_ts`` of the task that was sent first."""
    youngest: datetime
    """``sent_ts`` of the task that was sent last."""

    @property
    def place(self) -> tuple[str, int]:
        """Queue and step."""
        return self.queue, self.step


_COLUMNS = ("program", "queue", "task_priority", "pool")


def groups(tasks: TaskQuerySet) -> list[Group]:
    """The tasks that were sent, in groups, without those whose routing fails; one statement."""
    numbers = {
        "number": Count("pk"),
        "arrived": Count("pk", filter=Q(sent_ts__lt=ago(PUBLISH_SECONDS))),
        "quiet": Count("pk", filter=Q(sent_ts__lt=ago(conf.get().RESEND_AFTER / 2))),
        "oldest": Min("sent_ts"),
        "youngest": Max("sent_ts"),
    }
    rows = tasks.filter(sent_ts__isnull=False).order_by().values(*_COLUMNS).annotate(**numbers)
    made = (_group({name: row[name] for name in _COLUMNS}, {name: row[name] for name in numbers}) for row in rows)
    return [group for group in made if group.queue]


def _group(columns: dict[str, Any], numbers: dict[str, Any]) -> Group:
    priority = sent_priority(columns["task_priority"], columns["pool"])
    step = broker_step(priority, highest_first=False)
    return Group(queue=queues.queue_of(columns["program"], columns["queue"]), step=step, columns=columns, **numbers)


def _keys(tasks: TaskQuerySet, chosen: Iterable[Group], number: int) -> Iterator[int]:
    """Keys of the tasks of these groups that were sent first, at most ``number``."""
    filters = [Q(**group.columns) for group in chosen]
    if filters:
        ordered = tasks.filter(reduce(operator.or_, filters)).order_by("sent_ts", "pk")
        yield from ordered.values_list("pk", flat=True)[:number]


class Missing:
    """A lane that holds fewer messages than there are tasks that were sent to it has lost the oldest.

    The broker is asked first, so what is taken from a queue meanwhile does not count as lost. What the workers may have
    taken and not begun does not either, unless the lane is empty: the supervisor of a worker renews ``sent_ts``
    of what the worker holds, so that is not silent for long. A size that is unknown makes no task suspect.
    """

    def __init__(self) -> None:
        self.uncounted: set[tuple[str, int]] = set()
        """Queues and steps of silent tasks about which the numbers of the last look say nothing: they are unknown, or
        there are more messages than tasks, as in a queue that the host uses too."""
        self._unknown: dict[str, str] = {}

    def look(self, silent: TaskQuerySet) -> Iterator[int]:
        """Keys of the silent tasks whose messages are missing; they were sent over half of ``RESEND_AFTER`` ago."""
        sizes = queues.sizes({group.queue for group in groups(silent)})
        unknown = {name: size.unknown for name, size in sizes.items() if size.unknown}
        self._log(unknown)
        sent, untraced = groups(Task.objects.all().sent()), queues.untraced()
        self.uncounted = {group.place for group in sent if group.quiet and group.queue in unknown}
        for name, size in sizes.items():
            for lane in size.lanes:
                tasks = [group for group in sent if group.queue == name and group.step in lane.steps]
                if number := _missing(lane, tasks, untraced[name]):
                    yield from _keys(silent, tasks, min(number, SUSPECTS))
                elif lane.messages > sum(group.number for group in tasks):
                    self.uncounted.update(group.place for group in tasks if group.quiet)

    def _log(self, unknown: dict[str, str]) -> None:
        for name in unknown.keys() - self._unknown.keys():
            logger.warning("queue %s: the number of its messages is unknown: %s", name, unknown[name])
        self._unknown = unknown


def _missing(lane: Lane, tasks: Sequence[Group], untraced: int) -> int:
    """How many messages of these tasks a lane lacks at least.

    Where the broker counts by priority, only quiet tasks are compared, so what is being sent cannot disturb. In a queue
    that is counted as a whole, new urgent messages would hide that old ones are lost, so their tasks count too.
    """
    quiet = sum(group.quiet for group in tasks)
    if not lane.messages:
        return quiet
    number = sum(group.arrived for group in tasks) if lane.steps == ALL_STEPS else quiet
    return max(0, number - lane.messages - untraced) if quiet else 0


class Overtaken:
    """A task has lost its message if one that was sent long after it, to the same queue and no more urgent, runs."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, int], datetime] = {}
        """Queue and step → when the youngest message was sent that is known to have been taken."""

    def look(self, silent: TaskQuerySet) -> Iterator[int]:
        """Keys of the silent tasks that were overtaken."""
        running = Task.objects.filter(exec_status=Status.RUNNING, resent=False, pool="")  # those of pools went ahead
        for group in groups(running):
            self.taken[group.place] = max(group.youngest, self.taken.get(group.place, group.youngest))
        margin = timedelta(seconds=conf.get().RESEND_AFTER)
        for group in groups(silent):
            later = [sent for (queue, step), sent in self.taken.items() if queue == group.queue and step >= group.step]
            if later and group.oldest < max(later) - margin:
                yield from _keys(silent.filter(sent_ts__lt=max(later) - margin), [group], PAGE)


def sent_until(silent: TaskQuerySet, queue: str, step: int, until: datetime) -> Iterator[int]:
    """Keys of the silent tasks that a marker of this queue and step has overtaken: they were sent before it."""
    older = silent.filter(sent_ts__lte=until)
    behind = [group for group in groups(older) if group.queue == queue and group.step <= step]
    yield from _keys(older, behind, SUSPECTS)
