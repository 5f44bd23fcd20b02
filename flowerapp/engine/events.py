"""Events: something happened outside, and flows that wait for it continue, or flows start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from flowerapp.core import logs, masking, unmasking, waits
from flowerapp.core.names import name_problems
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an event led to."""

    ended: int = 0
    """Waits that it ended."""
    started: tuple[str, ...] = ()
    """Ids of the flows that it started."""


def emit(kind: str, data: Any = None, *, actor: str = "") -> Event:
    """Record an event; on commit it ends the waits that it matches, and starts the flows of workflows that name it.

    ``kind`` is a name, and ``data`` a JSON object (None is ``{}``). The event's ``outcome`` says what it led to; it is
    None before the commit, and if the watcher has to do the rest. Raises InvalidValueError.
    """
    for problem in name_problems(kind, "kind"):
        raise InvalidValueError(problem)
    checked = unmasking.checked({} if data is None else data, "data")
    if not isinstance(checked, dict):
        raise InvalidValueError("data is no JSON object; give the event's members by name")
    if len(checked) > waits.MOST_MEMBERS:
        raise InvalidValueError(f"data has {len(checked):,} members; the limit is {waits.MOST_MEMBERS}")
    event = Event.objects.create(kind=kind, data=checked, actor=actor)
    on_commit(partial(_offer_first, event))
    return event


def _offer_first(event: Event) -> None:
    event.outcome = offer(event.pk)


def offer(event_id: int) -> Outcome:
    """End what waits for an event, and start what it starts; an event is offered once."""
    event = Event.objects.filter(pk=event_id, offered=False).first()
    if event is None:
        return Outcome()
    ended = sum(propagation.end_matches(event_id, matches) for matches in matching.matches_of(event))
    started: list[str] = []
    each_isolated(_started_by(event), lambda task_id: _start(task_id, event, started))
    Event.objects.mark_offered(event_id)
    return Outcome(ended, tuple(started))


def _started_by(event: Event) -> list[str]:
    """Names of the workflows that it starts."""
    named = Workflow.objects.filter(start_event=event.kind).order_by("pk")
    rules = ((header.pk, header.start_match) for header in named)
    return [pk for pk, match in rules if isinstance(match, (dict, type(None))) and waits.matches(match, event.data)]


def _start(task_id: str, event: Event, started: list[str]) -> int:
    """One flow for each event and workflow: its key is the event's number. Its id is added to those ``started``."""
    try:
        flow = register(task_id, input=event.data, idempotency_key=f"event:{event.pk}", actor=STARTER)
    except FlowerError as error:
        reason = masking.masked(str(error), masking.secrets_of(event.data))
        logger.error("event %s (%s) cannot start workflow %s: %s", event.pk, event.kind, task_id, reason)
        return 0
    started.append(flow.pk)
    return 1


def take_up_left() -> int:
    """Offer the events whose process died before it did; their number."""
    left = list(Event.objects.left_behind(LEFT).values_list("pk", flat=True)[:PAGE])
    each_isolated(left, lambda event_id: offer(event_id).ended)
    return len(left)
