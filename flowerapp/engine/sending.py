"""Handing ready tasks over, on commit.

``sent_ts`` says that somebody has taken on to send a task's message: whoever sets it sends it. What nobody has taken
on is handed over by the watcher, a few hundred at a time. Of many tasks that become ready together the first are sent
and the rest is ``left_over`` to them: each that ends goes on with the next of its kind or sends it, and the watcher
sends some where processes are idle. So a flow of any width keeps the workers busy with few messages.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from flowerapp import conf, dispatch
from flowerapp.dispatch import AT_ONCE, Message
from flowerapp.models import Task, Worker
from flowerapp.querysets import batched

logger = logging.getLogger(__name__)

BUSY = 2
"""Messages per process that are to wait for it, so that it need not."""


def send_on_commit(messages: Sequence[Message]) -> None:
    """Send once the transaction is committed; an error of the broker leaves the commit alone."""
    if messages:
        transaction.on_commit(lambda: send(messages), robust=True)


def send(messages: Sequence[Message]) -> None:
    """Send now; what cannot be sent from here, or the broker does not take, is marked, and the watcher sends it."""
    if not messages:
        return
    first, rest = messages[:AT_ONCE], messages[AT_ONCE:]
    _mark_unsent(rest)
    _publish(first)


def spread(flow_id: str) -> tuple[Message, ...]:
    """Take on to send as much of what a flow has left over as keeps all processes busy, beside the first few."""
    processes = Worker.objects.living(conf.get().LEASE_SECONDS).processes()
    return top_up(Task.objects.filter(task_flow_id=flow_id), BUSY * processes - dispatch.FIRST)


def top_up(tasks: Any, number: int) -> tuple[Message, ...]:
    """Take on to send up to ``number`` of the tasks that were left over: their messages."""
    return tuple(tasks.take_left_over(number)) if number > 0 and dispatch.connected() else ()


def hand_over(flow_id: str | None = None, *, most: int | None = None) -> int:
    """Send startable tasks that nobody has taken on to send, of one flow or of all; the number sent, about ``most``.

    Among them are retries and parked tasks whose time has come.
    """
    tasks = Task.objects.all() if flow_id is None else Task.objects.filter(task_flow_id=flow_id)
    overslept = list(tasks.overslept().values_list("pk", flat=True)[:AT_ONCE])
    if overslept:
        Task.objects.overslept().filter(pk__in=overslept).wake()
    count, refusing = 0, set[str]()
    while dispatch.connected() and (most is None or count < most):
        messages = tasks.exclude(queue__in=refusing).take_unsent(AT_ONCE)
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
    refusing = set()
    for queue, theirs in by_queue.items():
        try:
            if dispatch.connected():
                dispatch.send(theirs)
                continue
        except Exception:  # the rows are committed and the watcher will send them
            logger.warning("could not send %d tasks; the watcher will", len(theirs), exc_info=True)
        _mark_unsent(theirs)
        refusing.add(queue)
    return refusing


def _mark_unsent(messages: Sequence[Message]) -> None:
    by_flow: dict[str, list[int]] = {}
    for message in messages:
        by_flow.setdefault(message.flow_id, []).append(message.head.seq)
    for flow_id, seqs in by_flow.items():
        for some in batched(seqs):
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=some).mark_unsent()


def send_released(flow_id: str) -> None:
    """Send the startable tasks of a flow that no message was sent for yet, on commit; of many the first."""
    tasks = Task.objects.filter(task_flow_id=flow_id)
    messages = {message.head.seq: message for message in tasks.handed_over().messages()}
    children = set(tasks.filter(parent_seq__isnull=False).handed_over().values_list("task_exec_seq", flat=True))
    heads = [message.head for seq, message in messages.items() if seq not in children]
    first = children | dispatch.first_of((head.seq, head.priority, head.program, head.queue) for head in heads)
    for some in batched(sorted(set(messages) - first)):
        tasks.filter(task_exec_seq__in=some).mark_unsent(left_over=True)
    if dispatch.connected():
        for some in batched(sorted(first)):
            tasks.filter(task_exec_seq__in=some).mark_sent()
        send_on_commit([messages[seq] for seq in sorted(first)])
    if first != set(messages):
        transaction.on_commit(lambda: send(spread(flow_id)), robust=True)


def send_what_waits_for(flow_id: str, seq: int) -> None:
    """Send what a satisfied task released, because its own message could not go on."""
    send(Task.objects.released_by(flow_id, seq).messages(alone=True))
