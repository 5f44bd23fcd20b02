"""Programs of gates. As steps they are not called: the engine completes them itself, without a message or a worker."""

from __future__ import annotations

from typing import Any

from flowerapp.core.gates import GATE, VALUE
from flowerapp.registry import Context, program


@program(GATE)
def gate(ctx: Context) -> Any:
    """Pass the input on; as a step it needs no worker."""
    return ctx.input


@program(VALUE)
def value(value: Any) -> Any:
    """Give the value; as a step it needs no worker."""
    return value
