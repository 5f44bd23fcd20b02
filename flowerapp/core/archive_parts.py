"""The parts of an archive and the type of each column; strict, with no column that is not named here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from flowerapp import states
from flowerapp.core import names, values
from flowerapp.core.caching import CacheScope
from flowerapp.core.conditions import condition_problems
from flowerapp.exceptions import InvalidValueError
from flowerapp.states import IgnoredBy, Status

LARGEST = 2**31 - 1
LONGEST_NAME = names.LONGEST_NAME
FIRST_YEAR, LAST_YEAR = 1900, 9990
"""Years outside these cannot be shown in every time zone."""
LONGEST_SOURCE = 1024 * 1024


def _time(value: Any) -> datetime:
    """A time of ISO 8601 with its zone."""
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None or not FIRST_YEAR <= parsed.year <= LAST_YEAR:
        raise ValueError("write a time with its zone, as 2026-01-31T12:00:00+00:00")
    return parsed.astimezone(UTC)


def _storable(text: str) -> str:
    if not values.storable(text):
        raise ValueError("it holds a character that the database cannot store")
    return text


def _name(text: str) -> str:
    for problem in names.name_problems(text, "it"):
        raise ValueError(problem)
    return text


def _json(value: Any) -> Any:
    try:
        values.dumps(value, "it")
    except InvalidValueError as error:
        raise ValueError(str(error)) from None
    return value


def _condition(text: str) -> str:
    for problem in condition_problems(text):
        raise ValueError(problem)
    return text


def _ignored_by(text: str) -> str:
    if text and text not in set(IgnoredBy):
        raise ValueError(f"use one of {', '.join(IgnoredBy)}")
    return text


def _scope(text: str) -> str:
    if text not in set(CacheScope):
        raise ValueError(f"use one of {', '.join(CacheScope)}")
    return text


def _status(number: int) -> int:
    if number not in set(Status):
        raise ValueError(f"use one of {', '.join(str(int(status)) for status in Status)}")
    return number


Time = Annotated[datetime, BeforeValidator(_time)]
Name = Annotated[str, AfterValidator(_name)]
Text = Annotated[str, AfterValidator(_storable)]
Word = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_storable)]
Json = Annotated[Any, AfterValidator(_json)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_json)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Priority = Annotated[int, Field(ge=states.HIGHEST_PRIORITY, le=states.LOWEST_PRIORITY)]
ExecStatus = Annotated[int, AfterValidator(_status)]
Seqs = list[Count]


class Part(BaseModel):
    """A part of the document."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FlowPart(Part):
    """The row of the flow."""

    task_flow_id: Name
    task_id: Name
    exec_status: ExecStatus
    task_priority: Priority = 0
    held: bool = False
    input: Json
    state: JsonObject = Field(default_factory=dict)
    state_version: Count = 0
    limited: bool = False
    admitted: bool = True
    last_child_seq: Count = 0
    failed_seq: Count | None = None
    registered_ts: Time
    started_ts: Time | None = None
    finished_ts: Time | None = None
    suspended_ts: Time | None = None
    registered_by: Annotated[str, Field(max_length=150), AfterValidator(_storable)] = ""
    source: Annotated[str, Field(max_length=LONGEST_SOURCE), AfterValidator(_storable)] = ""

    @property
    def status(self) -> Status:
        """The state as a ``Status``."""
        return Status(self.exec_status)


class TaskPart(Part):
    """The row of a task; a column that is left out has its default, and a value of JSON is NULL then."""

    task_exec_seq: Count
    task_seq: Whole
    depends_task_exec_seq: Whole = -1
    exec_status: ExecStatus
    task_priority: Priority = 0
    parameters: JsonObject = Field(default_factory=dict)
    registered_ts: Time | None = None
    started_ts: Time | None = None
    finished_ts: Time | None = None
    suspended_ts: Time | None = None
    program: Word = ""
    queue: Word = ""
    max_retries: Count | None = None
    retry_delay: Count | None = None
    time_limit: Count | None = None
    name: Word = ""
    merge: bool = False
    when: Annotated[str, AfterValidator(_storable), AfterValidator(_condition)] = ""
    remote: Word = ""
    alias: Word = ""
    end_seq: Count | None = None
    cache_key: Text = ""
    cache_seconds: Count | None = None
    cache_scope: Annotated[str, AfterValidator(_scope)] = CacheScope.WORKFLOW.value
    awaits_output: Annotated[str, Field(max_length=64), AfterValidator(_storable)] = ""
    cached_from: JsonObject | None = None
    pool: Word = ""
    child_program: Word = ""
    max_concurrency: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    exit_on_failed: bool = True
    overridable: Annotated[list[Word], Field(max_length=10_000)] | None = None
    parent_seq: Count | None = None
    child_index: Count | None = None
    child_id: Json = None
    item: Json = None
    children: Count = 0
    depends_on: Seqs = Field(default_factory=list)
    pending: Count = 0
    admitted: bool = True
    attempt: Count = 0
    retries: Count = 0
    rescues: Count = 0
    run: Count = 1
    worker: Annotated[str, Field(max_length=64), AfterValidator(_storable)] = ""
    pid: Whole | None = None
    parked: bool = False
    due_ts: Time | None = None
    sent_ts: Time | None = None
    ignored_by: Annotated[str, AfterValidator(_ignored_by)] = ""
    output: Json = None
    error: Text = ""
    traceback: Text = ""
    progress: JsonObject | None = None

    @property
    def status(self) -> Status:
        """The state as a ``Status``."""
        return Status(self.exec_status)


OPTIONAL_VALUES = ("child_id", "item", "output")
"""Columns of a task whose null is a value, and is in the document; they are left out where they are NULL."""


class HistoryPart(Part):
    """An entry of the history."""

    ts: Time
    verb: Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_storable)]
    task_exec_seq: Count | None = None
    attempt: Count | None = None
    worker: Annotated[str, Field(max_length=64), AfterValidator(_storable)] = ""
    actor: Annotated[str, Field(max_length=150), AfterValidator(_storable)] = ""
    reason: Text = ""
    details: JsonObject = Field(default_factory=dict)


class LogPart(Part):
    """A line that a program logged."""

    ts: Time
    task_exec_seq: Count
    attempt: Count
    level: Annotated[int, Field(ge=-(2**15), lt=2**15)] = 20
    source: Annotated[str, Field(max_length=100), AfterValidator(_storable)] = ""
    message: Text


class WorkflowPart(Part):
    """The workflow as it was stored when the flow was archived: its header and steps."""

    description: Text = ""
    max_active_flows: Count | None = None
    unique: bool = False
    entrance: Whole | None = None
    start_event: Word = ""
    start_match: JsonObject | None = None
    tasks: list[JsonObject]


class Archive(Part):
    """The document without its checksum."""

    format: str
    version: int
    flowerapp: Text = ""
    archived_ts: Time
    secrets: Literal["masked", "whole"]
    flow: FlowPart
    tasks: list[TaskPart]
    history: list[HistoryPart] = Field(default_factory=list)
    logs: list[LogPart] = Field(default_factory=list)
    workflow: WorkflowPart | None = None


def defaults(part: type[Part]) -> dict[str, Any]:
    """The default of each column of a part that has one; a written part leaves such values out."""
    fields = part.model_fields.items()
    return {name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}
