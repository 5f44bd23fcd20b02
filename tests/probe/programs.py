"""Programs for the tests."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError, connection, connections, router

from flowerapp.exceptions import ParkTask
from flowerapp.registry import Context, program


class ListedError(Exception):
    """An error that a program lists in ``autoretry_for``."""


@program("Noop")
def noop() -> None:
    """Do nothing."""


def record(ctx: Context) -> None:
    """Write one row for this start, where the host's routers put it."""
    from tests.probe.models import Start  # wants a configured Django

    with connections[router.db_for_write(Start)].cursor() as cursor:
        cursor.execute(
            "INSERT INTO probe_start (flow_id, seq, attempt, key, pid) VALUES (%s, %s, %s, %s, %s)",
            [ctx.flow_id, ctx.seq, ctx.attempt, ctx.idempotency_key, os.getpid()],
        )


@program("Record")
def record_start(ctx: Context, output: Any = None) -> Any:
    """Leave a row, and return ``output``."""
    record(ctx)
    return output


@program("Gate")
def gate(ctx: Context, path: str, seconds: float = 60) -> dict[str, Any]:
    """Leave a row, then wait until the file ``path`` exists."""
    record(ctx)
    deadline = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.02)
    return {"opened": path}


@program("Stubborn")
def stubborn(ctx: Context, path: str, seconds: float = 60) -> dict[str, Any]:
    """Leave a row, then wait until the file ``path`` exists, and heed no request to end."""
    record(ctx)
    deadline = time.monotonic() + seconds
    while not Path(path).exists() and time.monotonic() < deadline:
        with suppress(SystemExit):
            time.sleep(0.02)
    return {"opened": path}


@program("FailWhile", autoretry_for=())
def fail_while(ctx: Context, path: str) -> dict[str, Any]:
    """Leave a row, and fail while the file ``path`` exists."""
    record(ctx)
    if Path(path).exists():
        raise ValueError(f"{path} is in the way")
    return {"passed": path}


@program("FailUntil", autoretry_for=(ListedError,), retry_backoff=True, retry_jitter=False, max_retries=3)
def fail_until(ctx: Context, start: int) -> dict[str, Any]:
    """Leave a row, and fail with a listed error before start number ``start``."""
    record(ctx)
    if ctx.retries + 1 < start:
        raise ListedError(f"start {ctx.retries + 1} of {start}")
    return {"started": ctx.retries + 1}


@program("FailUnlisted", autoretry_for=(ListedError,), max_retries=3)
def fail_unlisted(ctx: Context) -> None:
    """Leave a row, and fail with an error that is not listed."""
    record(ctx)
    raise KeyError("not listed")


@program("Echo")
def echo(ctx: Context) -> Any:
    """Return the input."""
    return ctx.input


@program("Return")
def give(value: Any = None) -> Any:
    """Return ``value``."""
    return value


@program("Waiting")
def waiting(ctx: Context, seconds: float | None = None) -> dict[str, Any]:
    """Leave a row; park at the first start, finish at the second."""
    record(ctx)
    if ctx.attempt == 1:
        raise ParkTask("until woken", seconds=seconds)
    return {"woken": ctx.attempt}


@program("KillItself")
def kill_itself(ctx: Context, number: int = signal.SIGKILL) -> None:
    """Leave a row, and send the process that runs it a signal."""
    record(ctx)
    os.kill(os.getpid(), number)
    time.sleep(5)


@program("Exits")
def exits(ctx: Context) -> None:
    """Leave a row, and ask the interpreter to exit."""
    record(ctx)
    raise SystemExit(3)


@program("SoftLimited", soft_time_limit=1, time_limit=30)
def soft_limited(ctx: Context, heed: bool = True) -> dict[str, Any]:
    """Leave a row, and run until the soft time limit interrupts it; then return or fail, as ``heed`` says."""
    record(ctx)
    try:
        while True:
            time.sleep(0.02)
    except SoftTimeLimitExceeded:
        if not heed:
            raise
        return {"interrupted": True}


@program("Persist", autoretry_for=(DatabaseError, InterfaceError), max_retries=30, default_retry_delay=1)
def persist(ctx: Context) -> dict[str, Any]:
    """Leave a row, however often the database becomes unreachable, and read the input."""
    record(ctx)
    return {"seq": ctx.seq, "had": len(str(ctx.input))}


