"""Programs of waits. As steps they are not called: the engine begins and ends them, and no worker runs them."""

from __future__ import annotations

from typing import Any

from flowerapp.core.gates import ACQUIRE, COUNTDOWN, DELAY, EVENT, RELEASE
from flowerapp.exceptions import FlowerError
from flowerapp.registry import program


def _refuse(name: str) -> FlowerError:
    return FlowerError(f"{name} runs as a step only; the engine waits, and no worker")


@program(DELAY)
def delay(duration: int | float | str) -> Any:
    """Wait for ``duration``: seconds, or a text such as 1h30m."""
    raise _refuse(DELAY)


@program(EVENT)
def event(
    event: str,
    match: Any = None,
    receipt: bool = True,
    since: str = "registered",
    timeout: int | float | str | None = None,
) -> Any:
    """Wait for an event of this kind; ``match: input`` for one that contains the step's input."""
    raise _refuse(EVENT)


@program(ACQUIRE)
def acquire(name: str | int) -> Any:
    """Raise the latch of this name by one."""
    raise _refuse(ACQUIRE)


@program(RELEASE)
def release(name: str | int) -> Any:
    """Lower the latch of this name by one."""
    raise _refuse(RELEASE)


@program(COUNTDOWN)
def countdown(name: str | int, timeout: int | float | str | None = None) -> Any:
    """Wait until the latch of this name is at zero."""
    raise _refuse(COUNTDOWN)
