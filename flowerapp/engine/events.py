"""Events: something happened outside, and flows that wait for it continue, or flows start."""

from __future__ import annotations

from functools import partial
from typing import Any

from flowerapp.core import logs, unmasking, waits
from flowerapp.core.names import part_problems
from flowerapp.engine import matching, propagation
from flowerapp.engine.due_waits import LEFT
from flowerapp.engine.register import register
from flowerapp.exceptions import FlowerError, InvalidValueError
from flowerapp.models import Event, Workflow
from flowerapp.querysets.db import each_isolated, on_commit

logger = logs.logger(__name__)

PAGE = 100
"""Events that one run of the duty takes up."""
STARTER = "event"
"""The actor of the flows that an event starts."""


def emit(kind: str, data: Any = None, *, actor: str = "") -> Event:
    """Record an event; on commit it ends the waits that it matches, and starts the flows of workflows that name it.

    ``kind`` is a name, and ``data`` a JSON object (None is ``{}``). Raises InvalidValueError.
    """
    for problem in part_problems(kind, "kind") if kind else ["kind is empty; name the kind of the event"]:
        raise InvalidValueError(problem)
    checked = unmasking.checked({} if data is None else data, "data")
    if not isinstance(checked, dict):
        raise InvalidValueError("data is no JSON object; give the event's members by name")
    if len(checked) > waits.MOST_MEMBERS:
        raise InvalidValueError(f"data has {len(checked):,} members; the limit is {waits.MOST_MEMBERS}")
    event = Event.objects.create(kind=kind, data=checked, actor=actor)
    on_commit(partial(offer, event.pk))
    return event


def offer(event_id: int) -> int:
    """End what waits for an event, and start what it starts; the number of waits that ended."""
    event = Event.objects.filter(pk=event_id, offered=False).first()
    if event is None:
        return 0
    count = 0
    for outputs, takes_receipt in matching.outputs_of(event):
        count += propagation.end_waits(outputs)
        if takes_receipt:
            Event.objects.consume(event_id)
    each_isolated(_started_by(event), lambda task_id: _start(task_id, event))
    Event.objects.mark_offered(event_id)
    return count


def _started_by(event: Event) -> list[str]:
    """Names of the workflows that it starts."""
    named = Workflow.objects.filter(start_event=event.kind).order_by("pk")
    return [header.pk for header in named if waits.matches(header.start_match, event.data)]


def _start(task_id: str, event: Event) -> int:
    """One flow for each event and workflow: its key is the event's number."""
    try:
        register(task_id, input=event.data, idempotency_key=f"event:{event.pk}", actor=STARTER)
    except FlowerError as error:
        logger.error("event %s (%s) cannot start workflow %s: %s", event.pk, event.kind, task_id, error)
        return 0
    return 1


def take_up_left() -> int:
    """Offer the events whose process died before it did; their number."""
    left = list(Event.objects.left_behind(LEFT).values_list("pk", flat=True)[:PAGE])
    each_isolated(left, offer)
    return len(left)
