"""A listener that is nothing but a client of Redis, and a stream of a test's own."""

from __future__ import annotations

import json
import uuid
from typing import Any

import redis

KEY = "workflows:run"


class PlainListener:
    """Does what littleflow's documentation asks of a listener, with the fields and keys that it names."""

    def __init__(self, url: str, group: str = "docs", idle: float = 60.0) -> None:
        self.client: Any = redis.Redis.from_url(url, decode_responses=True, protocol=2)
        self.group, self.name, self.idle = group, uuid.uuid4().hex, idle

    def join(self) -> PlainListener:
        """Make its group."""
        self.client.xgroup_create(KEY, self.group, id="0", mkstream=True)
        return self

    def take(self, number: int = 10) -> list[dict[str, Any]]:
        """The next tasks, each with the id of its entry; those that another member left come first."""
        _, abandoned, *_ = self.client.xautoclaim(KEY, self.group, self.name, int(1000 * self.idle), "0-0")
        answer = self.client.xreadgroup(self.group, self.name, {KEY: ">"}, count=100)
        entries = [*abandoned, *(entry for _, page in answer or () for entry in page)]
        events = [{"id": at, **{name: json.loads(text) for name, text in fields.items()}} for at, fields in entries]
        starts = [event for event in events if event["kind"] == "start-task"]
        others = {event["id"] for event in events} - {start["id"] for start in starts}
        if others:
            self.client.xack(KEY, self.group, *others)
        return starts[:number]

    def receive(self, start: dict[str, Any]) -> str:
        """Send the receipt for a task."""
        return self.send("receipt", action="processed", **{"for": start["id"]})

    def end(self, start: dict[str, Any], output: Any = None, *, with_attempt: bool = False, **more: Any) -> str:
        """Write the output, and send the end."""
        if output is not None:
            self.client.set(f"{start['workflow']}:output:{start['index']}", json.dumps(output))
        named = ("name", "index", "workflow", *(("attempt",) if with_attempt else ()))
        at = self.send("end-task", **{name: start[name] for name in named}, **more)
        self.client.xack(KEY, self.group, start["id"])
        return at

    def send(self, kind: str, **data: Any) -> str:
        """Send an event."""
        event = {**data, "kind": kind, "apiVersion": "v1", "at": "2026-01-31T12:00:00+00:00"}
        return str(self.client.xadd(KEY, {name: json.dumps(value) for name, value in event.items()}))

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """All that is in the stream."""
        return [
            (at, {name: json.loads(text) for name, text in fields.items()}) for at, fields in self.client.xrange(KEY)
        ]

    def kinds(self) -> list[str]:
        """The kinds of all that is in the stream."""
        return [event["kind"] for _, event in self.entries()]
