"""Workflow classes for tests with real workers.

They are workflows only where the variable says so: their hooks cost every claim of a process statements.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from flowerapp.engine import HookEvent
from flowerapp.registry import Context
from flowerapp.workflows import Workflow, task
from tests.probe.programs import record

VARIABLE = "FLOWER_PROBE_WORKFLOWS"
"""Environment variable that makes the classes workflows in a worker."""

LONG = 60
"""Seconds; nothing lives that long here."""


class Sleepy(Workflow):
    """Run out of time, and succeed in the end."""

    @task(max_retries=2, retry_delay=0, time_limit=1)
    def nap(self, ctx: Context) -> int:
        """Run out of time at the first two starts."""
        record(ctx)
        if ctx.retries < 2:
            time.sleep(LONG)
        return ctx.retries

    @task(max_retries=1, retry_delay=0, time_limit=1)
    def split(self, ctx: Context) -> None:
        """Add two children."""
        record(ctx)
        ctx.add_children(["awake", "asleep"])

    @split.child
    def doze(self, ctx: Context) -> Any:
        """Run out of time at the first start, if that is what the item says."""
        record(ctx)
        if ctx.input == "asleep" and not ctx.retries:
            time.sleep(LONG)
        return [ctx.input, ctx.retries]

    def task_start(self, event: HookEvent) -> None:
        """Note it."""
        _note(event)

    def task_timeout(self, event: HookEvent) -> None:
        """Note it."""
        _note(event)

    def task_failed(self, event: HookEvent) -> None:
        """Note it."""
        _note(event)

    def all_over(self, event: HookEvent) -> None:
        """Note it."""
        _note(event)


class Deadly(Workflow):
    """Each hook kills its process when it is first told."""

    @task
    def first(self, ctx: Context) -> None:
        """Add a child."""
        record(ctx)
        ctx.add_children([1])

    @first.child
    def child(self, ctx: Context) -> None:
        """Leave a row."""
        record(ctx)

    @task
    def second(self, ctx: Context) -> None:
        """Leave a row."""
        record(ctx)

    def start_flow(self, event: HookEvent) -> None:
        """Die once."""
        _die_once(event)

    def task_start(self, event: HookEvent) -> None:
        """Note it."""
        _note(event)

    def task_over(self, event: HookEvent) -> None:
        """Die once."""
        _die_once(event)

    def task_all_over(self, event: HookEvent) -> None:
        """Die once."""
        _die_once(event)

    def all_over(self, event: HookEvent) -> None:
        """Die once."""
        _die_once(event)


def _die_once(event: HookEvent) -> None:
    died = Path(os.environ["FLOWER_STATE_DIR"]) / f"died {event.id}"
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    _note(event)


def _note(event: HookEvent) -> None:
    def change(state: dict[str, Any]) -> None:
        state.setdefault("heard", []).append([event.id, event.name, event.seq, event.attempt])

    event.change_state(change)


def deadly() -> type[Workflow]:
    """``Deadly`` as a workflow of this process."""

    class Dying(Deadly):
        task_id = "probe.dying"

    return Dying


def sleeping() -> type[Workflow]:
    """``Sleepy`` as a workflow of this process."""

    class Sleeping(Sleepy):
        task_id = "probe.sleeping"

    return Sleeping


if os.environ.get(VARIABLE):
    sleeping()
    deadly()
