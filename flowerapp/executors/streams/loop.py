"""The stream's loop in a worker: publishes ready tasks, and acts on what listeners send, while its worker leads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import redis
from django.db import connections
from redis.exceptions import RedisError

from flowerapp.core import logs
from flowerapp.core.stream_events import END_TASK, StreamEvent
from flowerapp.exceptions import FlowerError
from flowerapp.executors.streams import answers
from flowerapp.executors.streams.address import Address, address, connect
from flowerapp.executors.streams.answers import Answers
from flowerapp.executors.streams.groups import ENDING, RECEIPTS, Group
from flowerapp.executors.streams.publisher import Publisher
from flowerapp.executors.streams.receipts import Logger, Receipts
from flowerapp.models import Task
from flowerapp.querysets.db import CONNECTION_ERRORS
from flowerapp.watcher.loop import Loop

logger = logs.logger(__name__)

BLOCK_MS = 200
"""How long a look waits for new entries."""
IDLE_PAUSE = 0.45
"""Seconds between two looks where no stream is in use."""
PUBLISH_PAUSE = 0.4
"""Seconds between two looks for tasks that are ready."""
USED_PAUSE = 5.0
"""Seconds between two looks for tasks that a worker before this one put into a stream that no setting names."""
OUTAGE_PAUSE = 2.0
"""Seconds until Redis is asked again after it did not answer."""
RECEIPT_SECONDS = 5
"""Seconds for which a process that logs receipts has them for itself, unless it says so again."""


def logging_key(key: str) -> str:
    """The key that is there while a process logs the receipts of a stream, and therefore acts on them alone."""
    return f"{key}:receipts"


class Stream:
    """A connection to the stream, and all that is done there."""

    def __init__(self, where: Address, consumer: str, log: Logger | None = None) -> None:
        self.client: redis.Redis = connect(where.url)
        self.key = where.key
        self.publisher = Publisher(self.client, where.key)
        self.ending, self.receipts = (Group(self.client, where.key, name, consumer) for name in (ENDING, RECEIPTS))
        self._answers, self._receipts = Answers(self.client), Receipts(self.client, where.key, log)

    def join(self) -> None:
        """Make the groups where there are none; then all that was in the stream is lost, and is published anew."""
        new = [group.is_new() for group in (self.ending, self.receipts)]
        if any(new) and (number := Task.objects.all().publish_anew()):
            logger.warning("the stream %s was lost; %d tasks are put into it again", self.key, number)

    def read_answers(self) -> int:
        """Act on new answers, or wait a moment for some; the number of entries read."""
        return self.act_on_answers(self.ending.events(BLOCK_MS))

    def read_receipts(self, block: int | None = None) -> int:
        """Act on new receipts, if there are any; the number of entries read."""
        return self.act_on_receipts(self.receipts.events(block))

    def take_over(self) -> None:
        """Act on what a consumer was given that did not deal with it."""
        self.act_on_answers(self.ending.abandoned())
        if not self.logs_elsewhere():
            self.act_on_receipts(self.receipts.abandoned())

    def logs_elsewhere(self) -> bool:
        """Whether another process logs the receipts, and acts on them."""
        return bool(self.client.exists(logging_key(self.key)))

    def act_on_answers(self, events: Sequence[StreamEvent]) -> int:
        """Act on entries of the group of answers; those that were acted on get a receipt, refused ones are deleted."""
        return _act_on_all(events, self._answers.act, self.ending, self._confirm)

    def act_on_receipts(self, events: Sequence[StreamEvent]) -> int:
        """The same of the group of receipts, which deletes what it acts on."""
        return _act_on_all(events, self._receipts.act, self.receipts, lambda event, is_refused: None)

    def _confirm(self, event: StreamEvent, is_refused: bool) -> None:
        if event.kind == END_TASK and not is_refused:
            self.publisher.confirm(event.id)
        else:
            self.client.xdel(self.key, event.id)

    def forget_consumers(self) -> None:
        """Forget the consumers of workers that are long gone."""
        for group in (self.ending, self.receipts):
            group.forget_consumers()


def _act_on_all(
    events: Sequence[StreamEvent],
    act: Callable[[StreamEvent], bool],
    group: Group,
    confirm: Callable[[StreamEvent, bool], None],
) -> int:
    """Act on each event and acknowledge it; where Redis or the database fails, it is left to a later look."""
    for event in events:
        is_refused = False
        try:
            is_ours = act(event)
        except (*CONNECTION_ERRORS, RedisError):
            raise
        except FlowerError as error:
            answers.log_refusal(event, error)
            is_ours = is_refused = True
        except Exception:
            logger.exception("%s %s cannot be dealt with", event.kind, event.id)
            is_ours = is_refused = True
        if is_ours:
            confirm(event, is_refused)
        group.acknowledge(event)
    return len(events)


class StreamLoop(Loop):
    """Serves the stream in the one worker that leads."""

    tick = 0.01

    def __init__(self, leads: Callable[[], bool]) -> None:
        super().__init__("stream")
        self.leads = leads
        """Whether this worker leads now."""
        self._where: Address | None = None
        self._stream: Stream | None = None
        self._retry_at = 0.0

    def look(self) -> None:
        """Serve the stream for a moment, or wait where there is none to serve."""
        if not self.leads() or time.monotonic() < self._retry_at:
            self.stopping.wait(IDLE_PAUSE)
            return
        try:
            self._serve(self._served())
        except (RedisError, ValueError) as error:
            self._retry_at = time.monotonic() + OUTAGE_PAUSE
            logger.warning("the stream cannot be reached; it is tried again in %g s: %r", OUTAGE_PAUSE, error)
        except Exception:
            self._retry_at = time.monotonic() + OUTAGE_PAUSE
            connections.close_all()
            raise

    def _served(self) -> Stream | None:
        """The stream, if a setting names it or a remote task is ready or runs."""
        where = address()
        if where is None or not (where.is_chosen or self._is_needed()):
            return None
        if where != self._where or self._stream is None:
            self._stream, self._where = Stream(where, self.worker), where
        return self._stream

    def _is_needed(self) -> bool:
        return self._stream is not None or Task.objects.publishable().exists() or self._was_used()

    def _was_used(self) -> bool:
        """Whether tasks are in the stream, or run, that another worker served before this one led."""
        if time.monotonic() - self.last.get("was used", float("-inf")) < USED_PAUSE:
            return False
        self.last["was used"] = time.monotonic()
        tasks = Task.objects.all()
        return bool(tasks.published().exists() or tasks.leased().exists())

    def _serve(self, stream: Stream | None) -> None:
        if stream is None:
            self.stopping.wait(IDLE_PAUSE)
            return
        stream.join()
        self._do("publish remote", PUBLISH_PAUSE, stream.publisher.publish)
        if stream.read_answers():  # before receipts, so that no lease runs out of a task that has ended
            stream.publisher.publish()
        if not stream.logs_elsewhere():
            stream.read_receipts()
        self._do("take over", 5, stream.take_over)
        self._do("look for lost entries", 2, stream.publisher.look_for_lost)
        self._do("forget consumers", 600, stream.forget_consumers)

    def _do(self, name: str, seconds: float, duty: Callable[[], object]) -> None:
        """Run a duty if ``seconds`` have passed since its last run; its errors end the look."""
        if time.monotonic() - self.last.get(name, float("-inf")) >= seconds:
            self.last[name] = time.monotonic()
            duty()

    def on_stop(self) -> None:
        """What it had read and not dealt with, another worker takes over."""
