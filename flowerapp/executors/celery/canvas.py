"""Ready tasks as Celery canvas: signatures, chains and chords, and what of them continues after a task.

A chord's header is sent as single signatures that carry ``chord=body``: the same protocol as ``celery.chord``, but
the counter is the join's own row, so it needs nothing of the host's result backend: the finish that releases the join
sends the body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from celery import Celery, Signature
from celery.app import app_or_default

from flowerapp.core.executor import UnpublishableError
from flowerapp.core.messages import Message, TaskCall, TaskRef
from flowerapp.engine import dispatching
from flowerapp.executors.celery import versions
from flowerapp.executors.celery.publish_errors import UnreachableError, WatchedProducer, reason_of
from flowerapp.executors.celery.routes import message_id, options_of, ref_of, task_name

_RETRY_POLICY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedMessage(Message):
    """A message that another one has carried: the next link of a chain with the rest of it, or the body of a chord."""

    signature: Signature[Any]


def signature_of(app: Celery, message: Message) -> Signature[Any]:
    """The signature of a message's task, with what it carries: the rest of its chain, last link first, as Celery's
    protocol has it, and the body of the chord on the last.

    ``celery.chain`` makes the same of it, and copies and freezes each link on the way.
    """
    if isinstance(message, CarriedMessage):
        return message.signature
    head, *rest = steps = [_signature(app, message.flow_id, call) for call in (message.head, *message.then)]
    if message.join is not None:
        steps[-1].options["chord"] = _signature(app, message.flow_id, message.join)
    if rest:
        head.options["chain"] = rest[::-1]
    return head


def _signature(app: Celery, flow_id: str, call: TaskCall) -> Signature[Any]:
    """The immutable signature of one task."""
    ref = TaskRef(flow_id, call.seq)
    return app.signature(
        task_name(call.program),
        args=tuple(ref),
        immutable=True,
        task_id=message_id(ref),
        serializer="json",
        **options_of(app, call),
    )


def send(messages: Sequence[Message]) -> None:
    """Publish messages over one connection, many in one round trip where the transport can.

    Raises UnpublishableError, once the others are published, if some cannot be. Other errors are about all of them.
    """
    app = app_or_default()
    with app.producer_or_acquire() as producer:
        try:
            batched = len(messages) > 1 and versions.can_batch(producer)
            with versions.batch(producer) if batched else nullcontext():
                refused = _publish_all(app, messages, WatchedProducer(producer, batched=batched))
        except versions.BatchPublishError:  # a kept connection had broken, or a queue refused: copies are harmless
            refused = _publish_all(app, messages, WatchedProducer(producer))
    if refused:
        raise UnpublishableError(refused)


def _publish_all(app: Celery, messages: Sequence[Message], producer: WatchedProducer) -> dict[TaskRef, str]:
    """Publish each by itself; those that cannot be published, with the reason."""
    refused = {}
    for message in messages:
        try:
            publish(signature_of(app, message), producer)
        except (UnreachableError, versions.BatchPublishError):
            raise
        except Exception as error:
            refused[message.ref] = reason_of(error)
    return refused


def publish(canvas: Signature[Any], producer: Any = None) -> None:
    """Send a signature with what it carries."""
    canvas.apply_async(producer=producer, add_to_parent=False, retry=True, retry_policy=_RETRY_POLICY)


def follow(request: Any, messages: Sequence[Message]) -> None:
    """After a task: send what it released, first what its message carries.

    Only a released task whose options are unchanged is sent as it was carried; the others are sent anew. All is taken
    off the message: Celery would send it too, but would record the task as failed if it could not be published.
    """
    app = app_or_default()
    released = {message.head.seq: message for message in messages}
    carried: dict[int, Message] = {}
    for step in _take_off(request):
        ref = ref_of(step["options"].get("task_id"))
        message = released.get(ref.seq) if ref else None
        if message and _sent_with(options_of(app, message.head)) == _sent_with(step["options"]):
            signature = app.signature(step)
            carried[message.head.seq] = CarriedMessage(flow_id=message.flow_id, head=message.head, signature=signature)
    others = [message for seq, message in released.items() if seq not in carried]
    dispatching.send([*carried.values(), *others])


def _sent_with(options: Mapping[str, Any]) -> list[Any]:
    return [options.get(name) for name in ("queue", "route_name", "priority", "time_limit", "soft_time_limit")]


def _take_off(request: Any) -> Iterator[dict[str, Any]]:
    """The next step of a message's chain, with the rest of it, and the body of its chord, as they are taken off."""
    chain, chord = request.chain, request.chord
    request.chain = request.chord = None
    if chain:
        yield {**chain[-1], "options": {**chain[-1]["options"], "chain": chain[:-1]}}
    if chord:
        yield chord
