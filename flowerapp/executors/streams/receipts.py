"""Acts on receipts: a task whose ``start-task`` was taken runs, and both entries are deleted.

So the stream holds only what no process has dealt with yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from flowerapp.core import logs, stream_events
from flowerapp.core.stream_events import PROCESSED, RECEIPT, START_TASK, StreamEvent, is_entry_id
from flowerapp.engine import remote_work
from flowerapp.exceptions import FlowerError
from flowerapp.executors.streams.answers import attempt_of, log_refusal, seconds_of, task_of, worker_named
from flowerapp.executors.streams.groups import consumers_of

logger = logs.logger(__name__)

Logger = Callable[[StreamEvent, StreamEvent], None]
"""Is called with an event and its receipt."""


class Receipts:
    """Acts on the receipts of one stream."""

    def __init__(self, client: redis.Redis, key: str, log: Logger | None = None) -> None:
        self.client, self.key, self.log = client, key, log

    def act(self, event: StreamEvent) -> bool:
        """Do what a receipt says; whether the event is one."""
        if event.kind != RECEIPT:
            return False
        target_id = str(event.fields.get("for"))
        ids = [event.id]
        if event.fields.get("action") == PROCESSED and is_entry_id(target_id):
            if target := self._read(target_id):
                self._process(target, event)
            ids.append(target_id)
        else:
            logger.warning("receipt %s is refused: it is for no entry that was processed", event.id)
        self.client.xdel(self.key, *ids)
        return True

    def _read(self, entry_id: str) -> StreamEvent | None:
        entries: Any = self.client.xrange(self.key, entry_id, entry_id, count=1)
        return stream_events.read(*entries[0]) if entries else None

    def _process(self, target: StreamEvent, event: StreamEvent) -> None:
        if target.kind == START_TASK:
            self._take(target, event)
        if self.log is not None:
            self.log(target, event)

    def _take(self, target: StreamEvent, event: StreamEvent) -> None:
        """The task of a ``start-task`` runs at the listener that took it; one that is not ready stays as it is."""
        worker = event.fields.get("worker") or next(consumers_of(self.client, self.key, target.id), "")
        try:
            ref, attempt, seconds = task_of(target).ref, attempt_of(target), seconds_of(event)
            if remote_work.take_remote(ref, worker_named(worker), attempt=attempt, seconds=seconds) is None:
                logger.info("start-task %s was taken, but its task is not ready any more", target.id)
        except FlowerError as error:
            log_refusal(target, error)
