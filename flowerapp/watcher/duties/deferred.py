"""Send deferred tasks of queues whose processes are idle."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Min, Q

from flowerapp.core import executor
from flowerapp.core.messages import FIRST_SENT
from flowerapp.engine import dispatching
from flowerapp.models import Task
from flowerapp.querysets import TaskQuerySet
from flowerapp.selectors import queues
from flowerapp.states import Status
from flowerapp.watcher.pages import PAGE


def send_deferred() -> int:
    """The number of tasks sent.

    Messages that are less urgent don't count as work of a queue. Where no task of a program and queue is sent or runs,
    the first are, however many wait.
    """
    deferred = Task.objects.deferred()
    if not deferred.exists() or not executor.current().connected():
        return 0
    messages = [message for kind in _stalled(deferred) for message in deferred.filter(kind).take_deferred(FIRST_SENT)]
    capacity = queues.capacity()
    for name, theirs in queues.by_queue(deferred).items():
        urgent = deferred.filter(theirs).aggregate(least=Min("task_priority"))["least"]
        ahead = Task.objects.startable().filter(sent_ts__isnull=False, task_priority__lte=urgent)
        room = dispatching.BUSY * capacity[name] - queues.waiting(ahead)[name]
        messages += deferred.filter(theirs).take_deferred(room)
    dispatching.send(messages)
    return len(messages)


def _stalled(deferred: TaskQuerySet) -> Iterator[Q]:
    """Program and queue of tasks of a flow that were deferred while none of the same is sent or runs."""
    in_progress = Q(exec_status=Status.RUNNING) | Q(exec_status=Status.WAIT, pending=0, sent_ts__isnull=False)
    for row in deferred.order_by().values("task_flow_id", "program", "queue").distinct()[:PAGE]:
        if not Task.objects.filter(in_progress, **row).exists():
            yield Q(**row)
