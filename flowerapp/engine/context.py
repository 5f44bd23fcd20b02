"""What a program with a parameter ``ctx`` receives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from flowerapp import conf, registry
from flowerapp.core import masking, passing, problems, process_clock, values
from flowerapp.core.masking import Secrets
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import part_problems, unseen_problems
from flowerapp.engine.children import Child
from flowerapp.engine.recorder import Recorder
from flowerapp.engine.state import change_state, get_state
from flowerapp.exceptions import FlowerError, InvalidValueError
from flowerapp.models import Flow, Task
from flowerapp.querysets import Claim
from flowerapp.querysets.db import retry_on_disconnect
from flowerapp.registry import Call
from flowerapp.selectors import tasks
from flowerapp.selectors.shown import shown_value
from flowerapp.selectors.status_style import task_style
from flowerapp.states import SATISFIED, IgnoredBy

MOST_ITEMS = 1_000_000
"""Items for children that are looked at in one call; an endless generator must end somewhere."""
READ_SECONDS = 30.0
"""Seconds to try to read a task's input while the database is unreachable."""


class Gathered(NamedTuple):
    """The input of a task."""

    value: Any
    joined: bool
    """Whether it is made of several outputs, or of the items of a list, so that it stands nowhere as it is."""


def input_of(ref: TaskRef) -> Any:
    """Input of a task: a child's item, the flow's if it depends on none, else what those before it returned."""
    return read_input(ref).value


def read_input(ref: TaskRef) -> Gathered:
    """The same, and whether it had to be put together."""
    return _read_input(ref, _merged, typed=False)


def celery_input_of(ref: TaskRef) -> Any:
    """Input of a task as Celery has it: after one task its result, after several the list of all results in order.

    Dates, decimals and so on of Celery tasks are as they are stored.
    """
    return _read_input(ref, _as_celery, typed=True).value


def _as_celery(outputs: list[Any]) -> Any:
    results = list(map(passing.plain, outputs))
    return results[0] if len(results) == 1 else results


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownInput:
    """A task's input, as people may see it."""

    value: Any = None
    is_known: bool = True
    """False before the tasks that it is made of have ended."""
    size: int = 0
    """Bytes of JSON of one that is too large to be read; else 0."""


def shown_input(task: Task) -> ShownInput:
    """Input of a task that ``selectors.tasks.whole_task`` gave; that of a child is its item."""
    if task.parent_seq is not None:
        return ShownInput(value=task.item)
    if task.pending and not task.children and task.ignored_by != IgnoredBy.CONDITION:
        return ShownInput(is_known=False)
    if task.passes_on:
        return ShownInput(value=task.output)
    if (size := tasks.size_of_input(task)) > tasks.MOST_WHOLE:
        return ShownInput(size=size)
    return ShownInput(value=shown_value(input_of(task.ref), task))


def _merged(outputs: list[Any]) -> Any:
    return values.merge(list(map(passing.value_of, outputs)))


@retry_on_disconnect(READ_SECONDS)
def _read_input(ref: TaskRef, combine: Callable[[list[Any]], Any], *, typed: bool) -> Gathered:
    row = Task.objects.at(ref).values_list("depends_on", "merge", "parent_seq", "item", named=True).get()
    return _gathered(ref, row, combine, typed=typed)


def input_of_step(step: Task) -> Gathered:
    """The same of a step whose row was read; dates and so on of Celery tasks stay as they are stored, unless merged."""
    return _gathered(step.ref, step, _merged, typed=not step.merge)


def _gathered(ref: TaskRef, row: Any, combine: Callable[[list[Any]], Any], *, typed: bool) -> Gathered:
    if row.parent_seq is not None:
        return Gathered(row.item, joined=False)
    if not row.depends_on:
        return Gathered(Flow.objects.values_list("input", flat=True).get(pk=ref.flow_id), joined=False)
    outputs = Task.objects.outputs(ref.flow_id, row.depends_on, typed=typed)
    if not row.merge:
        return Gathered(combine(list(outputs.values())), joined=len(row.depends_on) > 1)
    parts = {seq: passing.value_of(output) for seq, output in outputs.items()}
    value = values.merge_objects(parts)
    return Gathered(value, joined=[value] != list(parts.values()))


@retry_on_disconnect(READ_SECONDS)
def output_of(flow_id: str, step: int | str) -> Any:
    """Output of a satisfied task, by its ``task_seq``, its name, or its program where only one task has that.

    Raises KeyError with a sentence if there is no such task, several, or it is not satisfied.
    """
    tasks = Task.objects.filter(task_flow_id=flow_id, parent_seq=None)
    if isinstance(step, int):
        matches = list(tasks.filter(task_seq=step)[:2])
    else:
        matches = list(tasks.filter(name=step)[:2]) or list(tasks.filter(program=step)[:2])
    if not matches:
        raise KeyError(f"flow {flow_id} has no task {step!r}")
    if len(matches) > 1:
        raise KeyError(f"several tasks of flow {flow_id} run {step!r}; name the step, or use its task_seq")
    if matches[0].status not in SATISFIED:
        word = task_style(matches[0].exec_status).word
        raise KeyError(f"task {step!r} of flow {flow_id} is {word}, so it has no output yet")
    return matches[0].output


