"""The five statuses of tasks and flows, and the guarded methods that lead a task from one to another.

The table here and the CHECK constraints of the models hold the rules. CLAIM, FINISH and the methods of flows write
statuses out; ``tests/engine/test_matrix.py`` checks that those of tasks agree with the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Status(IntEnum):
    """Status of a task or a flow; the numbers are those of the original ``kr_task_stat.exec_status``."""

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
        """The name in the API, filters and ``--json``, such as ``Wait``; people see the words of ``status_style``."""
        return self.name.capitalize()


class IgnoredBy(StrEnum):
    """Why a task is Ignore; empty on a task that is not, and on one that another system inserted as Ignore."""

    SKIP = "skip"
    """A user skipped it."""
    CANCEL = "cancel"
    """Its flow was cancelled."""
    CONDITION = "condition"
    """Its condition, or that of the subflow it is in, was false."""
    ENTRANCE = "entrance"
    """Its flow started at another step, which it does not follow."""
    SIBLING = "sibling"
    """A child that was stopped because a sibling failed or its parent was skipped."""
    TOLERATED = "tolerated"
    """A child that failed, and whose parent continues without it."""


class RefusedBy(StrEnum):
    """Who refuses a task that is ready; it is tried again for ``REJECT_AFTER`` seconds."""

    EXECUTOR = "executor"
    """Its message cannot be published."""
    WORKER = "worker"
    """The worker that got it does not know its program."""


CHOICES = [(status.value, status.label) for status in Status]
"""For a Django model field."""

IGNORED_BY = [(reason.value, reason.value) for reason in IgnoredBy]
"""For a Django model field."""

REFUSED_BY = [(who.value, who.value) for who in RefusedBy]
"""For a Django model field."""

PASSES_ON = frozenset({IgnoredBy.SKIP, IgnoredBy.CONDITION, IgnoredBy.ENTRANCE})
"""A task that is Ignore for one of these has no output of its own: its input takes that place."""

OPEN = frozenset({Status.WAIT, Status.RUNNING, Status.SUSPEND})
"""Something can still happen to it."""

ACTIVE = frozenset({Status.WAIT, Status.RUNNING})
"""It continues by itself."""

SATISFIED = frozenset({Status.FINISH, Status.IGNORE})
"""Its dependents are released; ``finished_ts`` is set exactly in these, once an inserted row is adopted."""

LOWEST_PRIORITY, HIGHEST_PRIORITY = 19, -20
"""Bounds of a nice value: the lower the number, the sooner a task runs."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What a guarded method does to a task."""

    source: frozenset[Status]
    """Statuses it may start from; in any other nothing changes."""
    target: Status | None
    """Status it ends in; None leaves the status as it is."""


def _verb(*source: Status, to: Status | None) -> Transition:
    return Transition(frozenset(source), to)


TRANSITIONS: dict[str, Transition] = {
    "claim": _verb(Status.WAIT, to=Status.RUNNING),
    "finish": _verb(Status.RUNNING, to=Status.FINISH),
    "ignore": _verb(Status.RUNNING, to=Status.IGNORE),
    "retry": _verb(Status.RUNNING, to=Status.WAIT),
    "park": _verb(Status.RUNNING, to=Status.WAIT),
    "wake": _verb(Status.WAIT, to=Status.WAIT),
    "complete_parked": _verb(Status.WAIT, to=Status.FINISH),
    "finish_gate": _verb(Status.WAIT, to=Status.FINISH),
    "ignore_gate": _verb(Status.WAIT, to=Status.IGNORE),
    "ignore_subflow": _verb(Status.WAIT, to=Status.IGNORE),
    "begin_wait": _verb(Status.WAIT, to=Status.WAIT),
    "finish_waits": _verb(Status.WAIT, to=Status.FINISH),
    "offer": _verb(Status.WAIT, to=Status.WAIT),
    "end_remote": _verb(Status.WAIT, to=Status.FINISH),
    "fail_remote": _verb(Status.WAIT, to=Status.SUSPEND),
    "tolerate_remote": _verb(Status.WAIT, to=Status.IGNORE),
    "claim_remote": _verb(Status.WAIT, to=Status.RUNNING),
    "prolong": _verb(Status.RUNNING, to=None),
    "rescue_remote": _verb(Status.RUNNING, to=Status.WAIT),
    "fail": _verb(Status.RUNNING, to=Status.SUSPEND),
    "tolerate_failure": _verb(Status.RUNNING, to=Status.IGNORE),
    "await_children": _verb(Status.RUNNING, to=Status.WAIT),
    "give_up": _verb(Status.WAIT, to=Status.SUSPEND),
    "reopen": _verb(Status.FINISH, Status.SUSPEND, Status.IGNORE, to=Status.WAIT),
    "adopt": _verb(Status.WAIT, Status.SUSPEND, to=Status.WAIT),
    "adopt_ended": _verb(Status.FINISH, Status.IGNORE, to=None),
    "refuse_adoption": _verb(Status.WAIT, Status.SUSPEND, to=Status.SUSPEND),
    "observe": _verb(Status.RUNNING, Status.SUSPEND, to=None),
    "rescue": _verb(Status.RUNNING, to=Status.WAIT),
    "refuse": _verb(Status.WAIT, to=Status.WAIT),
    "refuse_attempt": _verb(Status.RUNNING, to=Status.WAIT),
    "reject": _verb(Status.WAIT, to=Status.SUSPEND),
    "tolerate_rejection": _verb(Status.WAIT, to=Status.IGNORE),
    "hand_back": _verb(Status.RUNNING, to=Status.WAIT),
    "skip": _verb(Status.WAIT, Status.SUSPEND, to=Status.IGNORE),
    "cancel": _verb(Status.WAIT, Status.RUNNING, Status.SUSPEND, to=Status.IGNORE),
    "change": _verb(Status.WAIT, Status.SUSPEND, to=None),
    "rerun": _verb(Status.WAIT, Status.FINISH, Status.SUSPEND, Status.IGNORE, to=Status.WAIT),
}
"""Guarded method → the statuses from which it moves a task, and to which.

``wake``, ``complete_parked`` and those of gates need a parked task, ``give_up`` one that is parked for its children or
a gate, ``reopen`` one with children, ``adopt``, ``adopt_ended``, ``refuse_adoption`` and ``observe`` a row without a
program, ``begin_wait`` a wait that is ready, ``finish_waits`` one that has begun, ``reject`` and
``tolerate_rejection`` one that is refused, ``offer``, ``end_remote``, ``fail_remote``, ``tolerate_remote``,
``claim_remote``, ``prolong`` and ``rescue_remote`` a remote task. ``ignore``, ``finish_gate`` and ``ignore_gate`` are
what ``finish`` does with such a ``Success``.
"""


def allows(verb: str, status: int) -> bool:
    """Whether the guarded method ``verb`` may change a task in ``status``."""
    return status in TRANSITIONS[verb].source


def clamp_priority(value: int) -> int:
    """The nearest priority in −20…19."""
    return max(HIGHEST_PRIORITY, min(LOWEST_PRIORITY, value))
