"""Workflows and programs that the tests of ``flowerapp.testing`` run."""

from __future__ import annotations

import inspect
import time
from typing import Any

from celery import Celery
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

from flowerapp.engine import HookEvent
from flowerapp.exceptions import ParkTask, RetryTask
from flowerapp.registry import Context, program
from flowerapp.workflows import Workflow, task

LONG = 60
"""Seconds; no test lasts so long."""


class Sums(Workflow):
    """Sum each line, and report all sums."""

    task_id = "testing.sums"

    @task(max_concurrency=2, max_retries=2, parameters={"unit": "m"})
    def split(self, ctx: Context, unit: str = "") -> None:
        """Add a child for each line."""
        ctx.change_state(lambda state: {**state, "unit": unit})
        ctx.add_children(ctx.input["lines"])

    @split.child
    def add(self, ctx: Context) -> int:
        """Add up a line; the first attempt fails for a line that is marked."""
        if "retry" in ctx.input and ctx.attempt == 1:
            raise ValueError("not yet")
        return sum(number for number in ctx.input if number != "retry")

    @task
    def report(self, ctx: Context) -> dict[str, Any]:
        """Report the sums."""
        ctx.log(f"{len(ctx.input)} lines")
        ctx.progress(1, 1)
        return {"sums": ctx.input, "unit": ctx.state["unit"]}

    def all_over(self, event: HookEvent) -> None:
        """Note it."""
        event.change_state(lambda state: {**state, "over": state.get("over", 0) + 1})


@program("testing.Retry", max_retries=None)
def retry(ctx: Context, until: int = 2, delay: float = 3600) -> int:
    """Ask for a retry until that attempt."""
    if ctx.attempt < until:
        raise RetryTask(f"attempt {ctx.attempt}", delay=delay)
    return ctx.attempt


@program("testing.Park")
def park(ctx: Context, seconds: float | None = None, times: int = 1) -> int:
    """Wait without a worker."""
    if ctx.attempt <= times:
        raise ParkTask("for the post", seconds=seconds)
    return ctx.attempt


@program("testing.Fail")
def fail(ctx: Context, message: str = "no luck") -> None:
    """Fail until the flow's state says otherwise."""
    if not ctx.state.get("lucky"):
        raise ZeroDivisionError(message)


@program("testing.Hang", time_limit=1)
def hang(ctx: Context, until: int = 1) -> int:
    """Take too long until that attempt."""
    if ctx.attempt < until:
        time.sleep(LONG)
    return ctx.attempt


@program("testing.HangSoftly", soft_time_limit=1)
def hang_softly() -> str:
    """Take too long, and say which exception ended it."""
    try:
        time.sleep(LONG)
    except Exception as error:
        return type(error).__name__
    return ""


@program("testing.Swallow", time_limit=1)
def swallow() -> str:
    """Take too long, and swallow what should end it."""
    try:
        time.sleep(LONG)
    except Exception:
        return "swallowed"
    return ""


@program("testing.Break")
def break_transaction() -> None:
    """Let a statement fail outside an atomic block, as a worker's program may."""
    Group.objects.create(name="twice")
    Group.objects.create(name="twice")


@program("testing.Caught")
def catch_integrity_error() -> str:
    """Let a statement fail in an atomic block."""
    Group.objects.create(name="once")
    try:
        with transaction.atomic():
            Group.objects.create(name="once")
    except IntegrityError:
        return "caught"
    return ""


COMMITTED: list[str] = []
"""What ``on_commit`` of a program has called."""


@program("testing.Commit")
def on_commit(ctx: Context) -> list[str]:
    """Ask for a call on commit, and return those made so far."""
    before = list(COMMITTED)
    transaction.on_commit(lambda: COMMITTED.append(str(ctx.seq)))
    return before


@program("testing.Register")
def register_another(name: str) -> Any:
    """Register another flow, and return its status right after."""
    from flowerapp import engine

    flow = engine.register(name)
    flow.refresh_from_db()
    return flow.status.label


@program("testing.Depth")
def depth() -> int:
    """Return the number of frames on the stack."""
    return len(inspect.stack(0))


SENDER: Celery = Celery("testing", broker="memory://", set_as_current=False)
"""The app whose broker ``send`` sends to."""


@program("testing.Send")
def send() -> None:
    """Send a message of the host's own."""
    SENDER.send_task("any")


@program("testing.Wait")
def wait_for_another(name: str) -> str:
    """Register another flow, wait for it, and return its status."""
    from flowerapp import engine

    return engine.register(name).wait(timeout=60).status.label
