"""Acts on what listeners report of the tasks that they took: ends, failures, heartbeats; and on events of users."""

from __future__ import annotations

from importlib import import_module, util
from typing import Any

import redis

from flowerapp import conf, engine
from flowerapp.core import logs, values
from flowerapp.core.identity import LONGEST_REMOTE
from flowerapp.core.stream_events import (
    END_TASK,
    FAILURE,
    HEARTBEAT,
    RESERVED,
    SUCCESS,
    StreamEvent,
    output_key,
    text_of,
)
from flowerapp.engine import remote_work
from flowerapp.exceptions import FlowerError, InvalidValueError, StateConflictError
from flowerapp.executors.streams.starts import KEPT_SECONDS
from flowerapp.selectors.node_indexes import Indexed, task_at
from flowerapp.states import Status

logger = logs.logger(__name__)

ACTOR = "stream"
"""Who ends tasks, for the history."""
UNNAMED = "stream"
"""The worker of a task whose listener is not known."""
NO_REASON = "its worker gave no reason"


class Answers:
    """Acts on the events of one stream."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def act(self, event: StreamEvent) -> bool:
        """Do what an event says; whether it was for the engine. Raises FlowerError for one that is refused."""
        if event.kind == END_TASK:
            self._end(event)
        elif event.kind == HEARTBEAT:
            _beat(event)
        elif event.kind and event.kind not in RESERVED and not event.problem:
            _emit(event)
            return False
        return event.kind in (END_TASK, HEARTBEAT)

    def _end(self, event: StreamEvent) -> None:
        task, attempt = task_of(event), attempt_of(event)
        ref = task.ref
        status = event.fields.get("status", SUCCESS)
        if status not in (SUCCESS, FAILURE):
            raise InvalidValueError(f"its status is {status!r}; write {SUCCESS} or {FAILURE}")
        if attempt is not None:
            _take(event, task, attempt)
        if status == FAILURE:
            reason = event.fields.get("reason")
            text = reason if isinstance(reason, str) else values.cut(str(reason or ""), 10_000)
            retry = event.fields.get("retry") is not False
            engine.fail_task(*ref, text.strip() or NO_REASON, attempt=attempt, retry=retry, actor=ACTOR)
            return
        try:
            engine.end_task(*ref, output=self._output(event), attempt=attempt, actor=ACTOR)
        except InvalidValueError as error:
            engine.fail_task(*ref, f"its output cannot be used: {error}", attempt=attempt, actor=ACTOR)

    def _output(self, event: StreamEvent) -> Any:
        """The output that the event has, or else that of its key, as littleflow's listeners write it."""
        if "output" in event.fields:
            return event.fields["output"]
        key, most = output_key(str(event.fields["workflow"]), event.fields["index"]), conf.get().MAX_JSON_BYTES
        if text_of(self.client.type(key)) not in ("string", "none"):
            raise InvalidValueError(f"the key {key} is no text; write its JSON with SET")
        if (size := int(self.client.strlen(key))) > most:
            raise InvalidValueError(
                f"the key {key} has {size:,} bytes; the limit is {most:,} (FLOWER['MAX_JSON_BYTES'])"
            )
        text: Any = self.client.get(key)
        if not text:
            return {}
        self.client.expire(key, KEPT_SECONDS)
        return values.loads(text, "output")


def task_of(event: StreamEvent) -> Indexed:
    """The task that an event names; raises InvalidValueError, UnknownFlowError, UnknownTaskError."""
    if event.problem:
        raise InvalidValueError(event.problem)
    workflow, index, name = (event.fields.get(field) for field in ("workflow", "index", "name"))
    if not isinstance(workflow, str) or not workflow:
        raise InvalidValueError("it has no workflow; write the one of its start-task")
    if type(index) is not int:
        raise InvalidValueError("its index is no whole number; write the one of its start-task")
    task = task_at(workflow, index)
    if name is not None and name not in task.names:
        raise InvalidValueError(f"its name is {values.cut(str(name), 100)!r}, but its index is that of {task.ref}")
    return task


def attempt_of(event: StreamEvent) -> int | None:
    """The attempt that an event names; None if none. Raises InvalidValueError."""
    attempt = event.fields.get("attempt")
    if attempt is not None and (type(attempt) is not int or not 0 < attempt < 2**31):
        raise InvalidValueError("its attempt is no number of an attempt; write the one of its start-task")
    return attempt


def seconds_of(event: StreamEvent) -> float | None:
    """The lease that an event asks for; None for what the step says. Raises InvalidValueError."""
    seconds = event.fields.get("seconds")
    if seconds is not None and type(seconds) not in (int, float):
        raise InvalidValueError("its seconds are no number")
    return remote_work.checked_lease(seconds)


def worker_named(name: Any) -> str:
    """A name as the engine takes it for that of a worker."""
    cut = name[:LONGEST_REMOTE] if isinstance(name, str) else ""
    try:
        remote_work.remote_worker(cut)
    except InvalidValueError:
        return UNNAMED
    return cut


def _beat(event: StreamEvent) -> None:
    task, attempt = task_of(event), attempt_of(event)
    if attempt is None:
        raise InvalidValueError("a heartbeat names its attempt; write the one of its start-task")
    _take(event, task, attempt)
    remote_work.beat_remote(task.ref, attempt, seconds=seconds_of(event), progress=event.fields.get("progress"))


def _take(event: StreamEvent, task: Indexed, attempt: int) -> None:
    """Let the attempt begin that an event reports of, if the receipt for its ``start-task`` comes later."""
    if task.exec_status == Status.WAIT:
        remote_work.take_remote(task.ref, worker_named(event.fields.get("worker")), attempt=attempt)


def _emit(event: StreamEvent) -> None:
    """Give an event of a user to the flows that wait for it."""
    if util.find_spec("flowerapp.engine.events") is None:
        return
    emit = import_module("flowerapp.engine.events").emit
    try:
        emit(event.kind, event.data, actor=ACTOR)
    except FlowerError as error:
        log_refusal(event, error)


def log_refusal(event: StreamEvent, error: Exception) -> None:
    """Log that an event is refused; nothing of its values is quoted."""
    level = logger.info if isinstance(error, StateConflictError) else logger.warning  # the engine has logged that one
    level("%s %s is refused: %s", event.kind, event.id, error)
