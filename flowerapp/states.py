"""The five states of tasks and flows, and the verbs that lead from one to another.

The table here and the CHECK constraints of the models are the only two places that hold a rule about states.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Status(IntEnum):
    """State of a task or a flow; the numbers are those of the original ``kr_task_stat.exec_status``."""

    WAIT = 0
    """Not started, or waiting for a retry, a time or an event."""
    RUNNING = 1
    """A worker has claimed it. After a crash it stays here until the watcher rescues it."""
    SUSPEND = 2
    """Failed, or held: a person is needed."""
    FINISH = 3
    """Succeeded; the output is recorded."""
    IGNORE = 9
    """Skipped or cancelled; dependents are released as after a success."""

    @property
    def label(self) -> str:
        """The word shown to people: ``Wait``, ``Running``, …"""
        return self.name.capitalize()


class IgnoredBy(StrEnum):
    """Why a task is Ignore; empty on a task that is not, and on one that another system inserted as Ignore."""

    SKIP = "skip"
    """A user skipped it."""
    CANCEL = "cancel"
    """Its flow was cancelled."""
    CONDITION = "condition"
    """Its condition was false."""
    ENTRANCE = "entrance"
    """Its flow started at another step, which it does not follow."""
    SIBLING = "sibling"
    """A child that was stopped because a sibling failed or its parent was skipped."""
    TOLERATED = "tolerated"
    """A child that failed, and whose parent continues without it."""


CHOICES = [(status.value, status.label) for status in Status]
"""For a Django model field."""

IGNORED_BY = [(reason.value, reason.value) for reason in IgnoredBy]
"""For a Django model field."""

OPEN = frozenset({Status.WAIT, Status.RUNNING, Status.SUSPEND})
"""Something can still happen to it."""

ACTIVE = frozenset({Status.WAIT, Status.RUNNING})
"""It continues by itself."""

SATISFIED = frozenset({Status.FINISH, Status.IGNORE})
"""Its dependents are released; ``finished_ts`` is set exactly in these."""

LOWEST_PRIORITY, HIGHEST_PRIORITY = 19, -20
"""Bounds of a nice value: the lower the number, the sooner a task runs."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What a verb does to a task."""

    source: frozenset[Status]
    """States it may start from; in any other nothing changes."""
    target: Status | None
    """State it ends in; None leaves the state as it is."""


def _verb(*source: Status, to: Status | None) -> Transition:
    return Transition(frozenset(source), to)


TRANSITIONS: dict[str, Transition] = {
    "claim": _verb(Status.WAIT, to=Status.RUNNING),
    "finish": _verb(Status.RUNNING, to=Status.FINISH),
    "retry": _verb(Status.RUNNING, to=Status.WAIT),
    "park": _verb(Status.RUNNING, to=Status.WAIT),
    "wake": _verb(Status.WAIT, to=Status.WAIT),
    "complete_parked": _verb(Status.WAIT, to=Status.FINISH),
    "fail": _verb(Status.RUNNING, to=Status.SUSPEND),
    "tolerate_failure": _verb(Status.RUNNING, to=Status.IGNORE),
    "await_children": _verb(Status.RUNNING, to=Status.WAIT),
    "give_up": _verb(Status.WAIT, to=Status.SUSPEND),
    "reopen": _verb(Status.FINISH, Status.SUSPEND, Status.IGNORE, to=Status.WAIT),
    "adopt": _verb(Status.WAIT, Status.RUNNING, Status.SUSPEND, to=Status.WAIT),
    "adopt_ended": _verb(Status.FINISH, Status.IGNORE, to=None),
    "refuse_adoption": _verb(Status.WAIT, Status.RUNNING, Status.SUSPEND, to=Status.SUSPEND),
    "rescue": _verb(Status.RUNNING, to=Status.WAIT),
    "skip": _verb(Status.WAIT, Status.SUSPEND, to=Status.IGNORE),
    "cancel": _verb(Status.WAIT, Status.RUNNING, Status.SUSPEND, to=Status.IGNORE),
    "change": _verb(Status.WAIT, Status.SUSPEND, to=None),
    "rerun": _verb(Status.WAIT, Status.FINISH, Status.SUSPEND, Status.IGNORE, to=Status.WAIT),
}
"""Verb → where a task may start and where it leads.

``wake`` and ``complete_parked`` need a parked task, ``give_up`` one that is parked for its children, ``reopen`` one
with children, ``adopt``, ``adopt_ended`` and ``refuse_adoption`` a row without a program.
"""


def allows(verb: str, status: int) -> bool:
    """Whether ``verb`` may be used on a task in ``status``."""
    return status in TRANSITIONS[verb].source


def clamp_priority(value: int) -> int:
    """The nearest priority in −20…19."""
    return max(HIGHEST_PRIORITY, min(LOWEST_PRIORITY, value))
