"""Puts the remote tasks that are ready into the stream, and takes out what others have or what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis

from flowerapp import conf, engine
from flowerapp.core import logs, stream_events
from flowerapp.core.messages import TaskRef
from flowerapp.core.stream_events import text_of
from flowerapp.exceptions import FlowerError, InvalidError
from flowerapp.executors.streams.starts import KEPT_SECONDS, Start, TooLargeError, start_of
from flowerapp.models import Task
from flowerapp.querysets.streams import UNPUBLISHABLE

logger = logs.logger(__name__)

PAGE = 200
"""Tasks that are put into the stream at once."""
MOST_BYTES = 1024 * 1024
"""Bytes that are sent to Redis at once, or one task."""
LOST_SECONDS = 10
"""Seconds after which an entry is looked for that no listener has taken."""
LOST_PAGE = 500
ACTOR = "stream"
"""Who ends tasks, for the history."""


class Publisher:
    """Writes to the stream."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self.client, self.key = client, key
        self._looked = 0

    def publish(self) -> int:
        """Bring the stream in line with the tasks; the number of new entries."""
        self._withdraw()
        tasks = Task.objects.publishable().select_related("task_flow")
        if not tasks.exists():
            return 0
        room = conf.get().STREAM_LENGTH // 2
        page = tasks[: max(0, min(PAGE, room - Task.objects.published()[:room].count()))]
        return sum(map(self._write, _batches(filter(None, map(_prepared, page)))))

    def _withdraw(self) -> None:
        """Take out the entries of tasks that were ended or claimed elsewhere, or of flows that start none."""
        entries = dict(Task.objects.withdrawable().values_list("pk", "stream_entry")[:PAGE])
        if entries:
            self.client.xdel(self.key, *entries.values())
            Task.objects.mark_withdrawn(entries)

    def _write(self, batch: Sequence[tuple[Task, Start]]) -> int:
        with self.client.pipeline(transaction=False) as pipe:
            for _, start in batch:
                pipe.delete(start.forget)
                for key, text in start.keys.items():
                    pipe.set(key, text, ex=KEPT_SECONDS)
            for _, start in batch:
                fields: Any = start.entry
                pipe.xadd(self.key, fields, maxlen=conf.get().STREAM_LENGTH, approximate=True)
            entries = pipe.execute()[-len(batch) :]
        return Task.objects.all().mark_published(
            {task.pk: text_of(entry) for (task, _), entry in zip(batch, entries, strict=True)}
        )

    def confirm(self, entry_id: str) -> None:
        """Put a receipt for an entry that was acted on into the stream."""
        fields: Any = stream_events.receipt(entry_id)
        self.client.xadd(self.key, fields, maxlen=conf.get().STREAM_LENGTH, approximate=True)

    def look_for_lost(self) -> int:
        """Look for a page of entries that wait to be taken, and put the tasks of lost ones in anew; their number."""
        waiting = Task.objects.published_before(LOST_SECONDS).filter(pk__gt=self._looked).order_by("pk")
        page = dict(waiting.values_list("pk", "stream_entry")[:LOST_PAGE])
        self._looked = max(page) if len(page) == LOST_PAGE else 0
        with self.client.pipeline(transaction=False) as pipe:
            for entry in page.values():
                pipe.xrange(self.key, entry, entry, count=1)
            answers = pipe.execute() if page else []
        lost = {pk: entry for (pk, entry), answer in zip(page.items(), answers, strict=True) if not answer}
        return Task.objects.mark_withdrawn(lost) if lost else 0


def _prepared(task: Task) -> tuple[Task, Start] | None:
    """What is to be written for a task; None for one that cannot be put into the stream."""
    try:
        return task, start_of(task)
    except TooLargeError as error:
        logger.warning("%s is too large for the stream; a worker may claim it over HTTP: %s", task.remote, error)
        Task.objects.all().mark_published({task.pk: UNPUBLISHABLE})
    except InvalidError as error:
        _fail(task.ref, str(error))
    return None


def _fail(ref: TaskRef, reason: str) -> None:
    """A task whose input cannot be made has failed, as one with a program would."""
    try:
        engine.fail_task(ref.flow_id, ref.seq, reason, actor=ACTOR)
    except FlowerError as error:
        logger.warning("%s: %s", ref, error)


def _batches(prepared: Iterable[tuple[Task, Start]]) -> Iterator[list[tuple[Task, Start]]]:
    """The same in batches of about ``MOST_BYTES``."""
    batch: list[tuple[Task, Start]] = []
    size = 0
    for task, start in prepared:
        batch.append((task, start))
        size += start.size
        if size > MOST_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
