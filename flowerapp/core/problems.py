"""What is wrong with a call of a program, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from flowerapp.core import programs, values
from flowerapp.core.masking import MASKED
from flowerapp.core.names import unseen_problems
from flowerapp.core.unmasking import holds_mask
from flowerapp.exceptions import InvalidValueError, UnknownProgramError

_NOTHING_STORED = "which keeps what the same step has stored in that place, but nothing is stored there; give the value"


def problems_of(
    name: str, parameters: Any, *, follows: bool = False, later: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """The problems of calling the program of that name with ``parameters``: pairs of field and sentence.

    ``follows`` is whether the step follows others, whose outputs are its input; ``later`` are the names of parameters
    that are given at register. The field is ``program``, ``parameters``, ``parameters.KEY`` or
    ``required_at_register``.
    """
    try:
        program = programs.get(name)
    except UnknownProgramError as error:
        yield "program", str(error)
        return
    if program.refusal:
        yield "program", program.refusal
        return
    if isinstance(parameters, Mapping):
        for sentence in unknown_parameters(name, later):
            yield "required_at_register", sentence
        for key, message in program.parameter_problems(parameters, follows=follows, later=later):
            yield f"parameters.{key}", f"parameter {key}: {message}" if key else message
    yield from json_problems(parameters)


def json_problems(parameters: Any) -> Iterator[tuple[str, str]]:
    """The problems of parameters by themselves, whatever is called with them: pairs of field and sentence."""
    if not isinstance(parameters, Mapping):
        yield "parameters", "parameters must be a JSON object"
        return
    for key in parameters:
        yield from (("parameters", message) for message in unseen_problems(str(key), "the name of a parameter"))
    try:
        text = values.dumps(dict(parameters), "parameters")
    except InvalidValueError as error:
        yield "parameters", str(error)
        return
    for key in [key for key, value in parameters.items() if holds_mask(value)] if holds_mask(text) else ():
        yield f"parameters.{key}", f"parameter {key} holds {MASKED}, {_NOTHING_STORED}"


def unknown_parameters(name: str, keys: Collection[str]) -> Iterator[str]:
    """A sentence for each of ``keys`` that is not a parameter of the program of that name, if there is that program."""
    program = programs.find(name) if keys else None
    if program is None:
        return
    for key in [key for key in keys if not program.accepts(key)]:
        yield f"{name} has no parameter {key!r}; it takes: {', '.join(program.fields) or 'none'}"


def problems_of_child(name: str) -> Iterator[str]:
    """The problems of calling the program of that name for a child, with the context as its only argument."""
    for place, message in problems_of(name, {}, follows=True):
        yield message if place == "program" else f"{message}; {_advice(name)}"


def _advice(name: str) -> str:
    return f"a child gets its item as {programs.get(name).item_place}, so give it a default"
