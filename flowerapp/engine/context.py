"""What a program with a parameter ``ctx`` receives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from flowerapp import conf
from flowerapp.core import values
from flowerapp.core.messages import TaskRef
from flowerapp.engine.children import Child
from flowerapp.engine.state import change_state, get_state
from flowerapp.exceptions import FlowerError, InvalidValueError
from flowerapp.models import Flow, Log, Task
from flowerapp.querysets import Claim
from flowerapp.querysets.db import retry_on_disconnect
from flowerapp.states import SATISFIED

MOST_ITEMS = 1_000_000
"""Items for children that are looked at in one call; an endless generator must end somewhere."""
READ_SECONDS = 30.0
"""Seconds to try to read a task's input while the database is unreachable."""


@retry_on_disconnect(READ_SECONDS)
def input_of(ref: TaskRef) -> Any:
    """Input of a task: a child's item, the flow's if it depends on none, else what those before it returned."""
    columns = ("depends_on", "merge", "parent_seq", "item")
    depends_on, merge, parent_seq, item = Task.objects.at(ref).values_list(*columns).get()
    if parent_seq is not None:
        return item
    if not depends_on:
        return Flow.objects.values_list("input", flat=True).get(pk=ref.flow_id)
    before = Task.objects.filter(task_flow_id=ref.flow_id, task_exec_seq__in=depends_on, exec_status__in=SATISFIED)
    rows = before.order_by("task_exec_seq").values_list("task_exec_seq", "output")
    outputs = {seq: {} if output is None else output for seq, output in rows}
    return values.merge_objects(outputs) if merge else values.merge(list(outputs.values()))


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
        raise KeyError(f"task {step!r} of flow {flow_id} is {matches[0].status.label}, so it has no output yet")
    return matches[0].output


_state_of = retry_on_disconnect(READ_SECONDS)(get_state)


@retry_on_disconnect()
def _child_id_of(ref: TaskRef) -> Any:
    return Task.objects.at(ref).values_list("child_id", flat=True).get()


class Added:
    """The children that a program has added so far."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._places: dict[tuple[type, Any], int] = {}

    def add(self, items: Iterable[Any]) -> None:
        """Add a child for each item, or for each id of pairs or of a dict; nothing is added where it raises.

        Raises InvalidValueError for too many, for what is not JSON, and for an id that is neither text nor a whole
        number.
        """
        listed = _listed(items)
        pairs = bool(listed) and all(isinstance(item, tuple) and len(item) == 2 for item in listed)
        checked = (
            [_checked(*pair) for pair in listed] if pairs else [(None, values.check(item, "item")) for item in listed]
        )
        fresh = len({key for key, _ in checked if key not in self._places}) if pairs else len(checked)
        if len(self.children) + fresh > conf.get().MAX_CHILDREN:
            raise _too_many()
        for key, item in checked:
            self._put(key, item)

    def _put(self, key: tuple[type, Any] | None, item: Any) -> None:
        place = len(self.children)
        if key is None:
            self.children.append(Child(place, item))
        elif key in self._places:
            self.children[self._places[key]].item.append(item)
        else:
            self._places[key] = place
            self.children.append(Child(key[1], [item]))


def _listed(items: Iterable[Any]) -> list[Any]:
    if isinstance(items, (str, bytes)):
        raise InvalidValueError("children are added as a list of items, not as a text; write [text] for a single one")
    listed = list(islice(items.items() if isinstance(items, Mapping) else items, MOST_ITEMS + 1))
    if len(listed) > MOST_ITEMS:
        raise _too_many()
    return listed


def _checked(child_id: Any, item: Any) -> tuple[tuple[type, Any], Any]:
    if type(child_id) not in (int, str):
        raise InvalidValueError(f"{child_id!r} is no id of a child; use text or a whole number")
    values.check(child_id, "id of a child")
    return (type(child_id), child_id), values.check(item, f"an item of child {child_id!r}")


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
        return input_of(self.claim.ref)

    @property
    def idempotency_key(self) -> str:
        """``flow:seq:run``: the same for every attempt that does the same piece of work."""
        return f"{self.flow_id}:{self.seq}:{self.claim.run}"

    @property
    def cancelled(self) -> bool:
        """Whether the outcome of this attempt is no longer wanted; asks the database."""
        return not Task.objects.attempt(self.claim.ref, self.attempt).exists()

    def output_of(self, step: int | str) -> Any:
        """Output of a satisfied task of the same flow, by ``task_seq``, name or program; KeyError if there is none."""
        return output_of(self.flow_id, step)

    @property
    def state(self) -> dict[str, Any]:
        """The object that the flow's programs share, as it is now; a copy."""
        return _state_of(self.flow_id)

    def change_state(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
        """Change the shared object as ``engine.change_state`` does; what was stored."""
        return change_state(self.flow_id, change)

    @cached_property
    def child_id(self) -> Any:
        """What a child's parent calls it; None for a step."""
        return _child_id_of(self.claim.ref)

    def add_children(self, items: Iterable[Any]) -> None:
        """Let the step's child program run for each of ``items``; see ``registry.Context``."""
        if self.claim.parent_seq is not None:
            raise FlowerError("a child cannot add children; let its parent add them all")
        if not self.claim.child_program:
            raise FlowerError(f"step {self.task_seq} of {self.task_id!r} has no child_program; set one to add children")
        self.added.add(items)

    def log(self, message: str) -> None:
        """Write a line to the task's log."""
        text = values.text(message)
        Log.objects.create(task_flow_id=self.flow_id, task_exec_seq=self.seq, attempt=self.attempt, message=text)

    def progress(self, done: int, total: int) -> None:
        """Report how far the task is: ``done`` of ``total``."""
        Task.objects.attempt(self.claim.ref, self.attempt).update(progress={"done": done, "total": total})
