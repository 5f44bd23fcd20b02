"""What must be true after a fault, and how to make one."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from django.db import InterfaceError, OperationalError, connection

from flowerapp import conf, engine
from flowerapp.models import Event, Flow, Lease, Task, Worker
from flowerapp.states import SATISFIED, Status
from flowerapp.watcher import DUTY
from tests.acceptance.live import Live, define, describe, starts, task
from tests.engine.support import check
from tests.services import Site, WorkerProcess, until

CHILD_SECONDS = 5.0
"""A killed pool process: its task is started again within this."""
WORKER_SECONDS = 30.0
"""A killed worker: its tasks are started again within this."""
LEADER_SECONDS = 15.0
"""A killed leader: another leads within this."""
BROKER_SECONDS = 30.0
"""A broker that is back: every flow goes on within this."""

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
    """Assert what must be true after any fault: each flow ended as it should, and nothing was lost or doubled."""
    for flow in flows:
        flow.refresh_from_db()
        assert flow.status is ended, describe(flow)
        check(flow)
        _assert_one_success_each(flow)
        _assert_order(flow)
    living = Worker.objects.living(conf.get().LEASE_SECONDS)
    forsaken = Task.objects.filter(exec_status=Status.RUNNING).exclude(worker__in=living.values("pk"))
    assert not forsaken.exists(), f"Running without a living worker: {list(forsaken)}"


def _assert_one_success_each(flow: Flow) -> None:
    counts = Counter((seq, run) for seq, run, _ in successes(flow))
    assert not (doubled := [place for place, count in counts.items() if count > 1]), f"accepted twice: {doubled}"
    finished = set(flow.tasks.filter(exec_status=Status.FINISH).values_list("task_exec_seq", "run"))
    assert finished <= set(counts), f"finished and never accepted: {finished - set(counts)}"
    runs = dict(flow.tasks.values_list("task_exec_seq", "run"))
    keys = {f"{flow.pk}:{seq}:{run}" for seq, last in runs.items() for run in range(1, last + 1)}
    assert not (odd := {each.key for each in starts(flow)} - keys), f"idempotency keys of no run: {odd}"


def _assert_order(flow: Flow) -> None:
    """No start before the success of each task it depends on."""
    satisfied = {seq: ts for seq, _, ts in reversed(successes(flow))}
    tasks = {each.task_exec_seq: each for each in flow.tasks.all()}
    for start in starts(flow):
        for before in tasks[start.seq].depends_on:
            assert tasks[before].status in SATISFIED, f"task {start.seq} was started before {before} was satisfied"
            assert satisfied[before] <= start.ts, f"task {start.seq} was started before {before} was satisfied"


def gated(path: Path, edges: Mapping[int, Iterable[int]], *gates: int) -> Flow:
    """A registered flow whose tasks ``gates`` wait for the file ``path``."""
    steps = {seq: {"program": "Gate", "parameters": {"path": str(path)}} for seq in gates}
    return engine.register(define(edges, steps))


def steady(ask: Callable[[], Any]) -> Callable[[], Any]:
    """``ask``, or None while the database is away."""

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
    """Wait until a task was started so many times; the seconds that it took."""
    return timed(lambda: len(starts(flow, seq)) >= number, seconds, flow)


def wait_finished(live: Live, *flows: Flow, seconds: float) -> float:
    """Wait until all these flows have finished, though the database may be away; the seconds that it took."""
    begun = time.monotonic()
    keys = [flow.pk for flow in flows]
    left = steady(lambda: Flow.objects.filter(pk__in=keys).exclude(exec_status=Status.FINISH).count() == 0)

    def what() -> str:
        open_flows = Flow.objects.filter(pk__in=keys).exclude(exec_status=Status.FINISH)[:3]
        return "\n".join(describe(flow) for flow in open_flows) + live.news[-6000:]

    until(left, seconds, what=what)
    return time.monotonic() - begun


# Workers


def row_of(worker: WorkerProcess) -> Worker:
    """The row of a worker process."""
    return Worker.objects.filter(name__startswith=f"{worker.name}@").get()


def runner_of(site: Site, flow: Flow, seq: int) -> WorkerProcess:
    """The worker process that has claimed a task."""
    name = Worker.objects.get(pk=task(flow, seq).worker).name
    return next(worker for worker in site.workers if name.startswith(f"{worker.name}@"))


def leader(site: Site) -> WorkerProcess | None:
    """The worker process that leads."""
    held = Lease.objects.filter(pk=DUTY).first()
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
    return Event.objects.filter(task_flow_id=flow.pk, verb="rescue").count()
