"""The lines that programs log: those of a flow or a task, filtered, and as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowerapp.core.names import visible_lines
from flowerapp.core.task_log import LEVELS, level_name
from flowerapp.models import Log
from flowerapp.selectors import times
from flowerapp.selectors.shown import rows

COLUMNS = ("id", "ts", "task_exec_seq", "attempt", "level", "source", "message")
"""Columns of a line that API and command line show; ``level`` as a word."""


def lines(
    flow_id: str,
    seq: int | None = None,
    *,
    level: str | None = None,
    search: str | None = None,
    after: int | None = None,
) -> Any:
    """The log of a flow, or of one of its tasks, the oldest line first.

    ``level`` is the name of the lowest level, ``search`` a part of the text in any case, ``after`` the id of a line
    that was read before: no line that is written later has a smaller one.
    """
    wanted = {
        "task_exec_seq": seq,
        "level__gte": LEVELS[level] if level else None,
        "message__icontains": search or None,
        "id__gt": after,
    }
    filters = {name: value for name, value in wanted.items() if value is not None}
    return rows(Log.objects.filter(task_flow_id=flow_id, **filters).order_by("id"))


def latest(most: int, selected: Any) -> list[Log]:
    """The last of these lines, the oldest first."""
    return list(selected.order_by("-id")[:most])[::-1]


def document(line: Log) -> dict[str, Any]:
    """A line as JSON."""
    return {name: getattr(line, name) for name in COLUMNS} | {"level": level_name(line.level)}


def text_of(line: Log, *, with_task: bool = True) -> str:
    """A line as text: time, level, task, attempt, source and message, where further lines of it are indented."""
    place = f"task {line.task_exec_seq} " if with_task else ""
    source = f"{visible_lines(line.source)}: " if line.source else ""
    message = visible_lines(line.message).replace("\r", "\\r").replace("\n", "\n    ")
    head = f"{times.local(line.ts):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return f"{head} {level_name(line.level):<8} {place}attempt {line.attempt}  {source}{message}"


def as_text(selected: Any, most_bytes: int) -> Iterator[str]:
    """These lines as text that ends with a line break each, in about so many bytes; a last one says how to continue."""
    last = 0
    for line in selected.iterator(chunk_size=500):
        text = f"{text_of(line)}\n"
        most_bytes -= len(text.encode())
        if most_bytes < 0 and last:
            yield f"… further lines follow: ask for those after {last}\n"
            return
        last = line.pk
        yield text
