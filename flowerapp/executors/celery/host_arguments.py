"""The arguments of a call of a host task: from the parameters of its step or child, and from its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowerapp.core.coercion import short
from flowerapp.exceptions import FlowerError

INPUT = "@input"
"""The parameter that says where the input goes: the name of an argument, ``ARGS``, ``KWARGS``, or ``NOWHERE``."""
ARGS = "*"
"""The input is a list of positional arguments."""
KWARGS = "**"
"""The input is an object of keyword arguments."""
NOWHERE = ""
"""The input is not passed."""
FIRST = "<first>"
"""The input is the first argument, as in a chain; what holds if a step or child does not say."""

_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Arguments = tuple[list[Any], dict[str, Any]]
Problems = Iterator[tuple[str, str]]


class HostTaskError(FlowerError):
    """The Celery task did something that a flow's task cannot do."""

    code = "host_task"


@dataclass(frozen=True)
class Binding:
    """How a task is called: its signature, and whether Celery checks calls against it (``typing``)."""

    name: str
    signature: inspect.Signature
    checked: bool

    @property
    def placed(self) -> list[inspect.Parameter]:
        """The arguments that may be given by position."""
        return [item for item in self.signature.parameters.values() if item.kind in _PLACED]

    @property
    def rest(self) -> str:
        """Name of ``*args``; empty if there is none."""
        kind = inspect.Parameter.VAR_POSITIONAL
        return next((item.name for item in self.signature.parameters.values() if item.kind is kind), "")

    def place(self, parameters: Mapping[str, Any], *, follows: bool, child: bool = False) -> str:
        """Where the input goes: what the parameters say; else, as in a chain, to the first argument without a value.

        A step gets its input there only if it follows others and the argument has no default.
        """
        if INPUT in parameters:
            return str(parameters[INPUT] or NOWHERE)
        first = self.placed[0] if self.placed else None
        if first is None:
            return FIRST if self.rest and self.rest not in parameters and (follows or child) else NOWHERE
        wanted = child or (follows and first.default is first.empty)
        return FIRST if wanted and first.name not in parameters else NOWHERE

    def argument_at(self, place: str) -> str:
        """Name of the argument at a place."""
        if place != FIRST:
            return place
        return self.placed[0].name if self.placed else self.rest

    def problems(self, parameters: Mapping[str, Any], *, follows: bool) -> Problems:
        """What is wrong with the parameters of a step but for the types of values: pairs of key and sentence."""
        place = self.place(parameters, follows=follows)
        yield from self._place_problems(parameters, place)
        for name in self._missing(parameters, place) if self.checked else ():
            yield name, f'{self.name} needs it; give it, or pass the input by "{INPUT}": "{name}"'

    def _place_problems(self, parameters: Mapping[str, Any], place: str) -> Problems:
        if not isinstance(parameters.get(INPUT) or "", str):
            yield INPUT, f"it is the name of an argument of {self.name}, *, ** or empty, not {short(parameters[INPUT])}"
        elif place in (FIRST, ARGS, KWARGS, NOWHERE):
            return
        elif place in parameters:
            yield INPUT, f"{place} has a value too; drop one of them"
        elif self.checked and place not in self._names() and not self._takes_any():
            names = ", ".join([*self._names(), "* (a list of arguments)", "** (an object)"])
            yield INPUT, f"{self.name} has no argument {place!r}; the input can be: {names}"

    def _names(self) -> list[str]:
        kind = inspect.Parameter.VAR_KEYWORD
        return [item.name for item in self.signature.parameters.values() if item.kind is not kind]

    def _takes_any(self) -> bool:
        return any(item.kind is inspect.Parameter.VAR_KEYWORD for item in self.signature.parameters.values())

    def _missing(self, parameters: Collection[str], place: str) -> list[str]:
        items = self.signature.parameters.values()
        required = [item for item in items if item.default is item.empty and item.kind not in _VARIABLE]
        if place == KWARGS:
            required = [item for item in required if item.kind is item.POSITIONAL_ONLY]
        elif place in (ARGS, self.rest) and place:
            required = [item for item in required if item.kind is item.KEYWORD_ONLY]
        filled = self.argument_at(place)
        return [item.name for item in required if item.name not in parameters and item.name != filled]

    def bind(self, parameters: Mapping[str, Any], place: str, read_input: Callable[[], Any]) -> Arguments:
        """The positional and keyword arguments; ``parameters`` are without ``@input``.

        Raises HostTaskError if the input does not fit its place.
        """
        named = dict(parameters)
        rest = list(named.pop(self.rest, None) or ()) if self.rest else []
        if place == FIRST:
            return self._placed_first(read_input(), named, rest)
        if place == ARGS or (place and place == self.rest):
            return [*_list(self.name, read_input()), *rest], named
        if place == KWARGS:
            named |= _object(self.name, read_input())
        elif place:
            named[place] = read_input()
        return self._by_position(self.placed, named, rest), named

    def _placed_first(self, value: Any, named: dict[str, Any], rest: list[Any]) -> Arguments:
        return [value, *self._by_position(self.placed[1:], named, rest)], named

    def _by_position(self, placed: list[inspect.Parameter], named: dict[str, Any], rest: list[Any]) -> list[Any]:
        """Take out of ``named`` what must be given by position: what stands before ``rest``, or has no keyword."""
        args: list[Any] = []
        for item in placed:
            if not rest and (item.kind is not item.POSITIONAL_ONLY or item.name not in named):
                break
            args.append(named.pop(item.name, item.default))
        return args + rest

    def named(self, args: Collection[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a call by the names of a step's parameters; raises TypeError if they do not fit."""
        bound = self.signature.bind(*args, **kwargs)
        named = dict(bound.arguments)
        for item in self.signature.parameters.values():
            if item.kind is item.VAR_KEYWORD:
                named |= named.pop(item.name, {})
        return named


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise HostTaskError(f'the input of {name} is {short(value)}, no list of arguments; change its "{INPUT}"')
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise HostTaskError(f'the input of {name} is {short(value)}, no object of arguments; change its "{INPUT}"')
    return value
