"""The registry of programs: the Python callables that tasks run, by name."""

from __future__ import annotations

import difflib
import inspect
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from flowerapp import values
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, Problem, RetryTask, UnknownProgramError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Function = TypeVar("Function", bound=Callable[..., Any])
Parameters = Mapping[str, Any]

_PREFIX = "p_"
"""Before the names of a model's fields, so that a parameter may have any name that Python allows."""


def _bare(field: str) -> str:
    return field.removeprefix(_PREFIX)


CONTEXT = "ctx"
"""A program's parameter of this name receives the context instead of a value from the row."""


class Context(Protocol):
    """What a program with a parameter ``ctx`` receives."""

    @property
    def flow_id(self) -> str:
        """``task_flow_id``."""

    @property
    def task_id(self) -> str:
        """Name of the workflow."""

    @property
    def seq(self) -> int:
        """``task_exec_seq``."""

    @property
    def task_seq(self) -> int:
        """``task_seq``."""

    @property
    def attempt(self) -> int:
        """Starts of this task so far, this one included."""

    @property
    def retries(self) -> int:
        """Retries since it was registered or rerun."""

    @property
    def input(self) -> Any:
        """The flow's input, or what the tasks before it returned."""

    @property
    def idempotency_key(self) -> str:
        """``flow:seq:run``: the same for every attempt that does the same piece of work."""

    @property
    def cancelled(self) -> bool:
        """Whether the outcome of this attempt is no longer wanted; asks the database."""

    def output_of(self, step: int | str) -> Any:
        """Output of a satisfied task of the same flow, by ``task_seq``, name or program; KeyError if there is none."""

    @property
    def state(self) -> dict[str, Any]:
        """The object that the flow's programs share, as it is now; a copy."""

    def change_state(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
        """Change the shared object: ``change`` gets a copy, and changes it or returns another; what was stored.

        It is called again when somebody else was quicker.
        """

    @property
    def child_id(self) -> Any:
        """What a child's parent calls it; None for a step."""

    def add_children(self, items: Iterable[Any]) -> None:
        """Let the step's child program run for each of ``items``, or for each id of pairs ``(id, item)`` or of a dict.

        A child's ``input`` is its item, or with ids the list of the items under its id. They are written when the
        program has succeeded, and the output of the task is the list of theirs, in order. Raises FlowerError where
        the step has no child program, and InvalidValueError beyond ``MAX_CHILDREN`` or for what is not JSON.
        """

    def log(self, message: str) -> None:
        """Write a line to the task's log."""

    def progress(self, done: int, total: int) -> None:
        """Tell how far the task is: ``done`` of ``total``."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A registered callable with its retry policy and limits; names and meanings are Celery's."""

    name: str
    function: Callable[..., Any] = field(repr=False)
    autoretry_for: tuple[type[BaseException], ...] = ()
    """Exceptions that lead to a retry."""
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    """Exceptions of ``autoretry_for`` that don't."""
    max_retries: int | None = 3
    """Retries after the first start (3 means 4 starts); None has no limit."""
    default_retry_delay: float = 180
    """Seconds before a retry without backoff."""
    retry_backoff: bool | float = False
    """True, or the first delay in seconds: each retry waits twice as long as the one before."""
    retry_backoff_max: float = 600
    """Longest backoff in seconds."""
    retry_jitter: bool = True
    """Take a random delay between 0 and the backoff."""
    time_limit: int | None = None
    """Seconds after which the process is killed."""
    soft_time_limit: int | None = None
    """Seconds after which SoftTimeLimitExceeded is raised in the program."""
    queue: str = ""
    """Queue of tasks whose definition names none."""

    @property
    def description(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.function)

    @cached_property
    def wants_context(self) -> bool:
        """Whether it has a parameter ``ctx``."""
        return CONTEXT in self.signature.parameters

    @cached_property
    def model(self) -> type[BaseModel]:
        """Pydantic model of the parameters."""
        try:
            hints = get_type_hints(self.function, include_extras=True)
        except (NameError, TypeError):
            hints = {}
        fields: dict[str, Any] = {}
        extra = "forbid"
        for name, parameter in self.signature.parameters.items():
            if name == CONTEXT or parameter.kind is parameter.VAR_POSITIONAL:
                continue
            if parameter.kind is parameter.VAR_KEYWORD:
                extra = "allow"
                continue
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[_PREFIX + name] = (hints.get(name, Any), default)
        config = ConfigDict(extra=extra, arbitrary_types_allowed=True, protected_namespaces=(), alias_generator=_bare)  # type: ignore[typeddict-item]
        return create_model(self.name, __config__=config, **fields)

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """Parameters by the names that rows use."""
        return {info.alias or name: info for name, info in self.model.model_fields.items()}

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters, for forms and the API; an open one where the function's types have none."""
        try:
            return dict(values.check(self.model.model_json_schema(by_alias=True)))
        except (InvalidValueError, ValueError, TypeError, RuntimeError):
            return {"type": "object"}

    def parameter_problems(self, parameters: Parameters) -> list[tuple[str, str]]:
        """What is wrong with ``parameters``: pairs of key and sentence."""
        try:
            self._coerce(parameters)
        except ValidationError as error:
            return self._sentences(error)
        return []

    def _sentences(self, error: ValidationError) -> list[tuple[str, str]]:
        return [self._sentence(each) for each in error.errors(include_url=False)]

    def _sentence(self, error: Any) -> tuple[str, str]:
        key = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            taken = ", ".join(self.fields) or "none"
            return key, f"{self.name} has no such parameter; it takes: {taken}"
        if error["type"] == "missing":
            return key, f"{self.name} needs it"
        given = values.MASKED if values.secret(key) else _short(error["input"])
        return key, f"{error['msg']}, got {given}"

    def _coerce(self, parameters: Parameters) -> BaseModel:
        """Text from a row becomes what the signature asks for: by itself, or read as JSON."""
        try:
            return self.model.model_validate(dict(parameters))
        except ValidationError as error:
            wrong = {each["loc"][0] for each in error.errors() if each["loc"]}
            read = {key: _from_json(value) if key in wrong else value for key, value in parameters.items()}
            if read == dict(parameters):
                raise
            try:
                return self.model.model_validate(read)
            except ValidationError:
                raise error from None

    def call(self, parameters: Parameters, context: Context) -> Any:
        """Run the function; raises InvalidPlanError for parameters that don't fit, and what the function raises."""
        try:
            model = self._coerce(parameters)
        except ValidationError as error:
            problems = [Problem(f"parameter {key}: {message}") for key, message in self._sentences(error)]
            raise InvalidPlanError(problems) from None
        arguments = {_bare(name): getattr(model, name) for name in type(model).model_fields} | (model.model_extra or {})
        if self.wants_context:
            arguments[CONTEXT] = context
        each = self.signature.parameters.values()
        positional = [arguments.pop(one.name) for one in each if one.kind is one.POSITIONAL_ONLY]
        return self.function(*positional, **arguments)

    def retries_on(self, error: BaseException, *, limit_given: bool = False) -> bool:
        """Whether ``error`` leads to a retry while retries are left.

        ``limit_given`` tells that the definition sets ``max_retries``: then a program that lists no exceptions is
        retried on any.
        """
        if isinstance(error, RetryTask):
            return True
        if isinstance(error, self.dont_autoretry_for):
            return False
        listed = self.autoretry_for or ((Exception,) if limit_given else ())
        return isinstance(error, listed)

    def delay(self, retries: int) -> float:
        """Seconds before the retry that follows ``retries`` earlier ones, as Celery's ``autoretry_for`` counts them."""
        if not self.retry_backoff:
            return self.default_retry_delay
        factor = max(1, int(self.retry_backoff))
        delay = min(self.retry_backoff_max, factor * 2.0 ** min(retries, 60))
        return random.uniform(0, delay) if self.retry_jitter else delay  # noqa: S311 - spreads load, no secret


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


_programs: dict[str, Program] = {}


@dataclass(frozen=True)
class Source:
    """Programs that come from elsewhere, such as the host's Celery tasks."""

    get: Callable[[str], Program | None]
    names: Callable[[], Iterable[str]]


_sources: list[Source] = []


@overload
def program(name: Function, /) -> Function: ...
@overload
def program(name: str | None = None, /, **options: Any) -> Callable[[Function], Function]: ...
def program(name: Any = None, /, **options: Any) -> Any:
    """Register a function as a program: ``@program``, or ``@program("Name", max_retries=2, …)``.

    The options are the fields of ``Program``; without a name the function's is taken. The function stays
    callable as a function.
    """
    if callable(name):
        register(Program(name=name.__name__, function=name))
        return name

    def decorate(function: Function) -> Function:
        register(Program(name=name or function.__name__, function=function, **options))
        return function

    return decorate


def register(entry: Program) -> Program:
    """Add a program; ValueError if its name is taken by another function."""
    known = _programs.get(entry.name)
    if known is not None and _place(known.function) != _place(entry.function):
        places = f"{_place(known.function)} and {_place(entry.function)}"
        raise ValueError(f"program {entry.name!r} is registered twice: {places}")
    _programs[entry.name] = entry
    return entry


def _place(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


def get(name: str) -> Program:
    """The program of that name; raises UnknownProgramError that suggests the nearest names."""
    found = _programs.get(name) or next((each for source in _sources if (each := source.get(name))), None)
    if found is None:
        near = difflib.get_close_matches(name, _programs, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; see `flow programs`"
        raise UnknownProgramError(f"program {name!r} is not registered{hint}")
    return found


def registered() -> list[Program]:
    """The programs of this registry by name."""
    return [_programs[name] for name in sorted(_programs)]


def programs() -> list[Program]:
    """All programs, the registered ones first, each part by name."""
    elsewhere = (source.get(name) for source in _sources for name in source.names() if name not in _programs)
    return registered() + [each for each in elsewhere if each]


def add_source(source: Source) -> None:
    """Let ``source`` answer for names that are not registered here."""
    if source not in _sources:
        _sources.append(source)
