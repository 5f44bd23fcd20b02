"""Which event ends which wait."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, NamedTuple

from flowerapp.core import waits
from flowerapp.models import Event, Task, Wait
from flowerapp.querysets import batched
from flowerapp.querysets.finish_many import MOST_AT_ONCE

PAGE = 1_000
"""Rows that are read at once."""


class Matches(NamedTuple):
    """Waits that an event ends."""

    outputs: dict[int, Any]
    """The output of each, by the key of its task."""
    receipts: Set[int]
    """Keys of those that consume the event."""


def matches_of(event: Event) -> Iterator[Matches]:
    """What ends by an event, some at a time."""
    anchors = list(waits.anchors_of(event.data))
    last = 0
    while rows := list(Wait.objects.for_event(event.kind, anchors).filter(pk__gt=last)[:PAGE]):
        last = rows[-1].pk
        fitting = [row for row in rows if waits.matches(row.match, event.data)]
        for batch in batched(fitting, MOST_AT_ONCE):
            keys = keys_of(batch)
            outputs = {keys[row.pk]: waits.output_of_event(row.match, event.data) for row in batch if row.pk in keys}
            yield Matches(outputs, {keys[row.pk] for row in batch if row.receipt and row.pk in keys})


def keys_of(rows: Any) -> dict[int, int]:
    """By the key of each of these rows of ``kr_wait`` the key of its task, where that has begun to wait."""
    wanted = {(row.task_flow_id, row.task_exec_seq): row.pk for row in rows}
    flow_ids, seqs = {flow_id for flow_id, _ in wanted}, {seq for _, seq in wanted}
    tasks = Task.objects.filter(task_flow_id__in=flow_ids, task_exec_seq__in=seqs).begun_waits()
    begun = tasks.values_list("pk", "task_flow_id", "task_exec_seq")
    return {wanted[flow_id, seq]: pk for pk, flow_id, seq in begun if (flow_id, seq) in wanted}


def earlier_event(wait: Wait) -> Event | None:
    """The oldest event that came before a wait began and ends it, locked where the database can. In a transaction."""
    last = 0
    while rows := list(Event.objects.kept(wait.event, wait.since_ts, wait.match).filter(pk__gt=last)[:PAGE]):
        last = rows[-1].pk
        for row in rows:
            if waits.matches(wait.match, row.data) and (event := _still_kept(row)):
                return event
    return None


def _still_kept(event: Event) -> Event | None:
    return Event.objects.select_for_update().filter(pk=event.pk, consumed_ts=None).first()
