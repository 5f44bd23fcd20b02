"""Methods of workflow classes: ``@task`` and its options, and ``@NAME.child`` for the children of a task."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, overload

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic import ValidationError as OptionsError

from flowerapp.core.caching import CacheScope, Caching, caching_of
from flowerapp.registry import CONTEXT

Function = Callable[..., Any]


def _as_tuple(value: Any) -> Any:
    """A single name or exception as a tuple of one."""
    return (value,) if isinstance(value, (str, type)) else value


def _as_stored(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as the database returns them (tuples become lists); the plan checks the rest."""
    try:
        return dict(json.loads(json.dumps(parameters)))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def _as_caching(value: Any) -> Any:
    """What ``cache`` means."""
    return None if value is None else caching_of(value)


Names = Annotated[tuple[StrictStr, ...], BeforeValidator(_as_tuple)]
Errors = Annotated[tuple[type[BaseException], ...], BeforeValidator(_as_tuple)]


class Options(BaseModel):
    """The options of ``@task``; a name or exception may stand alone where a tuple is expected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    next: Names | None = None
    """Names of the tasks that follow this task; ``all_over`` means none."""
    depends_on: Names | None = None
    """Names of the tasks that this task waits for."""

    priority: StrictInt = 0
    """−20…19; lower runs first."""
    queue: StrictStr = ""
    """Name of the queue; if empty, Celery's routing of the program decides."""
    pool: StrictStr = ""
    """Name of the pool whose slots the task occupies; empty for none."""
    parameters: Annotated[dict[str, Any], AfterValidator(_as_stored)] = Field(default_factory=dict)
    """Values of the method's parameters besides ``ctx``, as JSON values."""
    required_at_register: Names = ()
    """Names of the method's parameters that each registration gives, in place of ``parameters``."""
    overridable: Names = ()
    """Names of the method's parameters that users who may not edit workflows may override although the task holds
    masked values."""
    max_retries: StrictInt | None = None
    """Retries after the first start (3 means 4 starts) on any exception, or on those of ``autoretry_for``; None means
    3, on those of ``autoretry_for`` alone."""
    retry_delay: StrictInt | None = None
    """Seconds before each retry; None means 180, or the delays of ``retry_backoff``."""
    time_limit: StrictInt | None = None
    """Seconds after which an attempt of the task or of a child is killed; None means no limit."""
    max_concurrency: StrictInt | None = None
    """Most children that run at once; None means one for each worker process."""
    exit_on_failed: StrictBool = True
    """Whether a failed child fails the task and stops its siblings; if not, the task continues without it."""
    merge: StrictBool = False
    """Whether the task's input is one object that merges the outputs of its dependencies, all of them objects."""
    when: StrictStr = ""
    """Condition over the task's input, such as ``input.count > 0``; where it is false, the task is skipped."""
    cache: Annotated[Caching | None, BeforeValidator(_as_caching)] = None
    """For how long the output is kept for other tasks, in seconds or as a timedelta, or ``(key, lifetime)``: the key is
    an expression over ``input`` and the parameters, by default the whole input."""
    cache_scope: CacheScope = CacheScope.WORKFLOW
    """``workflow`` or ``global``: whether the output is kept for the tasks of its workflow, or for those of all."""

    autoretry_for: Errors = ()
    """Exceptions that lead to a retry; this option and those below hold for the task and its children."""
    dont_autoretry_for: Errors = ()
    """Exceptions that do not, though ``autoretry_for`` covers them."""
    retry_backoff: StrictBool | float = False
    """The first delay in seconds (True means 1); the delay doubles with each further retry."""
    retry_backoff_max: float = 600
    """Longest delay with ``retry_backoff``, in seconds."""
    retry_jitter: StrictBool = True
    """Whether ``retry_backoff`` waits a random time between 0 and the delay."""
    soft_time_limit: StrictInt | None = None
    """Seconds after which SoftTimeLimitExceeded is raised in the method; None means no limit."""

    @property
    def of_step(self) -> dict[str, Any]:
        """The options stored with the step, as fields of ``core.plan.Node``."""
        caching = {} if self.cache is None else {"cache_key": self.cache.key, "cache_seconds": self.cache.seconds}
        return {name: getattr(self, name) for name in _OF_STEP} | caching | {"cache_scope": self.cache_scope.value}

    @property
    def of_program(self) -> dict[str, Any]:
        """The options registered with the program, as fields of ``registry.Program``."""
        return {name: getattr(self, name) for name in _OF_PROGRAM}


_OF_STEP = (
    "priority",
    "queue",
    "pool",
    "parameters",
    "required_at_register",
    "overridable",
    "max_retries",
    "retry_delay",
    "time_limit",
    "max_concurrency",
    "exit_on_failed",
    "merge",
    "when",
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
    """A method that a worker runs as a program; on an instance it is the plain method, so that tests can call it."""

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
        """On the class this descriptor, on an instance the bound method."""
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
        """As in ``Method``."""
        return super().__get__(instance, owner)

    def child(self, function: Function) -> Method:
        """Decorator for the method that runs each child of this task: ``@split.child`` for the task ``split``.

        Raises TypeError for a second one.
        """
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
    """Decorator that makes a method a task of its workflow: ``@task``, or ``@task(next="report", max_retries=2, …)``.

    The options are the fields of ``Options``. Raises TypeError for an unknown option or one of a wrong type.
    """
    if function is not None:
        return TaskMethod(function, Options())
    return lambda function: TaskMethod(function, _options(function, options))


def _options(function: Function, options: Mapping[str, Any]) -> Options:
    try:
        return Options(**options)
    except OptionsError as error:
        sentences = [_sentence(details) for details in error.errors(include_url=False)]
        raise TypeError(f"{_name(function)}: {'; '.join(sentences)}") from None


def _sentence(error: Any) -> str:
    option = error["loc"][0]
    if error["type"] == "extra_forbidden":
        return f"@task has no option {option!r}; it takes {', '.join(Options.model_fields)}"
    return f"option {option}: {error['msg']}, got {error['input']!r}"


def _check_signature(function: Function) -> None:
    """Raise TypeError unless a worker can call the function as a method."""
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"{_name(function)} must be a plain method (def NAME(self, ctx)) to be a task or a child")
    if next(iter(inspect.signature(function).parameters), CONTEXT) == CONTEXT:
        raise TypeError(f"{_name(function)} lacks self; write def {function.__name__}(self, {CONTEXT})")


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
