"""Every error that flowerapp raises on purpose. A class's docstring is its default message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class FlowerError(Exception):
    """flowerapp could not do what was asked."""

    code = "error"
    """A stable word for programs that read errors."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class NotFoundError(FlowerError):
    """There is no such thing."""

    code = "not_found"


class UnknownWorkflowError(NotFoundError):
    """There is no such workflow."""

    code = "unknown_workflow"


class UnknownFlowError(NotFoundError):
    """There is no such flow."""

    code = "unknown_flow"


class UnknownTaskError(NotFoundError):
    """The flow has no such task."""

    code = "unknown_task"


class UnknownPoolError(NotFoundError):
    """There is no such pool."""

    code = "unknown_pool"


class UnknownProgramError(NotFoundError):
    """No program of that name is registered."""

    code = "unknown_program"


class InvalidError(FlowerError):
    """The input cannot be used."""

    code = "invalid"


class InvalidValueError(InvalidError):
    """The value is not strict JSON, or is too large."""

    code = "invalid_value"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a definition or its parameters."""

    message: str
    """A plain sentence that says what to do."""
    seq: int | None = None
    """``task_seq`` of the step at fault; None for the workflow as a whole."""
    field: str = ""
    """Field of the step at fault, as in ``ms_task_definition``; for a parameter, ``parameters.KEY``."""

    def __str__(self) -> str:
        place = f"step {self.seq}: " if self.seq is not None else ""
        return f"{place}{self.message}"


class InvalidPlanError(InvalidError):
    """The definition of the workflow is not usable."""

    code = "invalid_plan"

    def __init__(self, problems: Iterable[Problem], workflow: str = "") -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        where = f"workflow {workflow!r}: " if workflow else ""
        super().__init__(where + "; ".join(str(problem) for problem in self.problems))


class StateConflictError(FlowerError):
    """The state of the flow does not allow this now."""

    code = "conflict"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.details = details
        """JSON-ready facts for programs, such as the list of tasks in the way."""
        super().__init__(message)


class IdempotencyConflictError(StateConflictError):
    """This Idempotency-Key was used with a different request."""

    code = "idempotency_conflict"


class ContendedStateError(FlowerError):
    """Others keep changing the shared state of the flow."""

    code = "contended_state"


class RetryTask(FlowerError):  # noqa: N818 - an instruction, like Celery's Retry, not a fault
    """The program asks to be started again."""

    code = "retry"

    def __init__(self, message: str | None = None, *, delay: float | None = None) -> None:
        self.delay = None if delay is None else float(delay)
        """Seconds until the next start; None takes the program's policy."""
        super().__init__(message)


class ParkTask(FlowerError):  # noqa: N818 - an instruction too
    """The program waits for a time, an event or a person."""

    code = "park"

    def __init__(self, message: str | None = None, *, seconds: float | None = None) -> None:
        self.seconds = None if seconds is None else float(seconds)
        """Seconds after which the task is woken; None waits for ``engine.wake``."""
        super().__init__(message)


class TimeLimitError(FlowerError):
    """The program ran out of time."""

    code = "timeout"
