"""What must be true after a fault, and how to make one."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from django.db import InterfaceError, OperationalError, connection

from flowerapp import conf, engine
from flowerapp.models import Flow, HistoryEntry, Lease, Task, Worker
from flowerapp.states import SATISFIED, Status
from flowerapp.watcher.leader import LEASE
from tests.acceptance.live import Live, define, describe, starts, task
from tests.engine.support import check
from tests.ledger import LEDGER
from tests.probe.models import Effect, Start
from tests.services import Site, WorkerProcess, until

CHILD_SECONDS = 5.0
"""A killed pool process: its task is started again within this."""
WORKER_SECONDS = 30.0
"""A killed worker: its tasks are started again within this."""
LEADER_SECONDS = 15.0
"""A killed leader: another leads within this."""
BROKER_SECONDS = 30.0
"""A broker that is back: every flow continues within this."""

INTERVENTIONS = ("resend", "rescue")
"""Verbs of the history that say that the watcher had to step in."""

_SUCCESSES = """
CREATE TABLE probe_success (flow_id text, seq int, attempt int, run int, ts timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION probe_success() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO probe_success (flow_id, seq, attempt, run)
    VALUES (NEW.task_flow_id, NEW.task_exec_seq, NEW.attempt, NEW.run);
    RETURN NEW;
END $$;
CREATE TRIGGER probe_success AFTER UPDATE OF exec_status ON kr_task_stat
    FOR EACH ROW WHEN (NEW.exec_status = 3) EXECUTE FUNCTION probe_success();
"""
"""Each success that the database accepts leaves a row, also a second one of the same task."""


def count_successes() -> None:
    """Let the database write down each success that it accepts, from now on."""
    with connection.cursor() as cursor:
        cursor.execute(_SUCCESSES)


def successes(flow: Flow) -> list[tuple[int, int, Any]]:
    """``(task_exec_seq, run, time)`` of each accepted success of a flow, in order of time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq, run, ts FROM probe_success WHERE flow_id = %s ORDER BY ts", [flow.pk])
        return list(cursor.fetchall())


def assert_sound(*flows: Flow, ended: Status = Status.FINISH) -> None:
    """Assert what must be true after any fault, and enter it in the ledger.

    Each flow ended as it should, nothing was lost or doubled, and nothing is Running without a living worker.
    """
    for flow in flows:
        flow.refresh_from_db()
    stuck = [flow for flow in flows if flow.status is not ended]
    twice = {flow.pk: places for flow in flows if (places := _accepted_twice(flow))}
    keys = [flow.pk for flow in flows]
    LEDGER.count(
        tasks=Task.objects.filter(task_flow_id__in=keys).count(),
        lost=len(stuck),
        doubled=sum(map(len, twice.values())),
        interventions=HistoryEntry.objects.filter(task_flow_id__in=keys, verb__in=INTERVENTIONS).count(),
    )
    assert not stuck, "\n".join(describe(flow) for flow in stuck)
    assert not twice, f"accepted twice: {twice}"
    for flow in flows:
        check(flow)
        _assert_accepted(flow)
        _assert_order(flow)
    until(lambda: not _forsaken(), WORKER_SECONDS, what=lambda: f"Running without a living worker: {_forsaken()}")


def programs_are_called(worker: str) -> bool:
    """Whether a worker has claimed tasks, and the program of each has begun: a kill in between would start none."""
    running = Task.objects.filter(worker=worker, exec_status=Status.RUNNING)
    claimed = list(running.values_list("task_flow_id", "task_exec_seq", "attempt"))
    begun = (Start.objects.filter(flow_id=flow_id, seq=seq, attempt=attempt) for flow_id, seq, attempt in claimed)
    return bool(claimed) and all(rows.exists() for rows in begun)


def _forsaken() -> list[Task]:
    """Running tasks of dead workers, of any flow: the watcher may not have come to the last ones yet."""
    alive = Worker.objects.alive(conf.get().LEASE_SECONDS)
    running = Task.objects.filter(exec_status=Status.RUNNING).exclude(worker__in=alive.values("pk"))
    return [task for task in running if not task.is_remote]


def _accepted_twice(flow: Flow) -> list[tuple[int, int]]:
    """``(task_exec_seq, run)`` of the successes that were accepted more than once."""
    counts = Counter((seq, run) for seq, run, _ in successes(flow))
    return [place for place, count in counts.items() if count > 1]


def _assert_accepted(flow: Flow) -> None:
    """Each finished task has an accepted success, and no start had the key of another run."""
    accepted = {(seq, run) for seq, run, _ in successes(flow)}
    finished = set(flow.tasks.filter(exec_status=Status.FINISH).values_list("task_exec_seq", "run"))
    assert finished <= accepted, f"finished and never accepted: {finished - accepted}"
    runs = dict(flow.tasks.values_list("task_exec_seq", "run"))
    keys = {f"{flow.pk}:{seq}:{run}" for seq, last in runs.items() for run in range(1, last + 1)}
    assert not (odd := {start.key for start in starts(flow)} - keys), f"idempotency keys of no run: {odd}"


def _assert_order(flow: Flow) -> None:
    """No start before the success of each task it depends on."""
    satisfied = {seq: ts for seq, _, ts in reversed(successes(flow))}
    tasks = {row.task_exec_seq: row for row in flow.tasks.all()}
    for start in starts(flow):
        for before in tasks[start.seq].depends_on:
            assert tasks[before].status in SATISFIED, f"task {start.seq} was started before {before} was satisfied"
            when = satisfied.get(before, tasks[before].finished_ts)
            assert when is not None
            assert when <= start.ts, f"task {start.seq} was started before {before} was satisfied"


def gated(path: Path, edges: Mapping[int, Iterable[int]], *gates: int) -> Flow:
    """A registered flow whose tasks ``gates`` wait for the file ``path``."""
    steps = {seq: {"program": "Gate", "parameters": {"path": str(path)}} for seq in gates}
    return engine.register(define(edges, steps))


def when_connected(ask: Callable[[], Any]) -> Callable[[], Any]:
    """``ask``, or None while the database is unreachable."""

    def asked() -> Any:
        try:
            return ask()
        except (OperationalError, InterfaceError):
            connection.close()
            return None

    return asked


def timed(condition: Callable[[], Any], seconds: float, flow: Flow) -> float:
    """Wait until the condition holds, at most ``seconds``; the seconds that it took."""
    begun = time.monotonic()
    until(condition, seconds, what=lambda: describe(flow))
    return time.monotonic() - begun


def wait_starts(flow: Flow, seq: int, number: int, seconds: float) -> float:
    """Wait until a task was started so many times, and enter in the ledger how long it took."""
    took = timed(lambda: len(starts(flow, seq)) >= number, 2 * seconds, flow)
    LEDGER.recovered(took)
    return took


def wait_finished(live: Live, *flows: Flow, seconds: float) -> float:
    """Wait until all these flows have finished, though the database may be unreachable; the seconds that it took."""
    begun = time.monotonic()
    keys = [flow.pk for flow in flows]
    left = when_connected(lambda: Flow.objects.filter(pk__in=keys).exclude(exec_status=Status.FINISH).count() == 0)

    def what() -> str:
        open_flows = Flow.objects.filter(pk__in=keys).exclude(exec_status=Status.FINISH)[:3]
        return "\n".join(describe(flow) for flow in open_flows) + live.news[-6000:]

    until(left, seconds, what=what)
    return time.monotonic() - begun


# Workers


def row_of(worker: WorkerProcess) -> Worker:
    """The row of a worker process."""
    row: Worker = Worker.objects.filter(name__startswith=f"{worker.name}@").get()
    return row


def runner_of(site: Site, flow: Flow, seq: int) -> WorkerProcess:
    """The worker process that has claimed a task."""
    name = Worker.objects.get(pk=task(flow, seq).worker).name
    return next(worker for worker in site.workers if name.startswith(f"{worker.name}@"))


def leader(site: Site) -> WorkerProcess | None:
    """The worker process that leads."""
    held = Lease.objects.filter(pk=LEASE).first()
    return next((worker for worker in site.workers if held and row_of(worker).pk == held.holder), None)


def signal_group(worker: WorkerProcess, number: signal.Signals) -> None:
    """Send a signal to a worker and all its pool processes."""
    os.killpg(worker.process.pid, number)


def kill_worker(worker: WorkerProcess) -> None:
    """Kill a worker with all its pool processes."""
    signal_group(worker, signal.SIGKILL)
    worker.process.wait(10)


def alive(site: Site) -> bool:
    """Whether no worker process of the site has ended."""
    return all(worker.process.poll() is None for worker in site.workers)


def rescues(flow: Flow) -> int:
    """How often the flow's history says that a task was rescued."""
    return HistoryEntry.objects.filter(task_flow_id=flow.pk, verb="rescue").count()


# Recoveries and effects


def database_clock() -> datetime:
    """The time by the clock that also stamps the starts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cast("datetime", cursor.fetchone()[0])


def recovered(flow: Flow, seq: int, since: datetime, seconds: float) -> None:
    """Wait until a task is started after ``since``, and enter in the ledger how long that took."""
    again = Start.objects.filter(flow_id=flow.pk, seq=seq, ts__gt=since).order_by("ts")
    start = until(again.first, 2 * seconds, what=lambda: f"task {seq} was not started again. {describe(flow)}")
    LEDGER.recovered((start.ts - since).total_seconds())


def assert_effects(*flows: Flow) -> None:
    """Each accepted success of the program Effect had its effect once, and nothing else had one."""
    for flow in flows:
        programs = dict(flow.tasks.values_list("task_exec_seq", "program"))
        accepted = sorted(
            f"{flow.pk}:{seq}:{run}" for seq, run, _ in successes(flow) if programs[seq] == Effect.__name__
        )
        assert sorted(Effect.objects.filter(flow_id=flow.pk).values_list("key", flat=True)) == accepted


# Recovery


def wait_going(live: Live, *flows: Flow, seconds: float = BROKER_SECONDS) -> float:
    """Wait until all that was ready has been started and each open flow has got on, and enter how long that took.

    What is ready and open is looked at now, so call it when the server is back.
    """
    begun = time.monotonic()
    keys = [flow.pk for flow in flows]

    def look() -> tuple[list[int], dict[str, int]]:
        ready = Task.objects.filter(task_flow_id__in=keys).startable().values_list("pk", flat=True)
        left = Flow.objects.filter(pk__in=keys).open().values_list("pk", flat=True)
        counts = finished_counts(*left)
        return list(ready), {key: counts[key] for key in left}

    ready, before = until(when_connected(look))

    def going() -> bool:
        after = finished_counts(*before)
        got_on = all(after[key] > count for key, count in before.items())
        return got_on and not Task.objects.filter(pk__in=ready).startable().exists()

    until(when_connected(going), 2 * seconds, what=lambda: "\n".join(map(describe, flows[:3])) + live.news[-6000:])
    took = time.monotonic() - begun
    LEDGER.recovered(took)
    return took


def finished_counts(*keys: str) -> Counter[str]:
    """``{task_flow_id: finished tasks}`` of these flows."""
    done = Task.objects.filter(task_flow_id__in=keys, exec_status=Status.FINISH).order_by()
    return Counter(done.values_list("task_flow_id", flat=True))