@program("Effect")
def effect(ctx: Context, after: list[int] | None = None, seconds: float = 0) -> dict[str, Any]:
    """Leave a row, and have an effect in the middle of ``seconds``, once the tasks ``after`` have finished."""
    record(ctx)
    deadline = time.monotonic() + 60
    while not _finished(ctx.flow_id, after or []):
        if time.monotonic() > deadline:
            raise TimeoutError(f"tasks {after} did not finish")
        time.sleep(0.05)
    time.sleep(seconds / 2)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO probe_effect (key, flow_id, seq) VALUES (%s, %s, %s) ON CONFLICT (key) DO NOTHING",
            [ctx.idempotency_key, ctx.flow_id, ctx.seq],
        )
    time.sleep(seconds / 2)
    return {"key": ctx.idempotency_key}


def _finished(flow_id: str, seqs: list[int]) -> bool:
    query = "SELECT count(*) FROM kr_task_stat WHERE task_flow_id = %s AND task_exec_seq = %s AND exec_status = 3"
    with connection.cursor() as cursor:
        for seq in seqs:
            cursor.execute(query, [flow_id, seq])
            if cursor.fetchone() != (1,):
                return False
    return True


@program("HoldLock")
def hold_lock(ctx: Context, seconds: float) -> dict[str, Any]:
    """Leave a row, then let no other thread of this process run for ``seconds``."""
    record(ctx)
    left = int(seconds)
    while left:
        left = ctypes.PyDLL(None).sleep(left)
    return {"held": seconds}


@program("Split")
def split(ctx: Context, items: list[Any], by_id: bool = False, then: str = "") -> dict[str, Any]:
    """Leave a row, add children for ``items`` (pairs with ``by_id``), and raise ``then`` at the first start."""
    record(ctx)
    ctx.add_children([(pair[0], pair[1]) for pair in items] if by_id else items)
    if then and ctx.attempt == 1:
        raise ListedError(then)
    return {"ignored": True}


@program("Sum")
def add_up(ctx: Context) -> Any:
    """Leave a row, and return the sum of the item; an item "bad" fails."""
    record(ctx)
    if "bad" in ctx.input:
        raise ListedError(f"child {ctx.child_id} is bad")
    return sum(ctx.input)


@program("Item")
def give_item(ctx: Context) -> Any:
    """Leave a row, and return the id and the item."""
    record(ctx)
    return [ctx.child_id, ctx.input]


@program("Spread")
def send_deferred(ctx: Context, number: int) -> None:
    """Add so many children."""
    ctx.add_children(range(number))


@program("Nap")
def nap(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


def _keep_losing(ctx: Context) -> None:
    def change(state: dict[str, Any]) -> None:
        ctx.change_state(lambda other: {"n": other.get("n", 0) + 1})
        state["mine"] = True

    ctx.change_state(change)


@program("Misbehave")
def misbehave(ctx: Context, how: str) -> Any:
    """Return, or do, what cannot be recorded."""
    values: dict[str, Any] = {"set": {1, 2}, "nan": float("nan"), "nul": "\0", "surrogate": "\ud800"}
    if how == "children":
        ctx.add_children(range(50_001))
    elif how == "state":
        _keep_losing(ctx)
    elif how == "state list":
        ctx.change_state(lambda _: [1])  # type: ignore[arg-type, return-value]
    elif how == "10 MB":
        return "x" * 10_000_000
    return values.get(how)


speaker = logging.getLogger("shop.speaker")


@program("Speak")
def speak(ctx: Context, lines: int = 2, pause: float = 0, end: str = "\n") -> int:
    """Log and print so many lines, each with its task's seq; with ``pause`` seconds after each."""
    for number in range(lines):
        if number % 2:
            print(f"says {ctx.seq}:{number}", end=end)  # noqa: T201 - what is tested
        else:
            speaker.info("says %d:%d", ctx.seq, number)
        if pause:
            time.sleep(pause)
    return lines


@program("SpeakAndStay")
def speak_and_stay(ctx: Context, path: str) -> None:
    """Log, then run on until the file ``path`` exists, or a limit or a signal ends it."""
    ctx.log(f"attempt {ctx.attempt}")
    gate(ctx, path)


@program("SpeakInThreads")
def speak_in_threads(ctx: Context) -> None:
    """Print in a thread that it starts."""
    thread = threading.Thread(target=print, args=["in a thread"])
    thread.start()
    thread.join()


@program("SpeakWithLimit", time_limit=60)
def speak_with_limit(ctx: Context) -> None:
    """Say so in a process of its own, where the worker's pool is threads."""
    print("limited")  # noqa: T201 - what is tested
    speaker.warning("before the error")
    raise ValueError("no")