_state_of = retry_on_disconnect(READ_SECONDS)(get_state)


@retry_on_disconnect()
def _child_id_of(ref: TaskRef) -> Any:
    return Task.objects.at(ref).values_list("child_id", flat=True).get()


@retry_on_disconnect()
def _name_of(ref: TaskRef) -> str:
    row = Task.objects.at(ref).values_list("alias", "name", "program").get()
    return next(filter(None, row), "")


NewChild = tuple[Any, Any]
"""``(id, item)``: the id is None where the program gave none, the item is a JSON value or a ``Call``."""


def list_children(items: Any) -> list[NewChild]:
    """The children that ``items`` of ``add_children`` stand for.

    Raises InvalidValueError for too many, for what is not JSON, for an id that is neither text nor a whole number, and
    for a call that cannot be made.
    """
    calls: list[Any] | None = registry.calls_of(items)
    listed = _listed(items) if calls is None else calls
    if listed and all(isinstance(item, tuple) and len(item) == 2 for item in listed):
        return [_checked(*pair) for pair in listed]
    return [(None, item) for entry in listed for item in _calls_or_item(entry)]


def _listed(items: Iterable[Any]) -> list[Any]:
    if isinstance(items, (str, bytes)):
        raise InvalidValueError("children are added as a list of items, not as a text; write [text] for a single one")
    listed = list(islice(items.items() if isinstance(items, Mapping) else items, MOST_ITEMS + 1))
    if len(listed) > MOST_ITEMS:
        raise _too_many()
    return listed


def _calls_or_item(item: Any, what: str = "item") -> list[Any]:
    """The calls that an item stands for; a JSON value stands for itself."""
    calls: list[Call] | None = [item] if isinstance(item, Call) else registry.calls_of(item)
    if calls is None:
        return [values.check(item, what)]
    for call in calls:
        _check_call(call)
    return calls


def _check_call(call: Call) -> None:
    if wrong := list(part_problems(call.queue or "", "the queue of a child")):
        raise InvalidValueError(wrong[0])
    for _, message in problems.problems_of(call.program, call.parameters):
        raise InvalidValueError(f"a child cannot run {call.program}: {message}")


def _checked(child_id: Any, item: Any) -> NewChild:
    if type(child_id) not in (int, str):
        raise InvalidValueError(f"{child_id!r} is no id of a child; use text or a whole number")
    values.check(child_id, "id of a child")
    if problems := list(unseen_problems(str(child_id), f"the id {child_id!r} of a child")):
        raise InvalidValueError(problems[0])
    checked = _calls_or_item(item, f"an item of child {child_id!r}")
    if len(checked) != 1:
        raise InvalidValueError(f"child {child_id!r} stands for {len(checked)} calls; give each an id of its own")
    return child_id, checked[0]


