"""Rows of lists: large values are not read but left out, with their size, and long texts are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import JSONField, QuerySet
from django.db.models.functions import Left, Length
from django.db.models.query import ModelIterable

from flowerapp.core import passing
from flowerapp.core.passing import TooLarge
from flowerapp.models import Task
from flowerapp.querysets.sizes import bytes_of, if_small
from flowerapp.selectors.shown import shown

MOST_BYTES = 8192
"""Bytes of JSON of a value in a list."""
MOST_CHARACTERS = 2000
"""Characters of a text in a list."""
HAVE_SECRETS = frozenset({"parameters", "item", "input", "state"})
"""Columns whose secrets the others must not quote: where one is not read, those others are left out too."""
QUOTE_SECRETS = frozenset({"output", "progress", "traceback"})
_SHORT, _SIZE = "short_", "size_"


def short_rows(queryset: QuerySet[Any], *names: str) -> Any:
    """The query set; its rows are masked, and read these columns of JSON or text only where they are small.

    ``left_out(row)`` says which they left out.
    """
    annotations: dict[str, Any] = {}
    for name in names:
        field: Any = queryset.model._meta.get_field(name)
        if isinstance(field, JSONField):
            annotations[_SHORT + name] = if_small(name, MOST_BYTES, type(field)())
            annotations[_SIZE + name] = bytes_of(name, MOST_BYTES)
        else:
            annotations[_SHORT + name] = Left(name, MOST_CHARACTERS)
            annotations[_SIZE + name] = Length(name)
    rows = queryset.defer(*names).annotate(**annotations)
    rows._iterable_class = _ShortRows
    return rows


def left_out(row: Any) -> dict[str, int]:
    """``{column: bytes of JSON, or characters of text}`` of what was left out of a row, or cut."""
    sizes: dict[str, int] = getattr(row, "left_out", {})
    return sizes


def give(row: Any, name: str, value: Any, size: int = 0) -> None:
    """Set a column of a row of ``short_rows`` that was read otherwise; ``size`` is that of a value left out."""
    stored = row.__dict__.get("_row", row)
    stored.__dict__[name] = value
    row.__dict__.pop(name, None)
    if size:
        stored.left_out[name] = size


def complete(flow_id: str, page: Sequence[Task], most: int = MOST_BYTES) -> None:
    """Give the skipped ones of some tasks of a flow their outputs, in a few statements; large ones are left out."""
    for task in page:
        task.__dict__.get("_row", task).__dict__.setdefault("left_out", {})
    skipped = [task for task in page if task.passes_on and task.output is None and "output" not in left_out(task)]
    steps = [task.task_exec_seq for task in skipped if task.parent_seq is None]
    outputs = Task.objects.outputs(flow_id, steps, most=most) if steps else {}
    for task in skipped:
        if task.parent_seq is not None:
            give(task, "output", task.item, left_out(task).get("item", 0))
            continue
        output = passing.plain(outputs.get(task.task_exec_seq))
        size = output.size if isinstance(output, TooLarge) else 0
        give(task, "output", None if size else output, size)


class _ShortRows(ModelIterable):  # type: ignore[type-arg] # it takes no type when it runs
    def __iter__(self) -> Iterator[Any]:
        for row in super().__iter__():
            _shorten(row)
            yield shown(row)


def _shorten(row: Any) -> None:
    """Put the small values of a row, and the beginnings of its texts, in the places of its columns."""
    columns = row.__dict__
    names = [name.removeprefix(_SHORT) for name in columns if name.startswith(_SHORT)]
    sizes = {name: columns.pop(_SIZE + name) or 0 for name in names}
    columns |= {name: columns.pop(_SHORT + name) for name in names}
    large = {name for name in names if sizes[name] > _most(row, name)}
    if large & HAVE_SECRETS:
        large |= {name for name in QUOTE_SECRETS & sizes.keys() if columns[name]}
        columns |= {name: "" if isinstance(columns[name], str) else None for name in large & QUOTE_SECRETS}
    columns["left_out"] = {name: sizes[name] for name in names if name in large}


def _most(row: Any, name: str) -> int:
    return MOST_BYTES if isinstance(row._meta.get_field(name), JSONField) else MOST_CHARACTERS
