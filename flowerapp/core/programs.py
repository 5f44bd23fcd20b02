"""The registry of programs: the Python callables that tasks run, by name, with their parameters and retry policy."""

from __future__ import annotations

import difflib
import inspect
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, ValidationError

from flowerapp.core import coercion, logs, masking, values
from flowerapp.core.caching import Caching, caching_of
from flowerapp.core.context import CONTEXT, Context
from flowerapp.core.names import unseen_problems
from flowerapp.exceptions import (
    InvalidPlanError,
    InvalidValueError,
    Problem,
    RetryTask,
    TimeLimitError,
    UnknownProgramError,
)

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

logger = logs.logger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])
Parameters = Mapping[str, Any]

_PREFIX = "p_"
"""Prefix of the names of a model's fields, because pydantic refuses some names that a parameter may have."""


def _bare(field: str) -> str:
    return field.removeprefix(_PREFIX)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A registered callable with its retry policy and limits; the options have Celery's names and meanings."""

    name: str
    """The name in a definition's ``program``; the Celery task is named ``flowerapp.`` and this."""
    function: Callable[..., Any] = field(repr=False)
    """The callable; its signature defines the parameters."""
    autoretry_for: tuple[type[BaseException], ...] = ()
    """Exceptions that lead to a retry; ``@program`` with ``max_retries`` alone stands for ``(Exception,)``."""
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
    cache: Caching | None = None
    """How outputs are kept for the steps that do not say it; ``@program(cache=3600)`` or ``cache=(key, lifetime)``."""

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

    @property
    def refusal(self) -> str:
        """Why no flow can run it, as a sentence; empty if flows can."""
        return ""

    @property
    def item_place(self) -> str:
        """How the function receives a child's item."""
        return "ctx.input"

    def input_argument(self, parameters: Parameters) -> str:
        """Name of the argument that the input becomes in a step that follows others; empty if it becomes none."""
        return ""

    @cached_property
    def model(self) -> type[BaseModel]:
        """A pydantic model whose fields are the function's parameters, ``ctx`` left out."""
        return self._model_of()

    def _model_of(self, optional: Collection[str] | None = ()) -> type[BaseModel]:
        """The model, in which the parameters named in ``optional`` are not required; None means all."""
        try:
            hints = get_type_hints(self.function, include_extras=True)
        except (NameError, TypeError, AttributeError, SyntaxError) as error:  # say names that only type checkers import
            logger.debug("the annotations of program %s cannot be read: %r", self.name, error)
            hints = {}
        fields: dict[str, Any] = {}
        for name, parameter in self._declared():
            kind, default = self._field(parameter, hints.get(name, Any))
            is_optional = optional is None or name in optional
            fields[_PREFIX + name] = (kind, None if is_optional and default is ... else default)
        extra = "allow" if self._takes_any else "forbid"
        config = ConfigDict(extra=extra, arbitrary_types_allowed=True, protected_namespaces=(), alias_generator=_bare)  # type: ignore[typeddict-item]
        return coercion.model_of(self.name, config, fields)

    @property
    def _takes_any(self) -> bool:
        """Whether the function takes parameters that it does not declare."""
        return any(item.kind is item.VAR_KEYWORD for item in self.signature.parameters.values())

    def _declared(self) -> list[tuple[str, inspect.Parameter]]:
        """The parameters that a row can give."""
        items = self.signature.parameters.items()
        return [
            (name, it) for name, it in items if name != CONTEXT and it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)
        ]

    def _field(self, parameter: inspect.Parameter, hint: Any) -> tuple[Any, Any]:
        """Type and default of a parameter's field; the default ``...`` means that it is required."""
        return hint, ... if parameter.default is parameter.empty else parameter.default

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

    def accepts(self, name: str) -> bool:
        """Whether a row can give a parameter of that name."""
        return self._takes_any or name in self.fields

    def parameter_problems(
        self, parameters: Parameters, *, follows: bool = False, later: Collection[str] = ()
    ) -> list[tuple[str, str]]:
        """The errors in ``parameters``, pairs of a key and a sentence.

        ``follows`` is whether the step follows others; those of ``later`` are given later and may be missing.
        """
        try:
            self._coerce(parameters, self._model_without(later) if later else None)
        except ValidationError as error:
            return self._sentences(error, parameters)
        return []

    def _model_without(self, later: Collection[str]) -> type[BaseModel]:
        """The model, in which the parameters that rows call so are not required."""
        fields = self.model.model_fields.items()
        return self._model_of({_bare(name) for name, info in fields if (info.alias or name) in later})

    def _sentences(self, error: ValidationError, parameters: Parameters) -> list[tuple[str, str]]:
        """Pairs of a key and a sentence that quotes no secret of the parameters."""
        secrets = masking.secrets_of(dict(parameters))
        return [self._sentence(details, secrets) for details in error.errors(include_url=False)]

    def _sentence(self, error: Any, secrets: masking.Secrets) -> tuple[str, str]:
        key = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            names = ", ".join(self.fields) or "none"
            return key, f"{self.name} has no such parameter; it takes: {names}"
        if error["type"] == "missing":
            return key, f"{self.name} needs it"
        value = masking.MASKED if masking.secret(key) else coercion.short(masking.masked(error["input"], secrets))
        return key, f"{masking.masked(error['msg'], secrets)}, got {value}"

    def _coerce(self, parameters: Parameters, model: type[BaseModel] | None = None) -> BaseModel:
        """Convert ``parameters`` to the types of the signature; text that does not fit as it is, is parsed as JSON."""
        model = model or self.model
        try:
            return model.model_validate(dict(parameters))
        except ValidationError as error:
            invalid = {details["loc"][0] for details in error.errors() if details["loc"]}
            parsed = {key: coercion.from_json(value) if key in invalid else value for key, value in parameters.items()}
            if parsed == dict(parameters):
                raise
            try:
                return model.model_validate(parsed)
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
            problems = [Problem(f"parameter {key}: {message}") for key, message in self._sentences(error, parameters)]
            raise InvalidPlanError(problems) from None
        arguments = self._values(model)
        if self.has_context:
            arguments[CONTEXT] = context
        declared = self.signature.parameters.values()
        positional = [arguments.pop(item.name) for item in declared if item.kind is item.POSITIONAL_ONLY]
        return self.function(*positional, **arguments)

    def encode(self, output: Any) -> str:
        """What ``call`` returned, as JSON text; raises InvalidValueError."""
        return values.dumps({} if output is None else output, f"output of program {self.name}")

    def next_delay(
        self, error: BaseException, retries: int, *, max_retries: int | None = None, retry_delay: float | None = None
    ) -> float | None:
        """Seconds between an attempt that ended by ``error``, after ``retries`` retries, and the next; None: no next.

        ``max_retries`` and ``retry_delay`` are the step's, where it overrides the program's.
        """
        limit_given = max_retries is not None
        timed_out = isinstance(error, TimeLimitError) and (limit_given or bool(self.autoretry_for))
        limit = max_retries if limit_given else self.max_retries
        if not (timed_out or self.retries_on(error, limit_given=limit_given)):
            return None
        if limit is not None and retries >= limit:
            return None
        if isinstance(error, RetryTask) and error.delay is not None:
            return error.delay
        return retry_delay if retry_delay is not None else self.delay(retries)

    @staticmethod
    def _values(model: BaseModel) -> dict[str, Any]:
        """The values of a model by the names of the parameters."""
        return {_bare(name): getattr(model, name) for name in type(model).model_fields} | (model.model_extra or {})

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


