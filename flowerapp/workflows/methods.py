"""Methods of workflow classes: which of them are tasks, with what options, and which run for a task's children."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, overload

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic import ValidationError as OptionsError

from flowerapp.registry import CONTEXT

Function = Callable[..., Any]


def _listed(given: Any) -> Any:
    """A single one as a tuple of one."""
    return (given,) if isinstance(given, (str, type)) else given


def _stored(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as the database will give them back; the plan tells what else is wrong with them."""
    try:
        return dict(json.loads(json.dumps(parameters)))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


Names = Annotated[tuple[StrictStr, ...], BeforeValidator(_listed)]
Errors = Annotated[tuple[type[BaseException], ...], BeforeValidator(_listed)]


class Options(BaseModel):
    """What ``@task`` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    next: Names | None = None
    """Names of the tasks that follow; ``all_over`` is the end."""
    depends_on: Names | None = None
    """Names of the tasks it waits for."""

    priority: StrictInt = 0
    """−20…19, lower first."""
    queue: StrictStr = ""
    pool: StrictStr = ""
    """Pool whose slots its tasks share."""
    parameters: Annotated[dict[str, Any], AfterValidator(_stored)] = Field(default_factory=dict)
    """Values of the method's parameters besides ``ctx``; JSON."""
    max_retries: StrictInt | None = None
    """Starts again after the first (3 means 4 starts), on any error where ``autoretry_for`` is empty."""
    retry_delay: StrictInt | None = None
    """Seconds before each retry."""
    time_limit: StrictInt | None = None
    """Seconds after which an attempt, also of a child, is killed."""
    max_concurrency: StrictInt | None = None
    """Children at once; None for as many as there are worker processes."""
    exit_on_failed: StrictBool = True
    """Whether a failed child fails the task and stops its siblings, or is passed over."""
    merge: StrictBool = False
    """Whether its input is one object made of the objects that several tasks before it returned."""

    autoretry_for: Errors = ()
    """Exceptions that lead to a retry; these and what follows hold for the task and its children."""
    dont_autoretry_for: Errors = ()
    """Exceptions of ``autoretry_for`` that don't."""
    retry_backoff: StrictBool | float = False
    """True, or the first delay in seconds: each retry waits twice as long as the one before."""
    retry_backoff_max: float = 600
    """Longest backoff in seconds."""
    retry_jitter: StrictBool = True
    """Take a random delay between 0 and the backoff."""
    soft_time_limit: StrictInt | None = None
    """Seconds after which SoftTimeLimitExceeded is raised in the method."""

    @property
    def of_step(self) -> dict[str, Any]:
        """Those that are kept with the step, by the names of ``plan.Node``."""
        return {name: getattr(self, name) for name in _OF_STEP}

    @property
    def of_program(self) -> dict[str, Any]:
        """Those that are kept with the program, by the names of ``registry.Program``."""
        return {name: getattr(self, name) for name in _OF_PROGRAM}


_OF_STEP = (
    "priority",
    "queue",
    "pool",
    "parameters",
    "max_retries",
    "retry_delay",
    "time_limit",
    "max_concurrency",
    "exit_on_failed",
    "merge",
)
_OF_PROGRAM = (
    "autoretry_for",
    "dont_autoretry_for",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
    "soft_time_limit",
)


class Method:
    """A method that runs as a program; on an instance it is the plain method."""

    def __init__(self, function: Function) -> None:
        _check_signature(function)
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Method: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Function: ...
    def __get__(self, instance: object | None, owner: type) -> Method | Function:
        """The method itself of the class, the bound function of an instance."""
        return self if instance is None else self.function.__get__(instance, owner)


class TaskMethod(Method):
    """A method that is a task of its workflow."""

    def __init__(self, function: Function, options: Options) -> None:
        super().__init__(function)
        self.options = options
        self.child_method: Method | None = None

    @overload
    def __get__(self, instance: None, owner: type) -> TaskMethod: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Function: ...
    def __get__(self, instance: object | None, owner: type) -> Method | Function:
        """As of any method."""
        return super().__get__(instance, owner)

    def child(self, function: Function) -> Method:
        """Let a method run for each child that this task adds: ``@split.child``. Raises TypeError for a second one."""
        if self.child_method is not None:
            names = f"{self.child_method.function.__qualname__} and {_name(function)}"
            raise TypeError(f"{_name(self.function)} has two child methods, {names}; keep one")
        self.child_method = Method(function)
        return self.child_method


@overload
def task(function: Function, /) -> TaskMethod: ...
@overload
def task(**options: Any) -> Callable[[Function], TaskMethod]: ...
def task(function: Function | None = None, /, **options: Any) -> Any:
    """Make a method a task of its workflow: ``@task``, or ``@task(next="report", max_retries=2, …)``.

    The options are the fields of ``Options``. Raises TypeError for an option that there is not, or of a wrong type.
    """
    if function is not None:
        return TaskMethod(function, Options())
    return lambda function: TaskMethod(function, _options(function, options))


def _options(function: Function, given: Mapping[str, Any]) -> Options:
    try:
        return Options(**given)
    except OptionsError as error:
        sentences = [_sentence(each) for each in error.errors(include_url=False)]
        raise TypeError(f"{_name(function)}: {'; '.join(sentences)}") from None


def _sentence(error: Any) -> str:
    option = error["loc"][0]
    if error["type"] == "extra_forbidden":
        return f"@task has no option {option!r}; it takes {', '.join(Options.model_fields)}"
    return f"option {option}: {error['msg']}, got {error['input']!r}"


def _check_signature(function: Function) -> None:
    """Raise TypeError for what cannot be a method that a worker calls."""
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"{_name(function)} must be a plain method (def NAME(self, ctx)) to be a task or a child")
    if next(iter(inspect.signature(function).parameters), CONTEXT) == CONTEXT:
        raise TypeError(f"{_name(function)} lacks self; write def {function.__name__}(self, {CONTEXT})")


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
