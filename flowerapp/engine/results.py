"""The ways in which an attempt can end, and what the database took of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowerapp.core.endings import Ending
from flowerapp.core.masking import NO_SECRETS, Secrets
from flowerapp.core.messages import Message, TaskRef
from flowerapp.engine.children import Child
from flowerapp.querysets import Completion


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The program returned."""

    output: str
    """JSON text."""
    keep: bool = False
    """Whether it is stored in the output cache."""


@dataclass(frozen=True, slots=True)
class Cached:
    """An output that another task has stored was taken, so the program was not called."""

    output: str
    """JSON text."""
    source: TaskRef
    """The task that stored it."""


@dataclass(frozen=True, slots=True)
class Awaiting:
    """Another task is about to store the output, so this one waits without a worker."""

    digest: str
    """Of the entry of the output cache."""
    source: TaskRef
    """The task that fills it."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The condition of the task is false, so its program was not called."""

    output: str | None
    """JSON text of its input; None where that is read from the task before it."""


@dataclass(frozen=True, slots=True)
class WithChildren:
    """The program returned, and has added children: they come first."""

    children: Sequence[Child]


@dataclass(frozen=True, slots=True)
class Parked:
    """The program waits without a worker."""

    seconds: float | None
    """None until it is woken."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Errored:
    """The program ended by an error, or was killed."""

    error: BaseException
    message: str
    traceback: str
    timed_out: bool
    delay: float | None
    """Seconds until the next start; None where no retry is left."""
    secrets: Secrets = NO_SECRETS
    """Of what the program was given, beside those that the task's row has."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The process was asked to stop, so another one may start the task."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The worker does not know the program, which another worker may."""

    reason: str


Result = Succeeded | Cached | Awaiting | Ignored | WithChildren | Parked | Errored | Interrupted | Refused


@dataclass(frozen=True, slots=True)
class Recorded:
    """A result as the database took it."""

    completion: Completion | None
    """What it led to; None where the attempt is no longer the one that runs, or was recorded before."""
    satisfied: bool = False
    """The task is Finish, or skipped."""
    messages: tuple[Message, ...] = ()
    """Further messages to send."""
    ending: Ending | None = None
    """What is to be reported; None if the attempt did not end by an error."""

    @property
    def followed(self) -> bool:
        """Whether the next deferred task takes the place of this one: the attempt was no success, and its task is not
        sent again.

        A finish takes the next deferred task by itself.
        """
        return self.completion is not None and not self.satisfied and not self.messages


LATE = Recorded(None)
"""The attempt is no longer the one that runs: nothing was written."""
