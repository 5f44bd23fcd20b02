"""The loop of a listener: takes tasks from the stream, does them in threads, and reports how they ended."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
from redis.exceptions import RedisError, ResponseError

from flowerapp.core import stream_events
from flowerapp.core.stream_events import (
    END_TASK,
    FAILURE,
    HEARTBEAT,
    STREAM_KEY,
    SUCCESS,
    StreamEvent,
    output_key,
)
from flowerapp.listener.work import TaskFailed, Work

logger = logging.getLogger("flowerapp.listener")

Function = Callable[[Work], Any]

BLOCK_MS = 200
IDLE_SECONDS = 60.0
"""Seconds after which a task is taken over that another listener of the group was given and has not taken."""
CLAIM_PAUSE = 10.0
"""Seconds between two looks for such tasks."""
OUTAGE_PAUSE = 1.0
"""Seconds until Redis is asked again after it did not answer."""
KEPT_SECONDS = 7 * 86_400
"""Seconds for which an output is kept in Redis."""
MOST_IN_EVENT = 64 * 1024
"""Characters of an output that its event carries too, so that no late writer of its key can be taken for this one."""


class Listener:
    """Listens to the stream as a member of a group, which gives each task to one of its members.

    All members of a group do the same tasks: what one of them is given and does not do, it skips for all.
    """

    def __init__(
        self,
        url: str,
        *,
        group: str,
        stream: str = STREAM_KEY,
        name: str = "",
        concurrency: int = 1,
        heartbeat: float = 20.0,
        lease: float | None = None,
        idle: float = IDLE_SECONDS,
    ) -> None:
        """``name`` is what people see as the worker of its tasks, at most ``concurrency`` of which run at once.

        ``heartbeat`` is the seconds between two heartbeats of a task, ``lease`` those after which another listener gets
        a task without one (None takes what the engine says), ``idle`` those for which another member of the group may
        hold a task that it has not taken.
        """
        self.client = redis.Redis.from_url(url, protocol=2, socket_timeout=10, health_check_interval=30)
        self.stream, self.group = stream, group
        self.name = name or f"{group}:{uuid.uuid4().hex[:12]}"
        self.concurrency, self.heartbeat, self.idle = concurrency, heartbeat, idle
        self._lease = {} if lease is None else {"seconds": lease}
        self.functions: dict[str, Function] = {}
        """Name, or the beginning of names up to a colon → what does the work."""
        self.stopping = threading.Event()
        self._ended = threading.Event()
        self._running: dict[str, Work] = {}
        self._claimed = 0.0

    def task(self, name: str) -> Callable[[Function], Function]:
        """Decorator: the function does the tasks of this name; of a name that ends with a colon, all that begin so."""

        def register(function: Function) -> Function:
            self.functions[name] = function
            return function

        return register

    def function_of(self, work: Work) -> Function | None:
        """What does a task, by its name, by the name behind an alias, or by the beginning of one of them."""
        names = (work.name, work.base)
        spaces = (f"{name.partition(':')[0]}:" for name in names if ":" in name)
        return next((self.functions[name] for name in (*names, *spaces) if name in self.functions), None)

    def stop(self) -> None:
        """Take no more tasks; ``run`` returns once those that run have ended."""
        self.stopping.set()

    def run(self) -> None:
        """Take and do tasks until ``stop``; while Redis is unreachable it waits for it."""
        beats = threading.Thread(target=self._beat, name="flowerapp-heartbeats", daemon=True)
        beats.start()
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="flowerapp-task") as pool:
            while not self.stopping.is_set():
                try:
                    self._look(pool)
                except RedisError as error:
                    logger.warning("Redis cannot be asked; it is tried again in %g s: %r", OUTAGE_PAUSE, error)
                    self.stopping.wait(OUTAGE_PAUSE)
        self._ended.set()
        beats.join()

    def _look(self, pool: ThreadPoolExecutor) -> None:
        free = self.concurrency - len(self._running)
        if free <= 0:
            self.stopping.wait(BLOCK_MS / 1000)
            return
        for event in [*self._abandoned(free), *self._new(free)]:
            work = Work.of(event)
            function = None if work is None else self.function_of(work)
            if work is None or function is None:
                self.client.xack(self.stream, self.group, event.id)
                continue
            self._running[work.entry] = work
            self._take(work)
            pool.submit(self._do, work, function)

    def _new(self, number: int) -> list[StreamEvent]:
        try:
            streams: Any = {self.stream: ">"}
            answer: Any = self.client.xreadgroup(self.group, self.name, streams, count=number, block=BLOCK_MS)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._make_group()
            return []
        return list(_events(entries for _, entries in answer or ()))

    def _make_group(self) -> None:
        try:
            self.client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _abandoned(self, number: int) -> list[StreamEvent]:
        """Tasks that a member of the group was given, and did not take."""
        if time.monotonic() - self._claimed < min(CLAIM_PAUSE, self.idle):
            return []
        self._claimed = time.monotonic()
        idle = int(1000 * self.idle)
        try:
            answer: Any = self.client.xautoclaim(self.stream, self.group, self.name, idle, "0-0", count=number)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            return []
        return list(_events([answer[1]]))

    def _take(self, work: Work) -> None:
        """Report that the task was taken; from then on its lease counts, which heartbeats prolong."""
        fields: Any = stream_events.receipt(work.entry, worker=self.name, **self._lease)
        try:
            with self.client.pipeline() as pipe:
                pipe.xadd(self.stream, fields)
                pipe.xack(self.stream, self.group, work.entry)
                pipe.execute()
        except RedisError:
            del self._running[work.entry]
            raise

    def _do(self, work: Work, function: Function) -> None:
        try:
            outcome = self._outcome(work, function)
        finally:
            self._running.pop(work.entry, None)
        self._report(work, *outcome)

    def _outcome(self, work: Work, function: Function) -> tuple[dict[str, Any], str]:
        """Fields of the event, and the output as JSON text, which is empty after a failure."""
        try:
            output = function(work)
            text = json.dumps({} if output is None else output, allow_nan=False, ensure_ascii=False)
        except TaskFailed as error:
            return {"status": FAILURE, "reason": str(error) or "it gave no reason"}, ""
        except Exception as error:
            logger.exception("%s of %s failed", work.name, work.workflow)
            return {"status": FAILURE, "reason": f"{type(error).__name__}: {error}"}, ""
        carried = {"output": json.loads(text)} if len(text) <= MOST_IN_EVENT else {}
        return {"status": SUCCESS, **carried}, text

    def _report(self, work: Work, event: Mapping[str, Any], output: str) -> None:
        """Write the output and the event; while Redis is unreachable, again and again until the listener is stopped."""
        while True:
            try:
                with self.client.pipeline() as pipe:
                    if output:
                        pipe.set(output_key(work.workflow, work.index), output, ex=KEPT_SECONDS)
                    pipe.xadd(self.stream, self._entry(END_TASK, work, event))
                    pipe.execute()
                return
            except RedisError as error:
                logger.warning("the end of %s cannot be reported yet: %r", work.name, error)
            if self.stopping.wait(OUTAGE_PAUSE):
                return

    def _entry(self, kind: str, work: Work, more: Mapping[str, Any]) -> Any:
        return stream_events.entry(kind, {**work.answer, "worker": self.name, **more})

    def _beat(self) -> None:
        """Send heartbeats for the tasks that run."""
        while not self._ended.wait(self.heartbeat):
            for work in tuple(self._running.values()):
                if work.attempt is None:
                    continue
                try:
                    self.client.xadd(self.stream, self._entry(HEARTBEAT, work, self._lease))
                except RedisError as error:
                    logger.warning("no heartbeat can be sent for %s: %r", work.name, error)


def _events(pages: Any) -> Iterator[StreamEvent]:
    """The events of pages of entries; those without fields were deleted meanwhile."""
    return (stream_events.read(*entry) for page in pages for entry in page if entry[0] is not None and entry[1])
