"""Who ran when, as the database saw it: each change into and out of Running leaves a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from django.db import connection

_TABLE = """
CREATE TABLE probe_change (
    id bigserial PRIMARY KEY, flow_id text, seq int, pool text, parent_seq int, running int, waiting int,
    ts timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION probe_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ran int := 0; waited int := 0;
    runs int := (NEW.exec_status = 1)::int;
    waits int := (NEW.exec_status = 0 AND NEW.pending = 0 AND NOT NEW.parked)::int;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        ran := (OLD.exec_status = 1)::int;
        waited := (OLD.exec_status = 0 AND OLD.pending = 0 AND NOT OLD.parked)::int;
    END IF;
    IF ran <> runs OR waited <> waits THEN
        INSERT INTO probe_change (flow_id, seq, pool, parent_seq, running, waiting)
        VALUES (NEW.task_flow_id, NEW.task_exec_seq, NEW.pool, NEW.parent_seq, runs - ran, waits - waited);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER probe_change AFTER INSERT OR UPDATE ON kr_task_stat FOR EACH ROW EXECUTE FUNCTION probe_change();
"""


def record() -> None:
    """Let the database record, from now on, when tasks become ready but for a slot, run, and end."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLE)


@dataclass(frozen=True)
class Moment:
    """How it was until the next change."""

    seconds: float
    """How long it stayed so."""
    running: int
    waiting: int


def _moments(condition: str, *values: str | int) -> Iterator[Moment]:
    query = f"""
        SELECT extract(epoch FROM ts)::float8, sum(running) OVER before, sum(waiting) OVER before
          FROM probe_change WHERE {condition} WINDOW before AS (ORDER BY ts, id) ORDER BY ts, id
    """  # noqa: S608 - the conditions are those below
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        rows = cursor.fetchall()
    for (at, running, waiting), (until, _, _) in pairwise(rows):
        yield Moment(until - at, running, waiting)


def of_pool(name: str) -> list[Moment]:
    """How many tasks of a pool ran and waited, over time."""
    return list(_moments("pool = %s", name))


def of_children(flow_id: str) -> list[Moment]:
    """How many children of a flow ran and waited, over time."""
    return list(_moments("flow_id = %s AND parent_seq IS NOT NULL", flow_id))


def most(moments: list[Moment]) -> int:
    """The most that ran at once."""
    return max((moment.running for moment in moments), default=0)


def longest_idle(moments: list[Moment], slots: int) -> float:
    """The longest time, in seconds, that a slot was free while a task waited for one."""
    longest = idle = 0.0
    for moment in moments:
        idle = idle + moment.seconds if moment.running < slots and moment.waiting else 0.0
        longest = max(longest, idle)
    return longest
