"""The reference project's Celery app with one more program: ``celery -A tests.faults.planned worker``."""

from __future__ import annotations

import time
from typing import Any

from django.db import connection

from flowerapp.exceptions import ParkTask
from flowerapp.registry import Context, program
from project.celery import app
from tests.faults.model import Act, act_of
from tests.probe.programs import ListedError, record

__all__ = ["app"]

SLOW_SECONDS = 0.4
PARK_SECONDS = 0.5
DB_RETRY_SECONDS = 30.0
"""Seconds that the program waits for an unreachable database."""

PARKED = ":parked"
"""Ends the key under which a task remembers that it was parked."""


def once(ctx: Context, key: str) -> bool:
    """Leave a row under a key; whether it is the first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO probe_effect (key, flow_id, seq) VALUES (%s, %s, %s) ON CONFLICT (key) DO NOTHING",
            [key, ctx.flow_id, ctx.seq],
        )
        return bool(cursor.rowcount)


@program("Planned", autoretry_for=(ListedError,))
def planned(ctx: Context, plan: list[list[str]]) -> dict[str, Any]:
    """Leave a row, then do what the plan says; a success has its effect once, by the idempotency key."""
    from flowerapp.querysets.db import retry_on_disconnect  # wants a configured Django

    patiently = retry_on_disconnect(DB_RETRY_SECONDS)
    patiently(record)(ctx)
    run = int(ctx.idempotency_key.rpartition(":")[2])
    act = act_of(plan, run, ctx.retries)
    if act is Act.FAIL:
        raise ValueError("it fails by plan")
    if act is Act.RETRY:
        raise ListedError("it fails by plan, and may be retried")
    if act is Act.PARK and patiently(once)(ctx, ctx.idempotency_key + PARKED):
        raise ParkTask("by plan", seconds=PARK_SECONDS)
    if act is Act.SLOW:
        time.sleep(SLOW_SECONDS)
    patiently(once)(ctx, ctx.idempotency_key)
    return {"attempt": ctx.attempt}
