"""Sends ready tasks, on commit.

``sent_ts`` says that a process has taken it on to send a task's message: the one that sets it sends it. What no process
has taken on is sent by the watcher, a few hundred at a time. Of many tasks that become ready together the first are
sent and the rest is deferred: each that ends is followed by the next of the same program and queue, and the watcher
sends more where processes are idle. So a flow of any width keeps the workers busy with few messages.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import transaction

from flowerapp import conf
from flowerapp.core import executor
from flowerapp.core.messages import FIRST_SENT, SEND_BATCH, Message, TaskRef, first_sent
from flowerapp.models import Task, Worker
from flowerapp.querysets import batched
from flowerapp.querysets.db import retry_on_disconnect

logger = logging.getLogger(__name__)

BUSY = 2
"""Messages that are kept in the queue for each process, so that none is idle."""


def send_on_commit(messages: Sequence[Message]) -> None:
    """Send once the transaction is committed; an error of the broker leaves the commit alone."""
    if messages:
        transaction.on_commit(lambda: send(messages), robust=True)


def send(messages: Sequence[Message]) -> None:
    """Send now; what cannot be sent from here, or the broker does not take, is marked unsent for the watcher."""
    if messages:
        first, rest = messages[:SEND_BATCH], messages[SEND_BATCH:]
        _mark_unsent(rest)
        _publish(first)


@retry_on_disconnect()
def take_deferred(flow_id: str) -> list[Message]:
    """Take on to send as many deferred tasks of a flow as keep all processes busy, beside the first few."""
    if not executor.current().connected():
        return []
    processes = Worker.objects.alive(conf.get().LEASE_SECONDS).processes()
    return Task.objects.filter(task_flow_id=flow_id).take_deferred(BUSY * processes - FIRST_SENT)


def send_deferred(flow_id: str) -> None:
    """Send as many deferred tasks of a flow as keep all processes busy."""
    send(take_deferred(flow_id))


def send_unsent(flow_id: str | None = None, *, limit: int | None = None) -> int:
    """Send startable tasks that no process has taken on to send, of one flow or of all, about ``limit`` of them.

    Retries and parked tasks whose time has come are among them. Returns the number sent.
    """
    tasks = Task.objects.all() if flow_id is None else Task.objects.filter(task_flow_id=flow_id)
    if due := list(tasks.due().values_list("pk", flat=True)[:SEND_BATCH]):
        Task.objects.due().filter(pk__in=due).wake()
    count, refusing = 0, set[str]()
    while executor.current().connected() and (limit is None or count < limit):
        messages = tasks.exclude(queue__in=refusing).take_unsent(SEND_BATCH)
        if not messages:
            break
        refusing |= _publish(messages)
        count += sum(message.head.queue not in refusing for message in messages)
    return count


def _publish(messages: Sequence[Message]) -> set[str]:
    """Send what the broker takes, queue by queue, and mark the rest; the queues that it did not take."""
    by_queue: dict[str, list[Message]] = {}
    for message in messages:
        by_queue.setdefault(message.head.queue, []).append(message)
    return {queue for queue, batch in by_queue.items() if not _publish_batch(batch)}


def _publish_batch(messages: Sequence[Message]) -> bool:
    try:
        if executor.current().connected():
            executor.current().send(messages)
            return True
    except Exception:  # the rows are committed and the watcher will send them
        logger.warning("could not send %d tasks; the watcher will", len(messages), exc_info=True)
    _mark_unsent(messages)
    return False


def _mark_unsent(messages: Sequence[Message]) -> None:
    by_flow: dict[str, list[int]] = {}
    for message in messages:
        by_flow.setdefault(message.flow_id, []).append(message.head.seq)
    for flow_id, seqs in by_flow.items():
        for batch in batched(seqs):
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=batch).mark_unsent()


def send_released(flow_id: str) -> None:
    """Send the startable tasks of a flow that were not sent yet, on commit; of many the first."""
    tasks = Task.objects.filter(task_flow_id=flow_id)
    messages = {message.head.seq: message for message in tasks.unsent().messages()}
    children = set(tasks.filter(parent_seq__isnull=False).unsent().values_list("task_exec_seq", flat=True))
    chosen = children | first_sent(message.head for seq, message in messages.items() if seq not in children)
    for batch in batched(sorted(set(messages) - chosen)):
        tasks.filter(task_exec_seq__in=batch).mark_unsent(deferred=True)
    if executor.current().connected():
        for batch in batched(sorted(chosen)):
            tasks.filter(task_exec_seq__in=batch).mark_sent()
        send_on_commit([messages[seq] for seq in sorted(chosen)])
    if chosen != set(messages):
        transaction.on_commit(lambda: send_deferred(flow_id), robust=True)


def send_released_by(ref: TaskRef) -> None:
    """Send what a satisfied task released, because its own message could not continue."""
    send(Task.objects.released_by(ref).messages(alone=True))
