"""What an archive holds of a flow, page by page: rows as they are stored, or with masks as people may see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from django.db import models
from django.db.models import ExpressionWrapper, Q

from flowerapp.core import masked_sources, masking
from flowerapp.core.archive_parts import OPTIONAL_VALUES, FlowPart, HistoryPart, LogPart, Part, TaskPart, defaults
from flowerapp.core.masking import NO_SECRETS, Secrets
from flowerapp.models import Flow, HistoryEntry, Log, Task, TaskDefinition, Workflow
from flowerapp.querysets.definitions import HEADER
from flowerapp.querysets.outputs import TYPED_OUTPUT
from flowerapp.selectors.shown import AS_IT_IS
from flowerapp.states import OPEN

PAGE = 500
"""Rows that are read at once."""
_TYPED, _NULL = "typed_output", "is_null_"
_NAMES = frozenset({"overridable"})
"""Columns of names, which are not masked."""

Row = dict[str, Any]


def columns(part: type[Part]) -> list[str]:
    """Names of the columns of a part."""
    return list(part.model_fields)


class Reader:
    """Reads one flow; all that it reads belongs together only in a transaction that sees one state."""

    def __init__(self, flow_id: str, *, with_secrets: bool) -> None:
        self.flow_id = flow_id
        self.with_secrets = with_secrets
        self._of_flow: Secrets = NO_SECRETS
        """The secrets of the flow's input and state."""

    def flow(self) -> Row | None:
        """The row of the flow; None if there is none."""
        row = Flow.objects.filter(pk=self.flow_id).values(*columns(FlowPart)).first()
        if row is not None and not self.with_secrets:
            self._of_flow = masking.secrets_of(row["input"], row["state"])
            row = self._masked(row, Flow, self._of_flow) | {
                "source": masked_sources.masked(row["source"], self._of_flow) if row["source"] else "",
            }
        return None if row is None else _short(row, FlowPart)

    def tasks(self) -> Iterator[Row]:
        """The rows of its tasks by seq."""
        names = [name for name in columns(TaskPart) if name != "output"]
        tasks = Task.objects.filter(task_flow_id=self.flow_id).annotate(**_nulls(), **{_TYPED: TYPED_OUTPUT})
        rows = tasks.order_by("task_exec_seq").values(*names, _TYPED, *_nulls())
        for row in _paged(rows, "task_exec_seq"):
            row["output"] = row.pop(_TYPED)
            left_out = [name for name in OPTIONAL_VALUES if row.pop(_NULL + name)]
            if not self.with_secrets:
                secrets = self._of_flow | masking.secrets_of(row["parameters"], row["item"])
                row = self._masked(row, Task, secrets)
            yield _short({name: value for name, value in row.items() if name not in left_out}, TaskPart)

    def history(self) -> Iterator[Row]:
        """Its history, the oldest entry first."""
        yield from self._by_id(HistoryEntry, HistoryPart)

    def logs(self) -> Iterator[Row]:
        """The lines of its programs, the oldest first."""
        yield from self._by_id(Log, LogPart)

    def _by_id(self, model: Any, part: type[Part]) -> Iterator[Row]:
        rows = model.objects.filter(task_flow_id=self.flow_id).order_by("id").values("id", *columns(part))
        for row in _paged(rows, "id"):
            del row["id"]
            yield _short(row if self.with_secrets else self._masked(row, model, self._of_flow), part)

    def workflow(self, task_id: str) -> Row | None:
        """The workflow as it is stored now; None if it is not."""
        steps = TaskDefinition.objects.filter(task_id=task_id).order_by("task_seq")
        tasks = [self._step(row) for row in steps]
        if not tasks:
            return None
        header = Workflow.objects.filter(pk=task_id).first() or Workflow(task_id=task_id)
        settings = {name: getattr(header, name) for name in HEADER}
        if not self.with_secrets:
            settings["start_match"] = masking.masked(header.start_match)
        return {**settings, "tasks": tasks}

    def _step(self, row: TaskDefinition) -> Row:
        parameters = row.all_parameters
        own = {name: getattr(row, name) for name in STEP}
        return own | {"parameters": parameters if self.with_secrets else masking.masked(parameters)}

    def _masked(self, row: Row, model: Any, secrets: Secrets) -> Row:
        """The row as ``selectors.shown`` has it."""
        return {name: _masked(name, value, model, secrets) for name, value in row.items()}


STEP = (
    *("task_seq", "name", "program", "task_priority", "required_at_register", "overridable", "depends_on", "queue"),
    *("pool", "max_retries", "retry_delay", "time_limit", "max_concurrency", "merge", "when", "child_program"),
    *("exit_on_failed", "cache_key", "cache_seconds", "cache_scope"),
)
"""Columns of a step beside its parameters."""


def _masked(name: str, value: Any, model: Any, secrets: Secrets) -> Any:
    if value in (None, "") or name in _NAMES or name not in _masked_names(model):
        return value
    if name in ("parameters", "input"):
        return masking.masked(value)
    return masking.masked(value, secrets | masking.secrets_of(value))


@cache
def _masked_names(model: Any) -> frozenset[str]:
    """Columns of JSON or text, but for those that hold only numbers and names."""
    fields = model._meta.concrete_fields
    texts = {field.name for field in fields if isinstance(field, (models.JSONField, models.TextField))}
    return frozenset(texts - AS_IT_IS[model])


@cache
def _nulls() -> Mapping[str, Any]:
    """Whether a column of JSON is NULL: null is a value."""
    null = models.BooleanField()
    return {
        _NULL + name: ExpressionWrapper(Q(**{f"{name}__isnull": True}), output_field=null) for name in OPTIONAL_VALUES
    }


def _paged(rows: Any, key: str) -> Iterator[Row]:
    """Rows in the order of a key, read in pages."""
    page = list(rows[:PAGE])
    while page:
        after = page[-1][key]
        yield from page
        page = list(rows.filter(**{f"{key}__gt": after})[:PAGE]) if len(page) == PAGE else []


_MISSING = object()


@cache
def _defaults(part: type[Part]) -> Row:
    return defaults(part)


def _short(row: Row, part: type[Part]) -> Row:
    """The row without what is at its default; the values whose null counts stay where they are given."""
    default = _defaults(part)
    return {
        name: value
        for name, value in row.items()
        if name in OPTIONAL_VALUES or not _same(value, default.get(name, _MISSING))
    }


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def number_of_tasks(flow_id: str) -> int:
    """How many tasks a flow has."""
    return int(Task.objects.filter(task_flow_id=flow_id).count())


def lacks_values(flow_id: str) -> bool:
    """Whether a flow was restored from an archive without its secrets."""
    return bool(Flow.objects.filter(pk=flow_id, masked=True).exists())


def not_adopted(flow_id: str) -> bool:
    """Whether another system inserted open tasks that the watcher has not adopted."""
    inserted = Task.objects.inserted().filter(task_flow_id=flow_id, exec_status__in=sorted(OPEN))
    return bool(inserted.exists())
