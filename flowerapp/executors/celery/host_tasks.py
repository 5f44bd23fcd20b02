"""The host's own Celery tasks as programs."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Optional

from celery import Celery, Signature, Task, group
from celery.app import app_or_default
from pydantic import BaseModel, ValidationError

from flowerapp import conf
from flowerapp.core import masking, values
from flowerapp.core.coercion import from_json
from flowerapp.core.context import Context
from flowerapp.engine.context import celery_input_of
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, Problem, RetryTask
from flowerapp.executors.celery import host_values
from flowerapp.executors.celery.host_arguments import INPUT, NOWHERE, Arguments, Binding, HostTaskError
from flowerapp.executors.celery.host_runs import HostRetry, HostRun
from flowerapp.executors.celery.routes import PREFIX
from flowerapp.registry import Call, Program, Source


@dataclass(frozen=True, kw_only=True)
class HostProgram(Program):
    """A Celery task of the host as a program: called with a request of its own, and retried as Celery retries it."""

    task: Any = field(repr=False)
    """The task."""

    @property
    def description(self) -> str:
        """The first line of the docstring of the task's function or class."""
        return inspect.cleandoc(self.task.__doc__ or "").partition("\n")[0]

    @property
    def refusal(self) -> str:
        """Celery calls a coroutine function and drops what it returns."""
        if inspect.iscoroutinefunction(inspect.unwrap(self.task.run)):
            return f"{self.name} is an async def, which Celery does not await; wrap it in async_to_sync of asgiref"
        return ""

    @property
    def rate_limit(self) -> Any:
        """The task's own, as the host's code and its annotations set it."""
        return self.task.rate_limit

    @property
    def throws(self) -> tuple[type[BaseException], ...]:
        """The exceptions that the task's author expects."""
        return tuple(self.task.throws or ())

    @cached_property
    def has_context(self) -> bool:
        """A parameter ``ctx`` of a host task is its own."""
        return False

    @property
    def item_place(self) -> str:
        """As in a chain."""
        return "its first argument"

    def input_argument(self, parameters: Any) -> str:
        """The argument that ``@input`` names, or the first one, as in a chain."""
        return self.binding.argument_at(self.binding.place(parameters, follows=True))

    def accepts(self, name: str) -> bool:
        """Also ``@input``."""
        return name == INPUT or super().accepts(name)

    @cached_property
    def binding(self) -> Binding:
        """How the task is called."""
        return Binding(self.name, self.signature, checked=bool(self.task.typing))

    @cached_property
    def _given_model(self) -> type[BaseModel]:
        return self._model_of(optional=None)

    @property
    def _takes_any(self) -> bool:
        return super()._takes_any or not self.binding.checked

    def _declared(self) -> list[tuple[str, inspect.Parameter]]:
        return [(name, it) for name, it in self.signature.parameters.items() if it.kind is not it.VAR_KEYWORD]

    def _field(self, parameter: inspect.Parameter, hint: Any) -> tuple[Any, Any]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return list[Any], []
        kind, default = super()._field(parameter, hint)
        if not self.binding.checked:
            return Any, None if default is ... else default
        return (Optional[kind] if default is None else kind), default  # noqa: UP045 - the hint may be anything

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters, with ``@input``."""
        schema = super().schema
        places = "Where the input goes: the name of an argument, * (a list of arguments), ** (an object), or empty."
        own = {INPUT: {"type": "string", "default": "", "description": places}}
        return {**schema, "properties": {**schema.get("properties", {}), **own}}

    def parameter_problems(
        self, parameters: Any, *, follows: bool = False, later: Collection[str] = ()
    ) -> list[tuple[str, str]]:
        """The errors in ``parameters``, those of ``@input`` included; those of ``later`` are given later."""
        problems = list(self.binding.problems({**dict.fromkeys(later), **parameters}, follows=follows))
        try:
            self._coerce(_without_input(parameters), self._given_model)
        except ValidationError as error:
            problems += self._sentences(error, parameters)
        return problems

    def call(self, parameters: Any, context: Context) -> Any:
        """Run the task for an attempt; its result as JSON. Raises what ended the attempt otherwise."""
        run_context: Any = context
        args, kwargs = self._arguments(parameters, run_context)
        return HostRun(self, self.task, run_context, args, kwargs).output()

    def encode(self, output: Any) -> str:
        """The result as JSON text; None is null, as the next task of a chain gets it."""
        return values.dumps(output, f"output of program {self.name}")

    def _arguments(self, parameters: Any, context: Any) -> Arguments:
        place = self.binding.place(parameters, follows=True, child=context.claim.parent_seq is not None)
        args, kwargs = self.binding.bind(
            self._given(parameters), place, lambda: context.give("input", celery_input_of(context.claim.ref))
        )
        return host_values.decode(args), host_values.decode(kwargs)

    def _given(self, parameters: Any) -> dict[str, Any]:
        """The parameters in the types of the signature; defaults are left to Python, models to the task itself."""
        own = host_values.decode(_without_input(parameters))
        try:
            model = self._coerce(own, self._given_model)
        except ValidationError as error:
            problems = [Problem(f"parameter {key}: {message}") for key, message in self._sentences(error, parameters)]
            raise InvalidPlanError(problems) from None
        typed = {key: value for key, value in self._values(model).items() if key in own}
        return {key: from_json(own[key]) if _holds_model(value) else value for key, value in typed.items()}

    def next_delay(
        self, error: BaseException, retries: int, *, max_retries: int | None = None, retry_delay: float | None = None
    ) -> float | None:
        """As Celery: the task itself asks for its retries, by ``self.retry`` or autoretry, and counts them.

        A step's ``max_retries`` limits them, or adds retries on other errors; its ``retry_delay`` sets the delay.
        """
        if isinstance(error, HostTaskError):
            return None
        if not isinstance(error, RetryTask) and max_retries is None:
            return None
        if isinstance(error, HostRetry) and error.counted and max_retries is None:
            max_retries = retries + 1
        if isinstance(error, HostRetry) and retry_delay is not None:
            error = RetryTask(str(error))
        return super().next_delay(error, retries, max_retries=max_retries, retry_delay=retry_delay)


def _without_input(parameters: Any) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key != INPUT}


def _holds_model(value: Any) -> bool:
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_holds_model(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_model(item) for item in value.values())
    return isinstance(value, BaseModel)


def host_program(name: str) -> Program | None:
    """A Celery task of the host as a program, with its own retry policy, limits and queue."""
    allowed = conf.get().CELERY_TASKS
    if name.startswith(("celery.", PREFIX)) or not (name in allowed if isinstance(allowed, tuple) else allowed):
        return None
    task = _host_tasks().get(name)
    return _program_of(name, task) if task is not None else None


def host_program_names() -> Iterator[str]:
    """Names of the host's Celery tasks that may be named as programs."""
    return (name for name in sorted(_host_tasks()) if host_program(name) is not None)


