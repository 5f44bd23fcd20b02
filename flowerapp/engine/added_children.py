"""Children that a program adds: checked, and in the order of their places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from flowerapp import conf, registry
from flowerapp.core import problems, values
from flowerapp.core.names import part_problems, unseen_problems
from flowerapp.engine.children import Child
from flowerapp.exceptions import InvalidValueError
from flowerapp.registry import Call

MOST_ITEMS = 1_000_000
"""Items for children that are looked at in one call; an endless generator must end somewhere."""
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