_programs: dict[str, Program] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a program with all its arguments, which a child can run."""

    program: str
    """Name of the program."""
    parameters: Parameters
    """JSON values."""
    queue: str = ""
    """Name of the queue; empty means the program's."""
    time_limit: int | None = None
    """In seconds; None means the step's."""


@dataclass(frozen=True)
class Source:
    """A further source of programs, such as the host's Celery tasks; registered programs take precedence."""

    get: Callable[[str], Program | None]
    """The program of a name; None if this source has none."""
    names: Callable[[], Iterable[str]]
    """The names of all its programs."""
    calls: Callable[[Any], list[Call] | None] = lambda _: None
    """The calls of its programs that an object stands for, such as a Celery signature; None for any other object."""


_sources: list[Source] = []


@overload
def program(name: Function, /) -> Function: ...
@overload
def program(name: str | None = None, /, **options: Any) -> Callable[[Function], Function]: ...
def program(name: Any = None, /, **options: Any) -> Any:
    """Decorator that registers a function as a program: ``@program``, or ``@program("Name", max_retries=2, …)``.

    The name defaults to the function's; the options are the fields of ``Program``. A ``max_retries`` that is written
    retries any exception, unless ``autoretry_for`` lists some; ``cache`` is a lifetime in seconds or as a timedelta, or
    ``(key, lifetime)``. The function itself is returned, so it stays callable.
    Raises ValueError if another function has the name, or for a ``max_retries`` or ``cache`` that cannot be.
    """
    if callable(name):
        register(Program(name=name.__name__, function=name))
        return name

    def decorate(function: Function) -> Function:
        own = name or function.__name__
        register(Program(name=own, function=function, **_with_errors(own, options)))
        return function

    return decorate


def _with_errors(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of ``@program`` with the exceptions that lead to a retry, as a tuple, and the cache that is meant."""
    listed = options.get("autoretry_for") or ()
    if options.get("cache") is not None:
        options = {**options, "cache": caching_of(options["cache"], f"program {name!r}: ")}
    if "max_retries" in options:
        _check_retries(name, options["max_retries"])
        listed = listed or (Exception,)
    return {**options, "autoretry_for": listed if isinstance(listed, tuple) else (listed,)}


def _check_retries(name: str, retries: Any) -> None:
    if retries is not None and not (type(retries) is int and retries >= 0):
        raise ValueError(
            f"program {name!r}: max_retries must be a whole number, 0 or more, or None for no limit; got {retries!r}"
        )


def register(entry: Program) -> Program:
    """Add a program and return it; raises ValueError for a name that another function has, or that cannot be."""
    if problems := list(unseen_problems(entry.name, f"the name of program {entry.name!r}")):
        raise ValueError(problems[0])
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


def registered() -> list[Program]:
    """The registered programs, sorted by name; those of further sources are left out."""
    return [_programs[name] for name in sorted(_programs)]


def programs() -> list[Program]:
    """All programs: the registered ones sorted by name, then those of further sources."""
    further = (source.get(name) for source in _sources for name in source.names() if name not in _programs)
    return registered() + [entry for entry in further if entry]


def calls_of(item: Any) -> list[Call] | None:
    """The calls that ``item`` stands for, such as a Celery signature; None for any other object.

    Raises InvalidValueError for a call that a child cannot run.
    """
    return next((calls for source in _sources if (calls := source.calls(item)) is not None), None)


def add_source(source: Source) -> None:
    """Look up names that are not registered in ``source`` too."""
    if source not in _sources:
        _sources.append(source)
