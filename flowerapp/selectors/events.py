"""Events, as admin, API and command line read them."""

from __future__ import annotations

from typing import Any

from flowerapp.exceptions import UnknownEventError
from flowerapp.models import Event, Wait
from flowerapp.selectors.short import short_rows
from flowerapp.selectors.shown import rows
from flowerapp.selectors.waiters import MOST_TASKS, NamedTask, named_tasks

COLUMNS = ("id", "kind", "data", "ts", "actor", "offered", "consumed_ts")
"""Columns of an event that API and command line show."""
LONGEST_ID = 18
"""Digits of the largest number that is looked for."""


def events(kind: str | None = None) -> Any:
    """Events for a list, those of a kind or all, the newest first; large data is left out."""
    every = short_rows(Event.objects.order_by("-id"), "data")
    return every if kind is None else every.filter(kind=kind)


def get_event(text: str) -> Event:
    """The event of a number, as people may see it; raises UnknownEventError."""
    numeric = text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID
    event: Event | None = rows(Event.objects.filter(pk=int(text))).first() if numeric else None
    if event is None:
        raise UnknownEventError(f"there is no event {text[:40]!r}")
    return event


def waiters(kind: str) -> list[NamedTask]:
    """The first tasks that wait for events of a kind."""
    return named_tasks(Wait.objects.filter(event=kind).order_by("id")[:MOST_TASKS])
