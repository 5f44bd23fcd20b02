"""What the leader does: send, resend, rescue, adopt, settle, prune. All times are the database's.

Each duty takes a bounded number of rows at once, and one row that cannot be dealt with does not hold up the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Aggregate, Exists, Max, Min, OuterRef, Q

from flowerapp import conf, dispatch, engine, identity, queues, signals
from flowerapp.models import Event, Flow, Task, Worker
from flowerapp.querysets import TaskQuerySet, batched
from flowerapp.querysets.steady import one_by_one
from flowerapp.states import Status

logger = logging.getLogger(__name__)

RESCUE = "rescue"
"""Name of the duty that is held back when nobody could give a sign of life."""
PAGE = 500
"""Rows that one duty takes at once; what is left comes with the next look."""
SUSPECTS = 2000
"""Messages that are sent again at once."""
FORGET_WORKERS = 86_400
"""Seconds after its last sign of life that a worker's row is kept."""


class Pages:
    """Pages through rows by their key, so that rows that stay cannot keep others from their turn."""

    def __init__(self) -> None:
        self.after: Any = None

    def next(self, rows: Any, *columns: str) -> list[Any]:
        """The next page: tuples of the key and these columns; from the start again after the last."""
        rest = rows if self.after is None else rows.filter(pk__gt=self.after)
        page = list(rest.order_by("pk").values_list("pk", *columns)[:PAGE])
        self.after = page[-1][0] if len(page) == PAGE else None
        return page


def intervened(kind: str, flow_id: str, seq: int) -> None:
    """Log and count that a message or a worker was lost and the watcher stepped in."""
    logger.warning("intervention: %s of flow %s task %s", kind, flow_id, seq)
    signals.intervened.send(sender=None, kind=kind, flow_id=flow_id, seq=seq)


def hand_over() -> int:
    """Send what nobody has sent yet: what was due, and tasks of processes without a broker."""
    return engine.hand_over(most=PAGE)


def spread() -> int:
    """Send of what was left over to others where these do not keep the processes of a queue busy; the number sent.

    Messages that are less urgent don't count. Where none of the kind is sent or runs, the first are, however many wait.
    """
    left = Task.objects.left()
    if not left.exists():
        return 0
    found = [message for kind in _forsaken(left) for message in engine.top_up(left.filter(kind), dispatch.FIRST)]
    capacity = queues.capacity()
    for name, theirs in _by_queue(left).items():
        urgent = left.filter(theirs).aggregate(least=Min("task_priority"))["least"]
        ahead = Task.objects.startable().filter(sent_ts__isnull=False, task_priority__lte=urgent)
        room = engine.BUSY * capacity[name] - queues.waiting(ahead)[name]
        found += engine.top_up(left.filter(theirs), room)
    engine.send(found)
    return len(found)


def _forsaken(left: TaskQuerySet) -> Iterator[Q]:
    """Kinds of tasks of which some were left over and none goes on."""
    goes_on = Q(exec_status=Status.RUNNING) | Q(exec_status=Status.WAIT, pending=0, sent_ts__isnull=False)
    for row in left.order_by().values("task_flow_id", "program", "queue").distinct()[:PAGE]:
        if not Task.objects.filter(goes_on, **row).exists():
            yield Q(**row)


class Resend:
    """Send again what was sent over ``RESEND_AFTER`` seconds ago and is in its queue no more.

    Two signs tell that a message is lost. A queue that holds fewer messages than silent tasks wait for it has lost
    some: the oldest. The broker is asked first, so what is taken from the queue meanwhile is not missed; and what the
    living workers may just have taken is not missed either, unless the queue is empty. And a task that was overtaken
    by one that was sent long after it, to the same queue and no more urgent, has lost its message. A task must be
    suspected in two looks, so one that a worker has just taken is not.
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
        in_broker = queues.sizes(queues.waiting(silent))
        missing = queues.waiting(silent)
        missing.subtract(in_broker)
        missing.subtract({name: taken for name, taken in queues.capacity().items() if in_broker.get(name)})
        for name, rows in _by_queue(silent).items():
            if missing[name] > 0:
                oldest = silent.filter(rows).order_by("sent_ts", "pk").values_list("pk", flat=True)
                yield from oldest[: min(missing[name], SUSPECTS)]

    def _overtaken(self, silent: TaskQuerySet) -> Iterator[int]:
        running = Task.objects.filter(exec_status=Status.RUNNING, copied=False, pool="")  # those of pools went ahead
        for place, sent in _places(running, Max("sent_ts")):
            self.taken[place.queue, place.step] = max(sent, self.taken.get((place.queue, place.step), sent))
        margin = timedelta(seconds=conf.get().RESEND_AFTER)
        for place, oldest in _places(silent, Min("sent_ts")):
            later = [sent for (queue, step), sent in self.taken.items() if queue == place.queue and step >= place.step]
            if later and oldest < max(later) - margin:
                overtaken = silent.filter(**place.columns, sent_ts__lt=max(later) - margin)
                yield from overtaken.order_by("sent_ts", "pk").values_list("pk", flat=True)[:PAGE]


def _by_queue(tasks: TaskQuerySet) -> dict[str, Q]:
    """Queues that tasks go to, and which of the tasks go to each."""
    theirs: dict[str, Q] = {}
    for row in tasks.order_by().values("program", "queue").distinct():
        name = queues.queue_of(row["program"], row["queue"])
        theirs[name] = theirs.get(name, Q()) | Q(**row)
    return theirs


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the messages of tasks with these columns wait: a queue, and a step of priority, the low ones first."""

    queue: str
    step: int
    columns: dict[str, Any]


