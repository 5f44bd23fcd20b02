"""Sends ready tasks, on commit.

The process that sets ``sent_ts`` must send the task's message, and takes the mark back if it cannot. Where no process
has set it, the watcher sends the task, a few hundred at a time. Of many tasks that become ready together the first are
sent and the rest is deferred: each that ends is followed by the next of the same program and queue, and the watcher
sends more where processes are idle. So a flow of any width keeps the workers busy with few messages.

A message that cannot be published blocks no other: its task is *refused*, tried again after ``REFUSAL_PAUSE``, and
rejected by the watcher after ``REJECT_AFTER`` seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import NamedTuple, TypeVar

from flowerapp import conf
from flowerapp.core import executor, logs
from flowerapp.core.executor import UnpublishableError
from flowerapp.core.messages import FIRST_SENT, SEND_BATCH, Message, TaskRef, first_sent
from flowerapp.models import Task, Worker
from flowerapp.querysets import batched
from flowerapp.querysets.db import (
    CONNECTION_ERRORS,
    connection,
    is_never_committed,
    on_commit,
    retry_on_disconnect,
)
from flowerapp.states import RefusedBy

logger = logs.logger(__name__)

Marked = TypeVar("Marked", bound=Sized)

REFUSAL_PAUSE = 5.0
"""Seconds until a refused task is tried again."""
BUSY = 2
"""Messages that are kept in the queue for each process, so that none is idle."""


def send_on_commit(messages: Sequence[Message]) -> None:
    """Send once the transaction is committed; an error of the broker leaves the commit alone."""
    if messages:
        if is_never_committed() and not executor.current().runs_here:
            _warn_of_test()
        on_commit(lambda: send(messages))


@functools.cache
def _warn_of_test() -> None:
    """Say once why no task starts."""
    logger.warning(
        "flows that are registered in a TestCase do not start, because its transaction is never committed: run them "
        "with flowerapp.testing (docs/testing.md)"
    )


def send(messages: Sequence[Message]) -> list[Message]:
    """Send now, and return what the broker took; the rest is marked unsent for the watcher, or as refused."""
    first, rest = messages[:SEND_BATCH], messages[SEND_BATCH:]
    _mark_unsent(rest)
    return _publish(first).taken


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
    """Send startable tasks that no process has taken on to send, of one flow or of all; about ``limit`` are tried.

    Retries and parked tasks whose time has come are among them. Returns the number sent.
    """
    tasks = Task.objects.all() if flow_id is None else Task.objects.filter(task_flow_id=flow_id)
    if due := list(tasks.due().values_list("pk", flat=True)[:SEND_BATCH]):
        Task.objects.due().filter(pk__in=due).wake()
    count, tried, failed = 0, 0, set[str]()
    while executor.current().connected() and (limit is None or tried < limit):
        messages = tasks.exclude(queue__in=failed).take_unsent(SEND_BATCH)
        if not messages:
            break
        published = _publish(messages)
        tried += len(messages)
        failed |= published.failed
        count += len(published.taken)
    return count


class _Published(NamedTuple):
    """How the sending of messages ended."""

    taken: list[Message]
    failed: set[str]
    """Queues, as the rows name them, whose messages are to be sent later."""


def _publish(messages: Sequence[Message]) -> _Published:
    """Send what the broker takes, queue by queue, and mark the rest."""
    published = _Published([], set())
    by_queue: dict[str, list[Message]] = {}
    for message in messages:
        by_queue.setdefault(message.head.queue, []).append(message)
    for queue, batch in by_queue.items():
        taken = _publish_batch(batch)
        published.taken.extend(taken or ())
        if taken is None:
            published.failed.add(queue)
    return published


def _publish_batch(messages: Sequence[Message]) -> list[Message] | None:
    """The messages that the broker took; None if it is to be asked again for all."""
    try:
        if executor.current().connected():
            executor.current().send(messages)
            return list(messages)
    except UnpublishableError as error:
        _refuse(error.refused)
        return [message for message in messages if message.ref not in error.refused]
    except Exception as error:  # the rows are committed and the watcher will send them
        if executor.current().propagates:
            raise
        logger.warning("could not send %d tasks, first %s; the watcher will: %r", len(messages), messages[0].ref, error)
        logger.debug("could not send", exc_info=True)
    _mark_unsent(messages)
    return None


def _marks(mark: Callable[[Marked], None]) -> Callable[[Marked], None]:
    """Decorator: without the database the tasks keep their mark, and the watcher sends them after ``RESEND_AFTER``."""

    @functools.wraps(mark)
    def call(messages: Marked) -> None:
        try:
            retry_on_disconnect()(mark)(messages)
        except CONNECTION_ERRORS as error:
            if connection().in_atomic_block:
                raise
            logger.warning("%d tasks that were not sent cannot be marked; the watcher will: %r", len(messages), error)

    return call


@_marks
def _refuse(refused: Mapping[TaskRef, str]) -> None:
    """Have tasks tried again that cannot be published; what is refused for too long, the watcher rejects."""
    by_reason: dict[str, list[TaskRef]] = {}
    for ref, reason in refused.items():
        by_reason.setdefault(reason, []).append(ref)
    for reason, refs in by_reason.items():
        keys = Task.objects.all().keys_of(refs)
        is_new = Task.objects.filter(pk__in=keys, refused_ts__isnull=True).exists()
        Task.objects.refuse(keys, RefusedBy.EXECUTOR, f"cannot be published: {reason}", REFUSAL_PAUSE)
        if is_new:
            others = f" and {len(refs) - 1} more tasks" if len(refs) > 1 else ""
            times = f"tried again for {conf.get().REJECT_AFTER} s"
            logger.warning("%s%s cannot be published: %s; %s", refs[0], others, reason, times)


@_marks
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
        on_commit(lambda: send_deferred(flow_id))


def send_released_by(ref: TaskRef) -> None:
    """Send what a satisfied task released, because its own message could not continue."""
    send(Task.objects.released_by(ref).messages(alone=True))
