"""Ready tasks as Celery canvas: signatures, chains and chords, and what of them continues after a task.

A chord's header is sent as single signatures that carry ``chord=body``: the same protocol as ``celery.chord``, but
the counter is the join's own row (see ``backend``), so it needs nothing of the host's result backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from celery import Celery, Signature
from celery.app import app_or_default
from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined] # newer than its types

from flowerapp.core.messages import Message, TaskCall, TaskRef
from flowerapp.engine import dispatching
from flowerapp.executors.celery.routes import message_id, options_of, ref_of, task_name

_RETRY_POLICY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}


def signature_of(app: Celery, message: Message) -> Signature[Any]:
    """The signature of a message's task, with what it carries: the rest of its chain, last link first, as Celery's
    protocol has it, and the body of the chord on the last.

    ``celery.chain`` makes the same of it, and copies and freezes each link on the way.
    """
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
    """Publish messages over one connection, many in one round trip where the transport can."""
    app = app_or_default()
    with app.producer_or_acquire() as producer:
        try:
            with producer.batch() if len(messages) > 1 else nullcontext():
                _publish_all(app, messages, producer)
        except BatchPublishError:  # a kept connection had broken, and some may have gone out: copies are harmless
            _publish_all(app, messages, producer)


def _publish_all(app: Celery, messages: Sequence[Message], producer: Any) -> None:
    for message in messages:
        publish(signature_of(app, message), producer)


def publish(canvas: Signature[Any], producer: Any = None) -> None:
    """Send a signature with what it carries."""
    canvas.apply_async(producer=producer, add_to_parent=False, retry=True, retry_policy=_RETRY_POLICY)


def follow(request: Any, messages: Sequence[Message]) -> None:
    """After a task: let its message continue with what it carries, and send what was released beside.

    Only a released task whose options are unchanged stays on the message; the others are taken off it and sent anew.
    """
    app = app_or_default()
    released = {message.head.seq: message for message in messages}
    carried = set()
    for name, step in _carried(request):
        ref = ref_of(step["options"].get("task_id"))
        message = released.get(ref.seq) if ref else None
        if message and _sent_with(options_of(app, message.head)) == _sent_with(step["options"]):
            carried.add(message.head.seq)
        else:
            setattr(request, name, None)
    dispatching.send([message for seq, message in released.items() if seq not in carried])


def _sent_with(options: Mapping[str, Any]) -> list[Any]:
    return [options.get(name) for name in ("queue", "priority", "time_limit", "soft_time_limit")]


def _carried(request: Any) -> Iterator[tuple[str, Any]]:
    """The next step of a message's chain and the body of its chord, each with the attribute that holds it."""
    if request.chain:
        yield "chain", request.chain[-1]
    if request.chord:
        yield "chord", request.chord
