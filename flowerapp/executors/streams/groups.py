"""A consumer of the stream in one of the engine's groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import ResponseError

from flowerapp.core import stream_events
from flowerapp.core.stream_events import StreamEvent, text_of

ENDING, RECEIPTS = "ending", "__receipt__"
"""The groups, by the names that littleflow's processes have: of those who act on answers, and on receipts."""
PAGE = 50
"""Entries that are read at once."""
IDLE_SECONDS = 10.0
"""Seconds after which an entry is taken over that another consumer of the group was given and has not dealt with."""
GONE_SECONDS = 3600.0
"""Seconds without a read after which a consumer is forgotten."""


class Group:
    """Reads the stream as one of a group's consumers; each entry is given to one of them."""

    def __init__(self, client: redis.Redis, key: str, name: str, consumer: str) -> None:
        self.client, self.key, self.name, self.consumer = client, key, name, consumer

    def is_new(self) -> bool:
        """Make the group where there is none, at the beginning of the stream; whether there was none.

        A group that was there is gone only with all that Redis held.
        """
        try:
            self.client.xgroup_create(self.key, self.name, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" in str(error):
                return False
            raise
        return True

    def events(self, block: int | None = None) -> list[StreamEvent]:
        """The next new entries; where there are none, it waits ``block`` ms for some. None where the group is gone."""
        try:
            answer: Any = self.client.xreadgroup(
                self.name, self.consumer, {self.key: ">"}, count=PAGE, block=block or None
            )
        except ResponseError as error:
            if "NOGROUP" in str(error):
                return []
            raise
        return [stream_events.read(*entry) for _, entries in answer or () for entry in entries]

    def abandoned(self) -> list[StreamEvent]:
        """A page of the entries that a consumer was given over ``IDLE_SECONDS`` ago, this one among them."""
        idle = int(1000 * IDLE_SECONDS)
        _, entries, *_ = self.client.xautoclaim(self.key, self.name, self.consumer, idle, "0-0", count=PAGE)
        return [stream_events.read(*entry) for entry in entries if entry[0] is not None]

    def acknowledge(self, event: StreamEvent) -> None:
        """Record that an entry has been dealt with; it stays in the stream."""
        self.client.xack(self.key, self.name, event.id)

    def forget_consumers(self) -> None:
        """Forget consumers that have nothing to do and have read nothing for long."""
        for consumer in self.client.xinfo_consumers(self.key, self.name):
            is_gone = consumer["idle"] > 1000 * GONE_SECONDS and not consumer["pending"]
            if is_gone and text_of(consumer["name"]) != self.consumer:
                self.client.xgroup_delconsumer(self.key, self.name, consumer["name"])


def consumers_of(client: redis.Redis, key: str, entry_id: str) -> Iterator[str]:
    """The consumers of other groups that were given an entry and have not dealt with it: ``group:consumer``."""
    names = [text_of(group["name"]) for group in client.xinfo_groups(key)]
    others = [name for name in names if name not in (ENDING, RECEIPTS)]
    with client.pipeline(transaction=False) as pipe:
        for name in others:
            pipe.xpending_range(key, name, entry_id, entry_id, 1)
        answers = pipe.execute() if others else []
    for name, pending in zip(others, answers, strict=True):
        yield from (f"{name}:{text_of(row['consumer'])}" for row in pending)
