"""Statuses as users type them: the words that people read, the five values, and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db.models import Q

from flowerapp.exceptions import InvalidError
from flowerapp.selectors.status_style import (
    CANCELLED,
    CANCELLING,
    FAILED,
    FINISHED,
    HELD,
    RUNNING,
    SKIPPED,
    WAITING,
    Style,
)
from flowerapp.states import Status

MOST_QUOTED = 40
"""Characters of an unknown word that its refusal quotes."""

_OF_BOTH: Mapping[Style, Q] = {
    WAITING: Q(exec_status=Status.WAIT),
    RUNNING: Q(exec_status=Status.RUNNING),
    FINISHED: Q(exec_status=Status.FINISH),
}
_IGNORE, _CANCELLED = Q(exec_status=Status.IGNORE), Q(ignored_by__in=sorted(CANCELLING))

FLOW_FILTERS: Mapping[Style, Q] = {
    **_OF_BOTH,
    FAILED: Q(exec_status=Status.SUSPEND, failed_seq__isnull=False),
    HELD: Q(exec_status=Status.SUSPEND, failed_seq__isnull=True),
    CANCELLED: _IGNORE,
}
"""Style of a flow → the flows that ``flow_style`` gives it."""
TASK_FILTERS: Mapping[Style, Q] = {
    **_OF_BOTH,
    FAILED: Q(exec_status=Status.SUSPEND),
    SKIPPED: _IGNORE & ~_CANCELLED,
    CANCELLED: _IGNORE & _CANCELLED,
}
"""Style of a task → the tasks that ``task_style`` gives it."""

FLOW_WORDS = tuple(style.word for style in FLOW_FILTERS)
"""Words of flows, for help texts."""
TASK_WORDS = tuple(style.word for style in TASK_FILTERS)
"""Words of tasks, for help texts."""


def filter_of(text: str) -> Q:
    """The flows in one of the statuses that ``text`` names.

    ``text`` is a word such as ``failed`` or ``held``, a value such as ``Suspend``, or its number; or several of them,
    joined by commas. Upper and lower case are the same. Raises InvalidError for an unknown one.
    """
    return _any_of(text, FLOW_FILTERS)


def task_filter_of(text: str) -> Q:
    """The tasks in one of the statuses that ``text`` names, as ``filter_of`` reads it. Raises InvalidError."""
    return _any_of(text, TASK_FILTERS)


def _any_of(text: str, filters: Mapping[Style, Q]) -> Q:
    by_word = _by_word(filters)
    words = [word.strip().lower() for word in text.split(",")]
    for word in words:
        if word not in by_word:
            raise InvalidError(f"there is no status {word[:MOST_QUOTED]!r}; there are {_choices(filters)}")
    return _joined(by_word[word] for word in words)


def _by_word(filters: Mapping[Style, Q]) -> dict[str, Q]:
    """Everything that may be typed, in lower case."""
    values = {name: Q(exec_status=status) for status in Status for name in (status.label.lower(), str(int(status)))}
    return values | {style.word.lower(): matches for style, matches in filters.items()}


def _joined(filters: Iterable[Q]) -> Q:
    result = Q()
    for matches in filters:
        result |= matches
    return result


def _choices(filters: Mapping[Style, Q]) -> str:
    """``Waiting, Running, …, and the values Wait (0), …``."""
    values = ", ".join(f"{status.label} ({int(status)})" for status in Status)
    return f"{', '.join(style.word for style in filters)}, and the values {values}"


FLOW_CHOICES = _choices(FLOW_FILTERS)
"""What may be typed for flows, for help texts."""