class Added:
    """The children that a program has added so far."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._places: dict[tuple[type, Any], int] = {}

    def add(self, items: Any) -> None:
        """Add a child for each item, or for each id of pairs or of a dict; nothing is added where it raises.

        Raises what ``list_children`` raises, and InvalidValueError for an id with a call and anything else.
        """
        self.extend(list_children(items))

    def extend(self, added: Sequence[NewChild]) -> None:
        """Add listed children; raises as ``add`` does."""
        ids = [(type(child_id), child_id) for child_id, _ in added]
        fresh = {key for key in ids if key[1] is not None} - self._places.keys()
        if len(self.children) + len(fresh) + sum(child_id is None for child_id, _ in added) > conf.get().MAX_CHILDREN:
            raise _too_many()
        self._check_calls(added)
        for key, (_, item) in zip(ids, added, strict=True):
            self._put(key, item)

    def _check_calls(self, added: Sequence[NewChild]) -> None:
        """Raise where one id stands for a call and for something else."""
        seen = {key: self.children[place].call is not None for key, place in self._places.items()}
        for child_id, item in added:
            key, is_call = (type(child_id), child_id), isinstance(item, Call)
            if child_id is not None and key in seen and (is_call or seen[key]):
                raise InvalidValueError(f"child {child_id!r} is a call and more; give each call an id of its own")
            seen[key] = is_call

    def _put(self, key: tuple[type, Any], item: Any) -> None:
        place, child_id = len(self.children), key[1]
        if child_id is not None and key in self._places:
            self.children[self._places[key]].item.append(item)
            return
        if child_id is not None:
            self._places[key] = place
        call = item if isinstance(item, Call) else None
        own = place if child_id is None else child_id
        self.children.append(Child(own, None if call else item if child_id is None else [item], call))


def _too_many() -> InvalidValueError:
    most = conf.get().MAX_CHILDREN
    return InvalidValueError(
        f"over {most:,} children (FLOWER['MAX_CHILDREN']); give each several items, as a list or under one id"
    )


@dataclass(frozen=True)
class Context:
    """One attempt, as its program sees it; see ``registry.Context``."""

    claim: Claim
    added: Added = field(default_factory=Added, repr=False)
    """The children that the program has added so far."""
    values: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What the program was given beside its parameters, as it was last."""

    def give(self, what: Any, value: Any) -> Any:
        """Pass ``value`` to the program, and remember it for its secrets."""
        if what not in self.values or self.values[what] != value:
            self.values[what] = value
            self.__dict__.pop("secrets", None)
        return value

    @cached_property
    def secrets(self) -> Secrets:
        """The secrets that the program has; its errors and its log must not quote them."""
        return self._secrets_now()

    def _secrets_now(self) -> Secrets:
        """The same, for another thread, which must not keep them here."""
        return masking.secrets_of(self.claim.parameters, *self.values.copy().values())

    @cached_property
    def recorder(self) -> Recorder:
        """Records its log."""
        return Recorder(self.claim, self._secrets_now)

    @property
    def flow_id(self) -> str:
        """``task_flow_id``."""
        return self.claim.flow_id

    @property
    def task_id(self) -> str:
        """Name of the workflow."""
        return self.claim.task_id

    @property
    def seq(self) -> int:
        """``task_exec_seq``."""
        return self.claim.seq

    @property
    def task_seq(self) -> int:
        """``task_seq``."""
        return self.claim.task_seq

    @cached_property
    def name(self) -> str:
        """What people call the step."""
        return _name_of(self.claim.ref)

    @property
    def attempt(self) -> int:
        """Starts of this task so far, this one included."""
        return self.claim.attempt

    @property
    def retries(self) -> int:
        """Retries since it was registered or rerun."""
        return self.claim.retries

    @cached_property
    def input(self) -> Any:
        """The flow's input, or what the tasks before it returned."""
        return self.give("input", self._gathered.value)

    @cached_property
    def _gathered(self) -> Gathered:
        return read_input(self.claim.ref)

    @property
    def passed_on(self) -> str | None:
        """The input, as JSON text, that a task which is skipped keeps as its output.

        None where it is the output of one task, or the flow's input: that is read there.
        """
        value, joined = self._gathered
        return values.dumps(value, "the input that is passed on") if joined else None

    @property
    def idempotency_key(self) -> str:
        """``flow:seq:run``: the same for all attempts until the task is rerun."""
        return f"{self.flow_id}:{self.seq}:{self.claim.run}"

    @property
    def now(self) -> datetime:
        """The time in UTC, by flowerapp's clock."""
        return process_clock.now()

    @property
    def cancelled(self) -> bool:
        """Whether the result of this attempt would be refused; asks the database."""
        return not Task.objects.attempt(self.claim.ref, self.attempt).exists()

    def output_of(self, step: int | str) -> Any:
        """Output of a satisfied task of the same flow, by ``task_seq``, name or program; KeyError if there is none."""
        return self.give(("output", step), output_of(self.flow_id, step))

    @property
    def state(self) -> dict[str, Any]:
        """The object that the flow's programs share, as it is now; a copy."""
        state: dict[str, Any] = self.give("state", _state_of(self.flow_id))
        return state

    def change_state(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
        """Change the shared object as ``engine.change_state`` does; what was stored."""
        state: dict[str, Any] = self.give("state", change_state(self.flow_id, change))
        return state

    @cached_property
    def child_id(self) -> Any:
        """What a child's parent calls it; None for a step."""
        return _child_id_of(self.claim.ref)

    def add_children(self, items: Iterable[Any]) -> None:
        """Let the step's child program run for each of ``items``; see ``registry.Context``."""
        if self.claim.parent_seq is not None:
            raise FlowerError("a child cannot add children; let its parent add them all")
        added = list_children(items)
        if not self.claim.child_program and not all(isinstance(child, Call) for _, child in added):
            raise FlowerError(f"step {self.task_seq} of {self.task_id!r} has no child_program; set one to add children")
        self.added.extend(added)

    def log(self, message: str) -> None:
        """Write a line to the task's log."""
        self.recorder.say(logging.INFO, "ctx.log", values.text(message))

    def progress(self, done: int, total: int) -> None:
        """Report how far the task is: ``done`` of ``total``."""
        self.report({"done": done, "total": total})

    def report(self, progress: dict[str, Any]) -> None:
        """Store an object as the task's progress; ``done`` and ``total`` are shown, or else ``state``.

        Raises InvalidValueError for what is not JSON, or too large.
        """
        checked = masking.masked(values.check(progress, "progress"), self.secrets)
        Task.objects.attempt(self.claim.ref, self.attempt).update(progress=checked)