def _host_tasks() -> Any:
    """The app's tasks; a process that is no worker has not imported the host's task modules yet."""
    app = app_or_default()
    if app not in _imported:
        _imported.add(app)
        app.loader.import_default_modules()
    return app.tasks


_imported: weakref.WeakSet[Celery] = weakref.WeakSet()


@functools.lru_cache(maxsize=4096)
def _program_of(name: str, task: Task[Any, Any]) -> Program:
    retry_kwargs = getattr(task, "retry_kwargs", None) or {}
    return HostProgram(
        name=name,
        task=task,
        function=task.run,
        autoretry_for=tuple(getattr(task, "autoretry_for", ())),
        dont_autoretry_for=tuple(getattr(task, "dont_autoretry_for", ())),
        max_retries=retry_kwargs.get("max_retries", task.max_retries),
        default_retry_delay=retry_kwargs.get("countdown", task.default_retry_delay),
        retry_backoff=getattr(task, "retry_backoff", False),
        retry_backoff_max=getattr(task, "retry_backoff_max", 600),
        retry_jitter=getattr(task, "retry_jitter", True),
        time_limit=task.time_limit,
        soft_time_limit=task.soft_time_limit,
        queue=getattr(task, "queue", None) or "",
    )


def calls_of(item: Any) -> list[Call] | None:
    """The calls of a signature, such as ``task.s(1)``, or of a group of them; None for any other object.

    Raises InvalidValueError for what a child cannot run: chains, chords, links, options of the message.
    """
    if not isinstance(item, Signature):
        return None
    kind = item.get("subtask_type")
    if isinstance(item, group):
        _must_be_bare(item, "group", ())
        return [call for signature in item.tasks for call in calls_of(signature) or ()]
    if kind or str(item.task).startswith("celery."):
        raise InvalidValueError(
            f"{_shown(item)} cannot be a child; a child is a single call such as task.s(1), or a group of them: make "
            "the parts of a chain or chord steps"
        )
    return [_call_of(item)]


_OPTIONS = ("queue", "time_limit")


def _call_of(signature: Signature[Any]) -> Call:
    program = host_program(str(signature.task))
    if not isinstance(program, HostProgram):
        raise InvalidValueError(f"{signature.task} is no Celery task that flows may run; see FLOWER['CELERY_TASKS']")
    _must_be_bare(signature, program.name, _OPTIONS)
    try:
        parameters = program.binding.named(signature.args, signature.kwargs)
    except TypeError as error:
        raise InvalidValueError(f"{_shown(signature)} cannot be a child: {error}; give it all its arguments") from None
    return Call(
        program=program.name,
        parameters={**host_values.encode(parameters, f"arguments of {program.name}"), INPUT: NOWHERE},
        queue=_queue_name(signature.options.get("queue")),
        time_limit=signature.options.get("time_limit"),
    )


def _must_be_bare(signature: Signature[Any], name: str, allowed: Iterable[str]) -> None:
    refused = sorted(option for option, value in signature.options.items() if value and option not in allowed)
    if refused:
        raise InvalidValueError(
            f"{name} has the options {', '.join(refused)}, which a child does not have; set queue or time_limit on it, "
            "and all else on the step"
        )


def _shown(signature: Signature[Any]) -> str:
    return str(masking.masked(repr(signature)))[:200]


def _queue_name(queue: Any) -> str:
    return str(getattr(queue, "name", queue) or "")


SOURCE = Source(host_program, host_program_names, calls_of)
"""The host's Celery tasks, for the registry."""
