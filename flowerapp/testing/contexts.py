"""A context without a flow, to call one program, task method or child method directly."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flowerapp import registry
from flowerapp.core import values
from flowerapp.core.messages import TaskRef
from flowerapp.engine.context import Context
from flowerapp.engine.state import State, changed
from flowerapp.querysets import Claim
from flowerapp.testing.steps import ProgramStep, step_of


@dataclass(frozen=True)
class DetachedContext(Context):
    """A context that reads and writes no database: what it returns is given, and what it receives is kept."""

    given_input: Any = None
    given_outputs: Mapping[int | str, Any] = field(default_factory=dict)
    given_child_id: Any = None
    cancelled: bool = False
    logged: list[str] = field(default_factory=list)
    """The lines of ``log``."""
    reported: list[dict[str, Any]] = field(default_factory=list)
    """What ``progress`` reported: ``{"done", "total"}`` each."""
    _state: State = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """The name of the program."""
        return self.claim.program

    @cached_property
    def input(self) -> Any:
        """The input that was given."""
        return copy.deepcopy(self.given_input)

    @cached_property
    def child_id(self) -> Any:
        """The id that was given."""
        return self.given_child_id

    @property
    def children(self) -> list[Any]:
        """The items of the children that were added so far, in order; a ``registry.Call`` for each signature."""
        return [child.item if child.call is None else child.call for child in self.added.children]

    @property
    def child_ids(self) -> list[Any]:
        """Their ids; their places where they have none."""
        return [child.id for child in self.added.children]

    def output_of(self, step: int | str) -> Any:
        """The output that was given for a step; raises KeyError."""
        if step not in self.given_outputs:
            raise KeyError(f"context_for was given no output of {step!r}; add it to outputs")
        return copy.deepcopy(self.given_outputs[step])

    @property
    def state(self) -> State:
        """A copy of the state as it is now."""
        return copy.deepcopy(self._state)

    def change_state(self, change: Callable[[State], State | None]) -> State:
        """Change the state as in a flow; returns it. Raises InvalidValueError."""
        new = changed(self._state, change)
        self._state.clear()
        self._state.update(new)
        return self.state

    def log(self, message: str) -> None:
        """Keep a line."""
        self.logged.append(values.text(message))

    def report(self, progress: dict[str, Any]) -> None:
        """Keep a report of progress."""
        self.reported.append(values.check(progress, "progress"))


def context_for(
    program: Any,
    *,
    input: Any = None,
    outputs: Mapping[int | str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    child_id: Any = None,
    parameters: Mapping[str, Any] | None = None,
    flow_id: str | None = None,
    seq: int | None = None,
    attempt: int = 1,
    retries: int | None = None,
    run: int = 1,
    cancelled: bool = False,
) -> DetachedContext:
    """The ``ctx`` for a direct call of a program, as in ``Sums().split(context_for(Sums.split, input={…}))``.

    ``program`` is a function with ``@program``, a method with ``@task`` or ``@NAME.child``, a Celery task, or a name.
    ``input`` is ``ctx.input`` (None is ``{}``, for a child None), ``outputs`` are the values of ``ctx.output_of``,
    ``retries`` are one less than ``attempt``, ``seq`` is that of the step. Input, outputs and state are JSON, as in a
    flow; InvalidValueError if not. No database is read or written.
    """
    step = step_of(program, is_child=child_id is not None)
    flow_id = flow_id or str(uuid.uuid4())
    is_empty = input is None and step.parent_seq is None
    return DetachedContext(
        _claim(step, TaskRef(flow_id, seq or step.task_seq), parameters or {}, attempt, retries, run),
        given_input=values.check({} if is_empty else input, "input"),
        given_outputs={key: values.check(output, f"output of {key!r}") for key, output in (outputs or {}).items()},
        given_child_id=child_id,
        cancelled=cancelled,
        _state=values.check(dict(state or {}), "state"),
    )


def _claim(
    step: ProgramStep, ref: TaskRef, parameters: Mapping[str, Any], attempt: int, retries: int | None, run: int
) -> Claim:
    program = registry.find(step.program)
    return Claim(
        ref=ref,
        task_id=step.task_id,
        task_seq=step.task_seq,
        program=step.program,
        queue=program.queue if program else "",
        task_priority=0,
        parameters=dict(parameters),
        attempt=attempt,
        retries=attempt - 1 if retries is None else retries,
        run=run,
        max_retries=None,
        retry_delay=None,
        time_limit=None,
        pool="",
        parent_seq=step.parent_seq,
        child_program=step.child_program,
        when="",
        cache_key="",
        cache_seconds=None,
        cache_scope="",
        begins=attempt == 1,
    )
