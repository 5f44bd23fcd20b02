"""One attempt of a host task: its body and the handlers of its base classes, in the order of Celery's tracer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import states
from celery._state import _task_stack  # type: ignore[attr-defined] # missing in the types
from celery.app.trace import task_has_custom
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore, Reject, Retry

from flowerapp import signals
from flowerapp.core import executor, logs
from flowerapp.core.masked_errors import masked_error
from flowerapp.engine.context import Context
from flowerapp.exceptions import InvalidValueError, ParkTask, RetryTask
from flowerapp.executors.celery import host_requests, host_values
from flowerapp.executors.celery.host_arguments import HostTaskError
from flowerapp.executors.celery.host_requests import Asked
from flowerapp.registry import Program

logger = logs.logger(__name__)


class HostRetry(RetryTask):
    """The Celery task asked for a retry."""

    def __init__(
        self,
        message: str | None = None,
        *,
        delay: float | None = None,
        reason: Exception | None = None,
        counted: bool = False,
    ) -> None:
        super().__init__(message, delay=delay)
        self.reason = reason
        """The task's own error, if it named one."""
        self.counted = counted
        """Whether Celery has compared the number of retries with the task's limit."""


class HostRun:
    """One attempt."""

    def __init__(self, program: Program, task: Any, context: Context, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.program = program
        self.task = task
        self.asked = Asked(context)
        self.request: Any = host_requests.request_of(task, self.asked, args, kwargs)
        self._silent = False
        """Whether Celery calls no handlers for the way in which it ends."""

    def output(self) -> Any:
        """Run the task; its result as JSON. Raises what ended the attempt otherwise."""
        with self._running():
            try:
                result = self._result()
                output = self._encoded(result)
            except signals.ERRORS as error:
                self._handle_error(error)
                raise
            if not self._silent:
                self._handle("on_success", result, *self._call)
                self._handle("after_return", states.SUCCESS, result, *self._call, None)
            return output

    @property
    def _call(self) -> tuple[Any, ...]:
        return self.request.id, self.request.args, self.request.kwargs

    @contextmanager
    def _running(self) -> Iterator[None]:
        _task_stack.push(self.task)
        self.task.request_stack.push(self.request)
        try:
            yield
        finally:
            self.task.request_stack.pop()
            _task_stack.pop()

    def _result(self) -> Any:
        """What the body returned, once what it asked for is answered."""
        result, error = None, None
        try:
            result = self._run_body()
        except signals.ERRORS as raised:
            error = raised
        if self.asked.refusal:
            raise HostTaskError(self.asked.refusal) from error
        if self.asked.retry is not None or isinstance(error, Retry):
            raise self._retry(error) from error
        if isinstance(error, Ignore):
            return self._ignored(error)
        if isinstance(error, Reject):
            raise self._rejected(error) from error
        if error is not None:
            raise error
        return result

    def _run_body(self) -> Any:
        task = self.task
        task.before_start(*self._call)
        body = task if task_has_custom(task, "__call__") else task.run
        return body(*self.request.args, **self.request.kwargs)

    def _retry(self, error: BaseException | None) -> BaseException:
        """The retry that was asked for, or the error that stands where the step allows no more retries."""
        reason = _reason(error)
        if self.asked.retry is not None:
            delay = host_requests.delay_of(self.asked.retry, self.task)
        else:
            delay = host_requests.seconds_until(getattr(error, "when", None), self.task)
        counted = self.asked.retry is not None
        retry = HostRetry(str(error or "Retry"), delay=delay, reason=reason, counted=counted)
        if self._next_delay(retry) is not None:
            return retry
        place = f"{self.task.name}[{self.request.id}]"
        return reason or self.task.MaxRetriesExceededError(f"Can't retry {place}: its step allows no more retries")

    def _next_delay(self, error: BaseException) -> float | None:
        claim = self.asked.context.claim
        overrides: dict[str, Any] = {"max_retries": claim.max_retries, "retry_delay": claim.retry_delay}
        return self.program.next_delay(error, claim.retries, **overrides)

    def _ignored(self, error: BaseException) -> Any:
        """What ``raise Ignore`` leaves: the state that the task has set before, as Celery does, else nothing."""
        self._silent = True
        state, meta = self.asked.state
        if state in (states.FAILURE, states.REVOKED):
            raise HostTaskError(f"{self.task.name} set the state {state}: {meta}") from error
        return meta if state == states.SUCCESS else None

    def _rejected(self, error: Any) -> HostTaskError:
        self._silent = True
        reason = f": {error.reason}" if error.reason else ""
        return HostTaskError(
            f"{self.task.name} raised Reject{reason}; a flow's task cannot go back to the broker: use self.retry, or "
            "raise an error"
        )

    def _encoded(self, result: Any) -> Any:
        """The result as JSON; None for one that is not JSON, where Celery would not have stored it."""
        what = f"output of program {self.program.name}"
        try:
            return host_values.encode(result, what)
        except InvalidValueError as error:
            if not (self.task.ignore_result or isinstance(self.task.backend, DisabledBackend)):
                raise
            logger.info("%s: stored as null, since Celery does not keep the task's results", error)
            return None

    def _handle_error(self, error: BaseException) -> None:
        if self._silent or isinstance(error, ParkTask) or executor.current().is_stopping():
            return
        if self._next_delay(error) is not None:
            reason = error.reason if isinstance(error, HostRetry) else error
            self._handle("on_retry", reason, *self._call, _einfo(error))
            return
        self._handle("on_failure", error, *self._call, _einfo(error))
        self._handle("after_return", states.FAILURE, error, *self._call, None)

    def _handle(self, name: str, *args: Any) -> None:
        """Call a handler of the task's classes; an error of it does not change how the attempt ended."""
        try:
            getattr(self.task, name)(*args)
        except Exception as error:
            shown = masked_error(error, self.asked.context.secrets)
            logger.error("%s of %s[%s] failed", name, self.task.name, self.request.id, exc_info=shown)


def _reason(error: BaseException | None) -> Exception | None:
    """The error for which a retry was asked: the original, where Celery holds a copy of it."""
    copy = getattr(error, "exc", None)
    original = getattr(error, "__context__", None)
    reason = original if copy is not None and type(original) is type(copy) else copy
    return reason if isinstance(reason, Exception) else None


def _einfo(error: BaseException) -> ExceptionInfo:
    return ExceptionInfo((type(error), error, error.__traceback__))
