"""The registry of programs: the Python callables that tasks run, by name, with their parameters and retry policy."""

from __future__ import annotations

import difflib
import inspect
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from flowerapp.core import values
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, Problem, RetryTask, UnknownProgramError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Function = TypeVar("Function", bound=Callable[..., Any])
Parameters = Mapping[str, Any]

_PREFIX = "p_"
"""Prefix of the names of a model's fields, because pydantic refuses some names that a parameter may have."""


def _bare(field: str) -> str:
    return field.removeprefix(_PREFIX)


CONTEXT = "ctx"
"""A parameter of this name receives the context instead of a value from the row."""


class Context(Protocol):
    """The object that a program receives as its parameter ``ctx``."""

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
        """Number of times this task was started, this start included; it never decreases."""

    @property
    def retries(self) -> int:
        """Number of retries since the task was registered or rerun."""

    @property
    def input(self) -> Any:
        """The flow's input if the task has no dependencies; else their outputs, combined by ``core.values.merge``."""

    @property
    def idempotency_key(self) -> str:
        """``flow:seq:run``: the same for all attempts between two reruns, for use with services that deduplicate."""

    @property
    def cancelled(self) -> bool:
        """Whether the engine would refuse the outcome of this attempt, say after a cancel; queries the database."""

    def output_of(self, step: int | str) -> Any:
        """The output of a satisfied task of this flow, by ``task_seq``, name or program; raises KeyError."""

    @property
    def state(self) -> dict[str, Any]:
        """A copy of the flow's shared state, as it is in the database now."""

    def change_state(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
        """Change the flow's shared state with compare-and-set; returns the state stored.

        ``change`` receives a copy of the state; it edits the copy and returns None, or returns a new object. If another
        process changed the state in between, ``change`` is called again; ContendedStateError after too many tries.
        """

    @property
    def child_id(self) -> Any:
        """The id that the parent gave this child in ``add_children``; None for a task that is not a child."""

    def add_children(self, items: Iterable[Any]) -> None:
        """Add children, which run the task's child program once this program has succeeded.

        ``items`` are JSON values, one child for each; or pairs ``(id, item)`` or a dict ``{id: item}``, one child for
        each id. A child's ``input`` is its item; with ids, the list of the items of its id. The output of the task
        becomes the list of the children's outputs, in order. Raises FlowerError if the step has no child program, and
        InvalidValueError for more than ``FLOWER["MAX_CHILDREN"]`` children or an item that is not JSON.
        """

    def log(self, message: str) -> None:
        """Add a line to the task's log."""

    def progress(self, done: int, total: int) -> None:
        """Record the progress of the task: ``done`` of ``total``, in units of the program's choice."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A registered callable with its retry policy and limits; the options have Celery's names and meanings."""

    name: str
    """The name in a definition's ``program``, and the name of the Celery task."""
    function: Callable[..., Any] = field(repr=False)
    """The callable; its signature defines the parameters."""
    autoretry_for: tuple[type[BaseException], ...] = ()
    """Exceptions that lead to a retry."""
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    """Exceptions that do not, though ``autoretry_for`` covers them."""
    max_retries: int | None = 3
    """Retries after the first start (3 means 4 starts); None means no limit."""
    default_retry_delay: float = 180
    """Seconds before a retry, unless ``retry_backoff`` is set."""
    retry_backoff: bool | float = False
    """The first delay in seconds (True means 1); the delay doubles with each further retry."""
    retry_backoff_max: float = 600
    """Longest delay with ``retry_backoff``, in seconds."""
    retry_jitter: bool = True
    """Whether ``retry_backoff`` waits a random time between 0 and the delay."""
    time_limit: int | None = None
    """Seconds after which the process is killed; None means no limit."""
    soft_time_limit: int | None = None
    """Seconds after which SoftTimeLimitExceeded is raised in the program; None means no limit."""
    queue: str = ""
    """Queue of the tasks whose definition names no queue."""

    @property
    def description(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.function)

    @cached_property
    def has_context(self) -> bool:
        """Whether the function has a parameter ``ctx``."""
        return CONTEXT in self.signature.parameters

    @cached_property
    def model(self) -> type[BaseModel]:
        """A pydantic model whose fields are the function's parameters, ``ctx`` left out."""
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
        """``{name in a row: field of the model}``; a pydantic alias is the name in a row."""
        return {info.alias or name: info for name, info in self.model.model_fields.items()}

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters, for forms and the API; an open schema if the function's types have none."""
        try:
            return dict(values.check(self.model.model_json_schema(by_alias=True)))
        except (InvalidValueError, ValueError, TypeError, RuntimeError):
            return {"type": "object"}

    def parameter_problems(self, parameters: Parameters) -> list[tuple[str, str]]:
        """The errors in ``parameters``: pairs of a key and a sentence."""
        try:
            self._coerce(parameters)
        except ValidationError as error:
            return self._sentences(error)
        return []

    def _sentences(self, error: ValidationError) -> list[tuple[str, str]]:
        return [self._sentence(details) for details in error.errors(include_url=False)]

    def _sentence(self, error: Any) -> tuple[str, str]:
        key = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            names = ", ".join(self.fields) or "none"
            return key, f"{self.name} has no such parameter; it takes: {names}"
        if error["type"] == "missing":
            return key, f"{self.name} needs it"
        value = values.MASKED if values.secret(key) else _short(error["input"])
        return key, f"{error['msg']}, got {value}"

    def _coerce(self, parameters: Parameters) -> BaseModel:
        """Convert ``parameters`` to the types of the signature; text that does not fit as it is, is parsed as JSON."""
        try:
            return self.model.model_validate(dict(parameters))
        except ValidationError as error:
            invalid = {details["loc"][0] for details in error.errors() if details["loc"]}
            parsed = {key: _from_json(value) if key in invalid else value for key, value in parameters.items()}
            if parsed == dict(parameters):
                raise
            try:
                return self.model.model_validate(parsed)
            except ValidationError:
                raise error from None

    def call(self, parameters: Parameters, context: Context) -> Any:
        """Call the function and return its result.

        ``parameters`` are those of the row, converted to the types of the signature; InvalidPlanError if they do not
        fit. An exception of the function passes through.
        """
        try:
            model = self._coerce(parameters)
        except ValidationError as error:
            problems = [Problem(f"parameter {key}: {message}") for key, message in self._sentences(error)]
            raise InvalidPlanError(problems) from None
        arguments = {_bare(name): getattr(model, name) for name in type(model).model_fields} | (model.model_extra or {})
        if self.has_context:
            arguments[CONTEXT] = context
        declared = self.signature.parameters.values()
        positional = [arguments.pop(item.name) for item in declared if item.kind is item.POSITIONAL_ONLY]
        return self.function(*positional, **arguments)

    def retries_on(self, error: BaseException, *, limit_given: bool = False) -> bool:
        """Whether ``error`` leads to a retry, as long as the task has retries left.

        ``limit_given`` is true if the definition sets ``max_retries``; a program without ``autoretry_for`` is then
        retried on any exception.
        """
        if isinstance(error, RetryTask):
            return True
        if isinstance(error, self.dont_autoretry_for):
            return False
        listed = self.autoretry_for or ((Exception,) if limit_given else ())
        return isinstance(error, listed)

    def delay(self, retries: int) -> float:
        """Seconds before the next retry, after ``retries`` earlier ones, by the formula of Celery's autoretry."""
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
    """A further source of programs, such as the host's Celery tasks; registered programs take precedence."""

    get: Callable[[str], Program | None]
    """The program of a name; None if this source has none."""
    names: Callable[[], Iterable[str]]
    """The names of all its programs."""


_sources: list[Source] = []


@overload
def program(name: Function, /) -> Function: ...
@overload
def program(name: str | None = None, /, **options: Any) -> Callable[[Function], Function]: ...
def program(name: Any = None, /, **options: Any) -> Any:
    """Decorator that registers a function as a program: ``@program``, or ``@program("Name", max_retries=2, …)``.

    The name defaults to the function's; the options are the fields of ``Program``. The function itself is returned, so
    it stays callable. Raises ValueError if another function has the name.
    """
    if callable(name):
        register(Program(name=name.__name__, function=name))
        return name

    def decorate(function: Function) -> Function:
        register(Program(name=name or function.__name__, function=function, **options))
        return function

    return decorate


def register(entry: Program) -> Program:
    """Add a program and return it; raises ValueError if another function has its name."""
    existing = _programs.get(entry.name)
    if existing is not None and _import_path(existing.function) != _import_path(entry.function):
        paths = f"{_import_path(existing.function)} and {_import_path(entry.function)}"
        raise ValueError(f"program {entry.name!r} is registered twice: {paths}")
    _programs[entry.name] = entry
    return entry


def _import_path(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


def find(name: str) -> Program | None:
    """The program of that name, from the registry or a further source; None if there is none."""
    return _programs.get(name) or next((entry for source in _sources if (entry := source.get(name))), None)


def get(name: str) -> Program:
    """The program of that name; raises UnknownProgramError, which suggests similar names."""
    entry = find(name)
    if entry is None:
        similar = difflib.get_close_matches(name, _programs, n=3)
        hint = f"; did you mean {' or '.join(similar)}?" if similar else "; see `flow programs`"
        raise UnknownProgramError(f"program {name!r} is not registered{hint}")
    return entry


def problems_of(name: str, parameters: Any) -> Iterator[tuple[str, str]]:
    """The problems of calling the program of that name with ``parameters``: pairs of field and sentence.

    The field is ``program``, ``parameters``, or ``parameters.KEY``.
    """
    try:
        program = get(name)
    except UnknownProgramError as error:
        yield "program", str(error)
        return
    if not isinstance(parameters, Mapping):
        yield "parameters", "parameters must be a JSON object"
        return
    for key, message in program.parameter_problems(parameters):
        yield f"parameters.{key}", f"parameter {key}: {message}" if key else message
    try:
        values.dumps(dict(parameters), "parameters")
    except InvalidValueError as error:
        yield "parameters", str(error)


def problems_of_child(name: str) -> Iterator[str]:
    """The problems of calling the program of that name for a child, with the context as its only argument."""
    for place, message in problems_of(name, {}):
        advice = "" if place == "program" else "; a child gets its item as ctx.input, so give it a default"
        yield message + advice


def registered() -> list[Program]:
    """The registered programs, sorted by name; those of further sources are left out."""
    return [_programs[name] for name in sorted(_programs)]


def programs() -> list[Program]:
    """All programs: the registered ones sorted by name, then those of further sources."""
    further = (source.get(name) for source in _sources for name in source.names() if name not in _programs)
    return registered() + [entry for entry in further if entry]


def add_source(source: Source) -> None:
    """Look up names that are not registered in ``source`` too."""
    if source not in _sources:
        _sources.append(source)
