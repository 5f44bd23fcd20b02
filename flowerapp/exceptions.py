"""The exceptions of flowerapp. The docstring of a class is its default message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any


class FlowerError(Exception):
    """flowerapp could not carry out the request."""

    code = "error"
    """A stable word for programs that read error responses."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class NotFoundError(FlowerError):
    """The object does not exist."""

    code = "not_found"


class UnknownWorkflowError(NotFoundError):
    """The workflow does not exist."""

    code = "unknown_workflow"


class UnknownFlowError(NotFoundError):
    """The flow does not exist."""

    code = "unknown_flow"


class UnknownTaskError(NotFoundError):
    """The flow has no such task."""

    code = "unknown_task"


class UnknownPoolError(NotFoundError):
    """The pool does not exist."""

    code = "unknown_pool"


class UnknownApprovalError(NotFoundError):
    """The approval does not exist."""

    code = "unknown_approval"


class UnknownCacheEntryError(NotFoundError):
    """The output cache has no such entry."""

    code = "unknown_cache_entry"


class UnknownEventError(NotFoundError):
    """There is no such event."""

    code = "unknown_event"


class UnknownLatchError(NotFoundError):
    """No flow holds a latch of that name."""

    code = "unknown_latch"


class UnknownProgramError(NotFoundError):
    """No program of that name is registered."""

    code = "unknown_program"


class ForbiddenError(FlowerError):
    """The caller may not do this."""

    code = "forbidden"


class InvalidError(FlowerError):
    """The input cannot be used."""

    code = "invalid"


class InvalidValueError(InvalidError):
    """The value is not strict JSON, or is too large."""

    code = "invalid_value"


class InvalidArchiveError(InvalidError):
    """The archive cannot be restored."""

    code = "invalid_archive"


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in a definition or its parameters."""

    message: str
    """A plain sentence that says what is wrong and what to do."""
    seq: int | None = None
    """``task_seq`` of the step; None if the problem is the workflow's."""
    field: str = ""
    """The column of ``ms_task_definition`` or ``ms_workflow``; for a parameter, ``parameters.KEY``."""

    def __str__(self) -> str:
        place = f"step {self.seq}: " if self.seq is not None else ""
        return f"{place}{self.message}"


MOST_PROBLEMS = 100
"""Problems of a workflow that are looked for and reported at once."""


class InvalidPlanError(InvalidError):
    """The definition of the workflow is invalid."""

    code = "invalid_plan"

    def __init__(self, problems: Iterable[Problem], workflow: str = "") -> None:
        first = tuple(islice(problems, MOST_PROBLEMS + 1))
        self.problems: Sequence[Problem] = first[:MOST_PROBLEMS]
        """The problems, at most ``MOST_PROBLEMS``; the message joins their sentences."""
        where = f"workflow {workflow!r}: " if workflow else ""
        more = ["… and more"] if len(first) > MOST_PROBLEMS else []
        super().__init__(where + "; ".join([*map(str, self.problems), *more]))


@dataclass(frozen=True, slots=True)
class RefusedRegistration:
    """One item of a list of registrations that cannot be registered."""

    index: int
    """Its place in the list, from 0."""
    task_id: str
    """Name of the workflow, as far as the item names one."""
    error: FlowerError
    """Why."""


class RegistrationsRefusedError(InvalidError):
    """Nothing was registered, because items of the list are refused."""

    code = "registrations_refused"

    def __init__(self, refusals: Iterable[RefusedRegistration] = ()) -> None:
        self.refusals: Sequence[RefusedRegistration] = tuple(refusals)[:MOST_PROBLEMS]
        """The refused items, the first ``MOST_PROBLEMS``; the message names them by their places, from 0."""
        items = "; ".join(f"item {refused.index}: {refused.error}" for refused in self.refusals)
        super().__init__(items and f"nothing was registered; {items}")


class StateConflictError(FlowerError):
    """The current state of the flow does not allow this."""

    code = "conflict"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.details = details
        """JSON values for programs that read the error, such as the seqs of the tasks that prevent the change."""
        super().__init__(message)


class IdempotencyConflictError(StateConflictError):
    """This Idempotency-Key was used with a different request."""

    code = "idempotency_conflict"


class ContendedStateError(FlowerError):
    """Other processes keep changing the shared state of the flow."""

    code = "contended_state"


class WaitInTransactionError(FlowerError):
    """A flow cannot be waited for in a transaction."""

    code = "wait_in_transaction"


class RetryTask(FlowerError):  # noqa: N818 - a request to the engine, like Celery's Retry
    """The program asked for a retry."""

    code = "retry"

    def __init__(self, message: str | None = None, *, delay: float | None = None) -> None:
        self.delay = None if delay is None else float(delay)
        """Seconds until the next start; None means the delay of the program's policy."""
        super().__init__(message)


class ParkTask(FlowerError):  # noqa: N818 - a request too
    """The program asked to wait for a time, an event or a person."""

    code = "park"

    def __init__(self, message: str | None = None, *, seconds: float | None = None) -> None:
        self.seconds = None if seconds is None else float(seconds)
        """Seconds after which the task is woken; None means that only ``engine.wake`` wakes it."""
        super().__init__(message)


class AttemptError(FlowerError):
    """The attempt ended by an error."""

    code = "attempt"


class ConditionError(FlowerError):
    """The task's condition is neither true nor false."""

    code = "condition"


class ProcessLostError(FlowerError):
    """The process that ran the attempt was lost."""

    code = "process_lost"


class TimeLimitError(FlowerError):
    """The program ran out of time."""

    code = "timeout"
