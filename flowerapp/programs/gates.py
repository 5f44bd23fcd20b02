"""Programs of gates. As steps they are not called: the engine completes them itself, without a message or a worker."""

from __future__ import annotations

from typing import Any

from flowerapp.core.gates import EACH, GATE, REMOTE, VALUE
from flowerapp.exceptions import FlowerError, InvalidValueError
from flowerapp.registry import Context, program


@program(GATE)
def gate(ctx: Context) -> Any:
    """Pass the input on; as a step it needs no worker."""
    return ctx.input


@program(VALUE)
def value(value: Any) -> Any:
    """Give the value; as a step it needs no worker."""
    return value


@program(EACH, autoretry_for=())
def each(ctx: Context, **parameters: Any) -> list[Any]:
    """Run the step's child program with these parameters for each item of the input, a list; the outputs in order."""
    if not isinstance(ctx.input, list):
        raise InvalidValueError("the input is not a list, so there is nothing to run for each item")
    ctx.add_children(ctx.input)
    return []


@program(REMOTE)
def remote(ctx: Context, **parameters: Any) -> Any:
    """Stand for what another system does; as the child program of a step it needs no worker."""
    raise FlowerError(f"{REMOTE} is no program by itself; a text of the arrow language names what does the work")
