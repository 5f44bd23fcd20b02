"""The events of littleflow's stream: entries whose fields are JSON, and the keys beside the stream.

Nothing here knows Redis or Django, so that a listener needs neither of flowerapp's settings nor its database.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

STREAM_KEY = "workflows:run"
"""The key of the stream, unless a setting names another."""
API_VERSION = "v1"
START_TASK, END_TASK, RECEIPT, HEARTBEAT = "start-task", "end-task", "receipt", "heartbeat-task"
RESERVED = frozenset(
    {
        START_TASK,
        END_TASK,
        RECEIPT,
        HEARTBEAT,
        "start-workflow",
        "end-workflow",
        "failed-workflow",
        "terminated-workflow",
        "countdown-latch-zero",
    }
)
"""Kinds that the engine, its listeners and littleflow's own processes send; all others are events of users."""
PROCESSED = "processed"
"""The action of a receipt."""
SUCCESS, FAILURE = "SUCCESS", "FAILURE"
"""The statuses of an ``end-task``."""
FLOW_PREFIX = "workflow:"
FLOW_INPUT = -1
"""The node under whose output littleflow keeps the input of the flow."""
ENVELOPE = frozenset({"kind", "apiVersion", "at", "for"})
"""Fields that say what an event is; the others are its data."""
_ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """An entry of the stream, as far as it can be read."""

    id: str
    """The id that Redis gave the entry."""
    kind: str
    """Empty if the entry has none that can be read."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    """What of it is not JSON, as a sentence without an end; empty if all of it is."""

    @property
    def data(self) -> dict[str, Any]:
        """The fields without those of ``ENVELOPE``."""
        return {name: value for name, value in self.fields.items() if name not in ENVELOPE}


def entry(kind: str, data: Mapping[str, Any], *, answers: str = "") -> dict[str, str]:
    """The fields of a new entry, each of them JSON text; ``answers`` is the id of the entry that a receipt is for."""
    at = datetime.fromtimestamp(time.time(), UTC).isoformat()
    event = {**data, "kind": kind, "apiVersion": API_VERSION, "at": at, **({"for": answers} if answers else {})}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in event.items()}


def receipt(entry_id: str, **more: Any) -> dict[str, str]:
    """The fields of the receipt for an entry; ``more`` are further ones, such as the name of the worker."""
    return entry(RECEIPT, {"action": PROCESSED, **more}, answers=entry_id)


def read(entry_id: Any, raw: Mapping[Any, Any] | None) -> StreamEvent:
    """The event of an entry as Redis returns it: id and fields are bytes or text. It never raises an error."""
    fields: dict[str, Any] = {}
    problem = ""
    for name, value in (raw or {}).items():
        try:
            fields[text_of(name)] = json.loads(text_of(value), parse_constant=_refuse)
        except (ValueError, RecursionError):
            problem = problem or f"its field {text_of(name)[:60]!r} is not JSON"
    kind = fields.get("kind")
    return StreamEvent(id=text_of(entry_id), kind=kind if isinstance(kind, str) else "", fields=fields, problem=problem)


def text_of(value: Any) -> str:
    """Text that Redis returns as bytes; U+FFFD replaces what is not UTF-8."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def is_entry_id(text: str) -> bool:
    """Whether a text can be the id of an entry."""
    return _ENTRY_ID.fullmatch(text) is not None


def flow_key(flow_id: str) -> str:
    """The flow as events name it; the keys about it begin so."""
    return f"{FLOW_PREFIX}{flow_id}"


def output_key(workflow: str, index: int) -> str:
    """The key of a node's output, from the flow as events name it."""
    return f"{workflow}:output:{index}"
