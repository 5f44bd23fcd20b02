"""Send again what was sent over ``RESEND_AFTER`` seconds ago and whose message is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Aggregate, Max, Min

from flowerapp import conf
from flowerapp.core import executor
from flowerapp.core.messages import broker_step
from flowerapp.engine import dispatching
from flowerapp.models import HistoryEntry, Task
from flowerapp.querysets import TaskQuerySet, batched
from flowerapp.selectors import queues
from flowerapp.states import Status
from flowerapp.watcher.interventions import intervened
from flowerapp.watcher.pages import PAGE

SUSPECTS = 2000
"""Messages that are sent again at once."""


class Resend:
    """Two signs say that a message is lost.

    A queue that holds fewer messages than there are silent tasks of it has lost the oldest. The broker is asked
    first, so what is taken from the queue meanwhile does not count as lost; what the living workers may just have taken
    does not either, unless the queue is empty. And a task that was overtaken by one that was sent long after it, to
    the same queue and no more urgent, has lost its message. A task must be suspected in two looks, so one that a worker
    has just taken is not.
    """

    def __init__(self) -> None:
        self.suspects: set[int] = set()
        self.taken: dict[tuple[str, int], datetime] = {}
        """Queue and step of priority → when the youngest message was sent that is known to have been taken."""

    def __call__(self) -> int:
        """One look; the number sent again."""
        before, self.suspects = self.suspects, set()
        silent = Task.objects.silent(conf.get().RESEND_AFTER)
        if silent.exists():
            self.suspects = {*self._missing(silent), *self._overtaken(silent)}
        return send_again(sorted(self.suspects & before)[:SUSPECTS])

    def _missing(self, silent: TaskQuerySet) -> Iterator[int]:
        in_broker = executor.current().queue_sizes(queues.waiting(silent))
        missing = queues.waiting(silent)
        missing.subtract(in_broker)
        missing.subtract({name: taken for name, taken in queues.capacity().items() if in_broker.get(name)})
        for name, rows in queues.by_queue(silent).items():
            if missing[name] > 0:
                oldest = silent.filter(rows).order_by("sent_ts", "pk").values_list("pk", flat=True)
                yield from oldest[: min(missing[name], SUSPECTS)]

    def _overtaken(self, silent: TaskQuerySet) -> Iterator[int]:
        running = Task.objects.filter(exec_status=Status.RUNNING, resent=False, pool="")  # those of pools went ahead
        for place, sent in _places(running, Max("sent_ts")):
            self.taken[place.queue, place.step] = max(sent, self.taken.get((place.queue, place.step), sent))
        margin = timedelta(seconds=conf.get().RESEND_AFTER)
        for place, oldest in _places(silent, Min("sent_ts")):
            later = [sent for (queue, step), sent in self.taken.items() if queue == place.queue and step >= place.step]
            if later and oldest < max(later) - margin:
                overtaken = silent.filter(**place.columns, sent_ts__lt=max(later) - margin)
                yield from overtaken.order_by("sent_ts", "pk").values_list("pk", flat=True)[:PAGE]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the messages of tasks with these columns wait: a queue, and a step of priority, the low ones first."""

    queue: str
    step: int
    columns: dict[str, Any]


_COLUMNS = ("program", "queue", "task_priority")


def _places(tasks: TaskQuerySet, when: Aggregate) -> Iterator[tuple[_Place, datetime]]:
    for row in tasks.filter(sent_ts__isnull=False).order_by().values(*_COLUMNS).annotate(when=when):
        queue = executor.current().route_of(row["program"], row["queue"])
        step = broker_step(row["task_priority"], highest_first=False)
        yield _Place(queue, step, {name: row[name] for name in _COLUMNS}), row["when"]


def send_again(pks: Sequence[int]) -> int:
    """Send these once more, and write it to the history."""
    count = 0
    if not executor.current().connected():
        return count
    for batch in batched(pks):
        chosen = Task.objects.filter(pk__in=batch)
        messages = chosen.startable().messages(alone=True)
        chosen.mark_sent()
        HistoryEntry.objects.record_all("resend", [message.ref for message in messages], "its message was lost")
        for message in messages:
            intervened("resend", message.ref)
        dispatching.send(messages)
        count += len(messages)
    return count
