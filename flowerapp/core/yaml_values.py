"""YAML as JSON values: no Python types, no unbounded aliases, no recursion.

The events of PyYAML's parser are put together here, so that depth and size are counted while a value grows. Scalars
mean what they mean to ``yaml.safe_load``, but a date or time is its text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml import events
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from flowerapp.core.expressions.limits import INTEGER_END, MAX_LEVELS, TOO_MANY_DIGITS
from flowerapp.exceptions import InvalidValueError

MAX_SIZE = 4 * 1024 * 1024
"""Most characters of a value, with what its aliases repeat; a list, object or scalar counts as ``NODE``."""
NODE = 8
MAX_WORK = 5_000_000
"""Most work of PyYAML, which looks at each list and object around a value: the sum of their numbers."""
MAX_EVENTS = 100_000
"""Most lists, objects and scalars, with the ends of the first two; they take a few seconds to read."""
LONGEST_NUMBER = 4_300
"""Most characters of a number."""
DECIMAL = re.compile("0|[1-9][0-9]{0,17}")
"""Plain numbers that need no look at the other forms."""
TAG = "tag:yaml.org,2002:"
PLAIN = {"str", "timestamp", "value"}
"""Tags whose value is the text as it stands."""
CONSTANTS: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: SafeConstructor.bool_values[text.lower()],
}
MERGE_KEY = object()
"""Stands for the key ``<<``, whose value is merged into its object."""
_resolver: Any = Resolver()
_numbers: Any = SafeConstructor()


class YAMLError(InvalidValueError):
    """A text is not YAML that has a JSON value."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position
        """Characters of the text before the place."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.position)


class _Open:
    """A list or object that is not complete yet."""

    __slots__ = ("anchor", "key", "merged", "position", "size_before", "value")

    def __init__(self, value: Any, anchor: str | None, position: int, size_before: int) -> None:
        self.value = value
        self.anchor = anchor
        self.position = position
        self.size_before = size_before
        self.key: Any = _Open
        """The key whose value comes next; the class itself where a key comes next."""
        self.merged: list[Any] = []

    def add(self, value: Any, position: int) -> None:
        """Take the next item, key or value."""
        if type(self.value) is list:
            self.value.append(value)
        elif self.key is _Open:
            self.key = _key(value, position)
        elif self.key is MERGE_KEY:
            self.merged += value if type(value) is list else [value]
            self.key = _Open
        else:
            self.value[self.key] = value
            self.key = _Open

    def complete(self) -> Any:
        """The list or object; keys of its own win over merged ones, and earlier merged ones over later ones."""
        if not self.merged:
            return self.value
        if any(type(part) is not dict for part in self.merged):
            raise YAMLError("the YAML key << needs an object, or a list of objects", self.position)
        return {key: item for part in [*reversed(self.merged), self.value] for key, item in part.items()}


def _key(value: Any, position: int) -> Any:
    if type(value) is str or value is MERGE_KEY:
        return value
    raise YAMLError("a key must be text, as in JSON; put it in quotes", position)


class Builder:
    """Puts the events of one document together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self.events = 0
        self.work = 0
        """What PyYAML did for the depth of what was read."""
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        """Complete values with their sizes."""
        self.root: Any = None
        self.documents = 0

    def feed(self, event: Any) -> None:
        """Take one event."""
        position = event.start_mark.index
        self.events += 1
        if self.events > self.most:
            raise YAMLError(f"the YAML has more than {MAX_EVENTS:,} values; write it as JSON", position)
        self.work += len(self.stack)
        if self.work > MAX_WORK:
            raise YAMLError("the YAML has too many lists and objects inside one another", position)
        if isinstance(event, events.ScalarEvent):
            size_before = self.size
            self._count(len(event.value), position)
            self._add(_scalar(event, position), event.anchor, position, size_before)
        elif isinstance(event, events.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise YAMLError("the YAML has a second document; write one value", position)
        elif isinstance(event, (events.SequenceStartEvent, events.MappingStartEvent)):
            self._open(event, position)
        elif isinstance(event, (events.SequenceEndEvent, events.MappingEndEvent)):
            part = self.stack.pop()
            self._add(part.complete(), part.anchor, part.position, part.size_before)
        elif isinstance(event, events.AliasEvent):
            self._alias(event, position)

    def _open(self, event: Any, position: int) -> None:
        kind = "seq" if isinstance(event, events.SequenceStartEvent) else "map"
        if event.tag not in {None, "!", TAG + kind}:
            raise _refused_tag(event.tag, position)
        if len(self.stack) >= MAX_LEVELS:
            raise YAMLError(f"the YAML has more than {MAX_LEVELS} lists and objects inside one another", position)
        self.stack.append(_Open([] if kind == "seq" else {}, event.anchor, position, self.size))
        self._count(0, position)

    def _alias(self, event: Any, position: int) -> None:
        if event.anchor not in self.anchors:
            raise YAMLError(f"the YAML alias *{event.anchor} has no complete value &{event.anchor} before it", position)
        value, size = self.anchors[event.anchor]
        self._count(size, position)
        self._add(value, None, position, self.size)

    def _add(self, value: Any, anchor: str | None, position: int, size_before: int) -> None:
        if anchor:
            self.anchors[anchor] = value, self.size - size_before
        if self.stack:
            self.stack[-1].add(value, position)
        else:
            self.root = value

    def _count(self, size: int, position: int) -> None:
        self.size += size + NODE
        if self.size > MAX_SIZE:
            raise YAMLError(f"the YAML value is larger than {MAX_SIZE // 1024**2} MiB with its aliases", position)


def _scalar(event: Any, position: int) -> Any:
    """The JSON value of a scalar."""
    tag = event.tag
    if tag is None or tag == "!":
        plain, quoted = event.implicit
        if plain and tag is None and DECIMAL.fullmatch(event.value):
            return int(event.value)
        tag = _resolver.resolve(yaml.ScalarNode, event.value, (plain and tag is None, quoted or tag == "!"))
    name = tag.removeprefix(TAG)
    if name == "merge" and event.tag is None:
        return MERGE_KEY
    if name in PLAIN:
        return event.value
    if name not in {"null", "bool", "int", "float"}:
        raise _refused_tag(event.tag or tag, position)
    try:
        return CONSTANTS[name](event.value) if name in CONSTANTS else _number(name, event.value, position)
    except (KeyError, ValueError, IndexError):
        raise YAMLError(f"the YAML value is not of the type {name}", position) from None


def _number(name: str, text: str, position: int) -> Any:
    if len(text) > LONGEST_NUMBER:
        raise YAMLError(TOO_MANY_DIGITS, position)
    node = yaml.ScalarNode(TAG + name, text)
    value = _numbers.construct_yaml_int(node) if name == "int" else _numbers.construct_yaml_float(node)
    if type(value) is int and not -INTEGER_END < value < INTEGER_END:
        raise YAMLError(TOO_MANY_DIGITS, position)
    if type(value) is float and not math.isfinite(value):
        raise YAMLError("infinity and NaN are no JSON values; use a number or null", position)
    return value


def _refused_tag(tag: str, position: int) -> YAMLError:
    shown = f"!!{tag.removeprefix(TAG)}" if tag.startswith(TAG) else tag
    return YAMLError(f"the YAML tag {shown[:60]} is not allowed; write a plain value", position)


def load(text: str) -> Any:
    """The JSON value of a YAML text; raises YAMLError with its place."""
    return read(text, MAX_EVENTS)[0]


def read(text: str, most: int) -> tuple[Any, int]:
    """The same, and what it has of the ``most`` lists, objects and scalars that are read."""
    builder = Builder(most)
    try:
        for event in _events(text):
            builder.feed(event)
    except yaml.reader.ReaderError as error:
        raise YAMLError("the YAML has a character that YAML does not allow", _index(error.position)) from None
    except yaml.MarkedYAMLError as error:
        raise YAMLError(f"the YAML is invalid: {_sentence(error)}", _place(error, len(text))) from None
    if builder.root is MERGE_KEY:
        raise YAMLError("the YAML key << needs an object around it", 0)
    return builder.root, builder.events


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, yaml.SafeLoader)


def _index(position: Any) -> int:
    return position if isinstance(position, int) else 0


def _place(error: yaml.MarkedYAMLError, end: int) -> int:
    mark = error.problem_mark or error.context_mark
    return min(mark.index, end) if mark else 0


def _sentence(error: yaml.MarkedYAMLError) -> str:
    text = error.problem or error.context or "it cannot be read"
    return " ".join(text.split())
