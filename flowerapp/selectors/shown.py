"""Rows as people may see them: what admin, API and command line read is masked here.

Every column of JSON or text is masked unless ``AS_IT_IS`` names it, so that a new one is. The rows are read by
``rows`` and the functions of this package; a row that the engine returns becomes one by ``shown``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

from django.db import models
from django.db.models.query import ModelIterable

from flowerapp.core import masked_sources, masking
from flowerapp.models import Approval, CachedOutput, Event, Flow, HistoryEntry, Hook, Log, Task, TaskDefinition
from flowerapp.models.definitions import PAIRS

AS_IT_IS: dict[type[models.Model], frozenset[str]] = {
    Flow: frozenset(),
    Task: frozenset({"depends_on", "dependents", "canvas", "when", "cache_key", "cached_from"}),
    TaskDefinition: frozenset({"depends_on", "required_at_register", "overridable", "when", "cache_key"}),
    HistoryEntry: frozenset(),
    Log: frozenset(),
    Hook: frozenset(),
    CachedOutput: frozenset(),
    Approval: frozenset({"deciders", "choices", "form", "notify", "links"}),
    Event: frozenset(),
}
"""The models with values of users, and their columns of JSON or text that hold only numbers and names; or conditions,
which their authors get back as they wrote them; or the questions of approvals, which are masked when they are asked."""
_KEYS = {f"param{number}_value": f"param{number}_key" for number in PAIRS}
"""``{column: the column that names its value}``."""
_BESIDES: dict[type[models.Model], set[str]] = {Flow: {"output"}, TaskDefinition: {"all_parameters", *_KEYS}}
"""What else is masked."""
SOURCE = "source"
"""The column of a flow with the text that it was compiled from."""
_OWN = frozenset({"parameters", "all_parameters", "input"})
"""Masked without regard to the row's other values, so that what is given back with masks is the same."""

Row = TypeVar("Row", bound=models.Model)


def shown(row: Row) -> Row:
    """The row with its columns masked; it reads as the row in all else, and cannot be saved."""
    is_new = type(row) in AS_IT_IS  # a shown row has another type
    return cast("Row", _Shown(row)) if is_new else row


def rows(queryset: Any) -> Any:
    """The query set; its rows are shown ones."""
    queryset = queryset.all()
    queryset._iterable_class = _ShownRows
    return queryset


def shown_value(value: Any, row: models.Model) -> Any:
    """A JSON value that belongs to a row, such as its input, masked as the row's columns are."""
    return _masked_with(value, cast("Any", shown(row))._secrets)


def _masked_with(value: Any, secrets: masking.Secrets) -> Any:
    """A value that quotes neither these secrets nor its own."""
    return masking.masked(value, secrets | masking.secrets_of(value))


class _ShownRows(ModelIterable):  # type: ignore[type-arg] # it takes no type when it runs
    def __iter__(self) -> Iterator[Any]:
        return map(shown, super().__iter__())


@lru_cache
def _masked_names(model: Any) -> frozenset[str]:
    """Names of the attributes of a model that are masked."""
    fields = model._meta.concrete_fields
    columns = {field.name for field in fields if isinstance(field, (models.JSONField, models.TextField))}
    return frozenset((columns - AS_IT_IS[model]) | _BESIDES.get(model, set()))


def _secrets_in(row: Any, *columns: str) -> masking.Secrets:
    """The secrets of those columns that are loaded, found once for each row."""
    loaded = row.__dict__
    if "_secrets" not in loaded:
        loaded["_secrets"] = {}
    secrets: dict[tuple[str, ...], masking.Secrets] = loaded["_secrets"]
    if columns not in secrets:
        secrets[columns] = masking.secrets_of(*(loaded.get(name) for name in columns))
    return secrets[columns]


class _Shown:
    def __init__(self, row: models.Model) -> None:
        self.__dict__["_row"] = row

    @property  # type: ignore[misc] # as in Django's SimpleLazyObject
    def __class__(self) -> Any:
        return type(self._row)

    @cached_property
    def _secrets(self) -> masking.Secrets:
        """Those of the values that are loaded: parameters and item of a task, input and state of its flow."""
        flow = self._row._state.fields_cache.get("task_flow", self._row)
        return _secrets_in(self._row, "parameters", "item") | _secrets_in(flow, "input", "state")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__["_row"], name)
        model: Any = type(self._row)
        if name in _masked_names(model):
            value = self.__dict__[name] = self._masked(name, value)
            return value
        if isinstance(value, models.Model):
            return shown(value)
        return rows(value) if isinstance(value, models.Manager) else value

    def _masked(self, name: str, value: Any) -> Any:
        if name in _KEYS:
            key = getattr(self._row, _KEYS[name])
            return masking.masked({key: value})[key]
        if name == SOURCE and isinstance(self._row, Flow):
            return masked_sources.masked(value, self._secrets)
        return masking.masked(value) if name in _OWN else _masked_with(value, self._secrets)

    def __str__(self) -> str:
        return str(masking.masked(str(self._row)))

    def __eq__(self, other: object) -> bool:
        return bool(self._row == getattr(other, "_row", other))

    def __hash__(self) -> int:
        return hash(self._row)

    def save(self, *_: Any, **__: Any) -> None:
        """Refuse it: the masks would take the place of what they hide."""
        raise TypeError("a shown row cannot be saved")