def _places(tasks: TaskQuerySet, when: Aggregate) -> Iterator[tuple[_Place, datetime]]:
    for row in tasks.filter(sent_ts__isnull=False).order_by().values(*_PLACE).annotate(when=when):
        columns = {name: row[name] for name in _PLACE}
        queue = queues.queue_of(row["program"], row["queue"])
        yield _Place(queue, dispatch.broker_step(row["task_priority"], highest_first=False), columns), row["when"]


_PLACE = ("program", "queue", "task_priority")


def send_again(pks: Sequence[int]) -> int:
    """Send these once more, and write it to the history."""
    count = 0
    if not dispatch.connected():
        return count
    for some in batched(pks):
        chosen = Task.objects.filter(pk__in=some)
        messages = chosen.startable().messages(alone=True)
        chosen.mark_sent()
        Event.objects.record_all("resend", [(each.flow_id, each.head.seq) for each in messages], "its message was lost")
        for message in messages:
            intervened("resend", message.flow_id, message.head.seq)
        engine.send(messages)
        count += len(messages)
    return count


class Rescue:
    """Send tasks again whose worker is dead; those of this worker, which lives, are its own to rescue."""

    def __init__(self) -> None:
        self.pages = Pages()

    def __call__(self) -> int:
        """One page; the number rescued."""
        lease, begun = conf.get().LEASE_SECONDS, time.monotonic()
        living = [identity.worker(), *Worker.objects.living(lease).values_list("pk", flat=True)]
        orphaned = Task.objects.orphaned(living, lease)
        found = self.pages.next(orphaned, "task_flow_id", "task_exec_seq", "worker")
        if time.monotonic() - begun > lease / 2:  # the database hung, so nobody could give a sign of life
            return 0
        return one_by_one(found, lambda row: rescue_one(row[1], row[2], row[3], "its worker is dead"))


def rescue_one(flow_id: str, seq: int, worker: str, reason: str) -> int:
    """Send one task again; 1 if it was still that worker's."""
    running = Task.objects.one(flow_id, seq).filter(worker=worker, exec_status=Status.RUNNING)
    if not running.exists():
        return 0
    outcome = engine.lost(flow_id, seq, reason, worker=worker)
    engine.send(outcome.released)
    intervened("rescue", flow_id, seq)
    return 1


class Settle:
    """Bring flows in line that two last events at once left open."""

    def __init__(self) -> None:
        self.pages = Pages()

    def __call__(self) -> int:
        """One page; the number that changed."""
        return one_by_one(self.pages.next(Flow.objects.unsettled()), lambda row: engine.settle(row[0]))


class Turns:
    """Give children their turn who lost it."""

    def __init__(self) -> None:
        self.pages = Pages()

    def __call__(self) -> int:
        """One page of parents; the number of children."""
        waiting = Task.objects.filter(task_flow_id=OuterRef("task_flow_id"), parent_seq=OuterRef("task_exec_seq"))
        waiting = waiting.filter(exec_status=Status.WAIT, pending__gt=0)
        parents = Task.objects.parents().filter(Exists(waiting))
        found = self.pages.next(parents, "task_flow_id", "task_id", "task_exec_seq")
        return one_by_one([row[1:] for row in found], lambda place: engine.give_turns([place]))


def prune() -> int:
    """Delete flows past their retention, where one is set, and workers that are long gone."""
    days = conf.get().RETENTION_DAYS
    Worker.objects.forget(FORGET_WORKERS)
    if days is None:
        return 0
    old = list(Flow.objects.ended_before(days).values_list("pk", flat=True)[:PAGE])
    return sum(engine.delete(some) for some in batched(old, 100))


def rota() -> list[tuple[str, float, Callable[[], int]]]:
    """What the leader does, each with the seconds between."""
    return [
        ("hand over", 0.5, hand_over),
        ("admit", 0.5, engine.admit_all),
        ("spread", 2, spread),
        ("gather", 2, engine.gather_all),
        ("turns", 5, Turns()),
        ("tell", 2, engine.tell_forgotten),
        ("adopt", 2, engine.adopt),
        (RESCUE, 2, Rescue()),
        ("resend", 2, Resend()),
        ("settle", 3, Settle()),
        ("prune", 60, prune),
    ]
