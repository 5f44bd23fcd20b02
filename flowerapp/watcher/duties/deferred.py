"""Send deferred tasks of queues whose processes are idle."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Min, Q

from flowerapp.core import executor
from flowerapp.core.messages import FIRST_SENT
from flowerapp.engine import dispatching
from flowerapp.models import Task
from flowerapp.querysets import TaskQuerySet
from flowerapp.querysets.db import each_isolated
from flowerapp.selectors import queues
from flowerapp.states import Status
from flowerapp.watcher.pages import PAGE


def send_deferred() -> int:
    """The number of tasks sent.

    Messages that are less urgent do not count as work of a queue. If no task of a flow, program and queue is sent or
    runs, the first of its deferred tasks are sent, however many messages wait in the queue.
    """
    deferred = Task.objects.deferred()
    if not deferred.exists() or not executor.current().connected():
        return 0
    count = each_isolated(_stalled(deferred), lambda kind: _send(deferred.filter(kind), FIRST_SENT))
    capacity = queues.capacity()
    by_queue = queues.by_queue(deferred).items()
    return count + each_isolated(by_queue, lambda entry: _fill(entry[0], deferred.filter(entry[1]), capacity[entry[0]]))


def _fill(queue: str, deferred: TaskQuerySet, capacity: int) -> int:
    """Send as many of these tasks as keep the processes of their queue busy; their number."""
    urgent = deferred.aggregate(least=Min("task_priority"))["least"]
    if urgent is None:  # workers have taken them all meanwhile
        return 0
    ahead = Task.objects.startable().filter(sent_ts__isnull=False, task_priority__lte=urgent)
    return _send(deferred, dispatching.BUSY * capacity - queues.waiting(ahead)[queue])


def _send(deferred: TaskQuerySet, number: int) -> int:
    """Take and send at once, so that nothing that is marked as sent stays behind."""
    return len(dispatching.send(deferred.take_deferred(number)))


def _stalled(deferred: TaskQuerySet) -> Iterator[Q]:
    """Program and queue of tasks of a flow that were deferred while none of the same is sent or runs."""
    in_progress = Q(exec_status=Status.RUNNING) | Q(exec_status=Status.WAIT, pending=0, sent_ts__isnull=False)
    for row in deferred.order_by().values("task_flow_id", "program", "queue").distinct()[:PAGE]:
        if not Task.objects.filter(in_progress, **row).exists():
            yield Q(**row)
