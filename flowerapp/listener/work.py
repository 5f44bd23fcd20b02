"""A remote task, as the function receives it that does its work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowerapp.core.stream_events import START_TASK, StreamEvent


class TaskFailed(Exception):  # noqa: N818 - it says what happened, as littleflow's TaskFailure does
    """The task cannot be done; the message is the reason that people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt of a remote task."""

    entry: str
    """The id of its ``start-task``."""
    workflow: str
    """The flow, with ``workflow:`` in front."""
    name: str
    """What people call the step."""
    base: str
    """What does its work; the name, unless that is an alias."""
    index: int
    """The number of the step in its flow."""
    attempt: int | None = None
    """The number of this attempt; None from an engine that counts none, such as littleflow."""
    parameters: Any = field(default_factory=dict, repr=False)
    """JSON; what is secret is ``••••``."""
    input: Any = field(default_factory=dict, repr=False)
    """The same of its input."""

    @classmethod
    def of(cls, event: StreamEvent) -> Work | None:
        """The task of a ``start-task``; None of another event, and of one that lacks what names a task."""
        fields = event.fields
        workflow, name, index = fields.get("workflow"), fields.get("name"), fields.get("index")
        if event.kind != START_TASK or not isinstance(workflow, str) or type(index) is not int:
            return None
        if not isinstance(name, str):
            return None
        attempt = fields.get("attempt")
        return cls(
            entry=event.id,
            workflow=workflow,
            name=name,
            base=fields.get("base") or name,
            index=index,
            attempt=attempt if type(attempt) is int else None,
            parameters=fields.get("parameters", {}),
            input=fields.get("input", {}),
        )

    @property
    def answer(self) -> Mapping[str, Any]:
        """The fields by which an answer names it."""
        attempt = {} if self.attempt is None else {"attempt": self.attempt}
        return {"workflow": self.workflow, "name": self.name, "base": self.base, "index": self.index, **attempt}
