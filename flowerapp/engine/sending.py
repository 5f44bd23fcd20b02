"""Handing ready tasks over, on commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import transaction

from flowerapp import dispatch
from flowerapp.dispatch import Message
from flowerapp.models import Task
from flowerapp.querysets import batched

logger = logging.getLogger(__name__)


def send_on_commit(messages: Sequence[Message]) -> None:
    """Send once the transaction is committed; an error of the broker leaves the commit alone."""
    if messages:
        transaction.on_commit(lambda: send(messages), robust=True)


def send(messages: Sequence[Message]) -> None:
    """Send now; what cannot be sent from here, or the broker does not take, is marked, and the watcher sends it."""
    if not dispatch.connected():
        _mark_unsent(messages)
        return
    try:
        dispatch.send(messages)
    except Exception:  # the rows are committed and the watcher will send them
        logger.warning("could not send %d tasks; the watcher will", len(messages), exc_info=True)
        _mark_unsent(messages)


def _mark_unsent(messages: Sequence[Message]) -> None:
    by_flow: dict[str, list[int]] = {}
    for message in messages:
        by_flow.setdefault(message.flow_id, []).append(message.head.seq)
    for flow_id, seqs in by_flow.items():
        for some in batched(seqs):
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=some).mark_unsent()


def send_ready(flow_id: str) -> None:
    """Send all startable tasks of a flow on commit, whether or not they were sent before."""
    _mark_and_send(flow_id, Task.objects.filter(task_flow_id=flow_id).startable().messages(alone=True))


def send_released(flow_id: str) -> None:
    """Send the startable tasks of a flow that no message was sent for yet, on commit."""
    unsent = Task.objects.filter(task_flow_id=flow_id, sent_ts__isnull=True)
    _mark_and_send(flow_id, unsent.startable().messages())


def _mark_and_send(flow_id: str, messages: Sequence[Message]) -> None:
    if dispatch.connected():
        for some in batched([message.head.seq for message in messages]):
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=some).mark_sent()
        send_on_commit(messages)
