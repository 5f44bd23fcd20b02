"""Flows and tasks as people read them, for programs that show them to people: the API, and ``--json``."""

from __future__ import annotations

from typing import Any

from flowerapp.models import Flow, Task
from flowerapp.selectors import tasks
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import seconds_of, spelled
from flowerapp.selectors.status_style import Style, flow_note, flow_style

COLUMNS = ("word", "symbol", "note", "counts", "duration", "duration_seconds")
"""What is shown beside ``status``: word and symbol, what they do not say, numbers of tasks or children, and time."""


def flow_in_words(flow: Flow, counts: Counts) -> dict[str, Any]:
    """A flow by ``COLUMNS``."""
    return _in_words(flow_style(flow), flow_note(flow, counts), counts.text, seconds_of(flow))


def task_in_words(task: Task, children: Counts | None) -> dict[str, Any]:
    """A task by ``COLUMNS``, with the counts of its children if it has added some."""
    counts = children.text if children else ""
    return _in_words(tasks.style_of(task), tasks.note(task, children), counts, tasks.seconds_of_attempt(task))


def _in_words(style: Style, note: str, counts: str, seconds: float | None) -> dict[str, Any]:
    texts = {"word": style.word, "symbol": style.symbol, "note": note, "counts": counts, "duration": spelled(seconds)}
    return {**texts, "duration_seconds": None if seconds is None else round(seconds, 3)}
