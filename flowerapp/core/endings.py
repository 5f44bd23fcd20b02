"""How an attempt ended without a success, for those who look from outside: logs, error trackers, monitors."""

from __future__ import annotations

import logging
import pickle
import traceback as tracebacks
from dataclasses import dataclass
from typing import Any

from flowerapp.core import logs
from flowerapp.core.messages import TaskRef
from flowerapp.exceptions import AttemptError

logger = logs.logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An attempt that ended by an error, or whose process was lost. It can be sent to another process."""

    ref: TaskRef
    program: str
    attempt: int
    error: BaseException
    message: str
    """The error as it is stored on the task."""
    delay: float | None
    """Seconds until the task is started again; None where it has failed for good."""

    @property
    def retried(self) -> bool:
        """Whether the task is started again."""
        return self.delay is not None

    def log(self, *, expected: bool = False) -> None:
        """Write a line with the traceback: an error where the task has failed, a warning where it is started again.

        One that the program's author has ``expected`` is for information, and without the traceback.
        """
        level = logging.INFO if expected else logging.WARNING if self.retried else logging.ERROR
        what = "is started again" if self.retried else "failed"
        facts = {"flow": self.ref.flow_id, "seq": self.ref.seq, "program": self.program, "attempt": self.attempt}
        exc_info = None if expected else (type(self.error), self.error, self.error.__traceback__)
        template = "flow %s task %s (program %s, attempt %s) %s: %s"
        logger.log(level, template, *facts.values(), what, self.message, exc_info=exc_info, extra=facts)

    def __reduce__(self) -> Any:
        """An error loses its traceback on the way to another process, so its text travels along."""
        text = "".join(tracebacks.format_exception(self.error))
        facts = {"ref": tuple(self.ref), "program": self.program, "attempt": self.attempt, "message": self.message}
        return _restored, (facts, _portable(self.error, self.message), text, self.delay)


class _RemoteTraceback(Exception):  # noqa: N818 - the traceback of another process, shown as the cause of its error
    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _portable(error: BaseException, message: str) -> BaseException:
    """The error itself, or one with its message where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        return AttemptError(message)
    return error


def _restored(facts: dict[str, Any], error: BaseException, text: str, delay: float | None) -> Ending:
    error.__cause__ = _RemoteTraceback(text)
    return Ending(**{**facts, "ref": TaskRef(*facts["ref"])}, error=error, delay=delay)
