"""What a test does with a live site: define workflows, register flows, and look at the outcome."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection

from flowerapp import engine
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition
from flowerapp.states import Status
from tests.probe.models import Start
from tests.services import Site, until

Edges = Mapping[int, Iterable[int]]
"""``{task_seq: task_seqs it depends on}``."""
Options = Mapping[int, Mapping[str, Any]]
"""Columns of single steps, by ``task_seq``."""


def define(edges: Edges, steps: Options | None = None, *, program: str = "Record", name: str = "") -> str:
    """Write a workflow's rows; its name."""
    name = name or f"w{secrets.token_hex(6)}"
    rows = [
        TaskDefinition(
            **{
                "task_id": name,
                "task_seq": seq,
                "program": program,
                "depends_on": sorted(needed),
                **(steps or {}).get(seq, {}),
            }
        )
        for seq, needed in edges.items()
    ]
    TaskDefinition.objects.bulk_create(rows, batch_size=500)
    return name


def starts(flow: Flow, seq: int | None = None) -> list[Start]:
    """The starts of a flow's tasks, or of one, as its programs wrote them down."""
    rows = Start.objects.filter(flow_id=flow.pk).order_by("ts", "pk")
    return list(rows if seq is None else rows.filter(seq=seq))


def start_counts(flow: Flow) -> dict[int, int]:
    """``{task_exec_seq: starts}``."""
    return dict(Counter(start.seq for start in starts(flow)))


def states(flow: Flow) -> dict[int, Status]:
    """``{task_exec_seq: state}``."""
    rows = flow.tasks.order_by("task_exec_seq").values_list("task_exec_seq", "exec_status")
    return {seq: Status(status) for seq, status in rows}


def task(flow: Flow, seq: int) -> Task:
    """A task of a flow, as it is now."""
    return Task.objects.at(TaskRef(flow.pk, seq)).get()


def interventions(*flows: Flow) -> list[str]:
    """What the watcher had to repair."""
    entries = HistoryEntry.objects.filter(task_flow_id__in=[flow.pk for flow in flows], verb__in=["resend", "rescue"])
    return [f"{entry}: {entry.reason}" for entry in entries]


def describe(flow: Flow) -> str:
    """A flow in words, for a failed assertion."""
    flow.refresh_from_db()
    rows = flow.tasks.exclude(exec_status=Status.FINISH).order_by("task_exec_seq")[:20]
    lines = [
        f"{row.task_exec_seq} {row.status.label} pending {row.pending} attempt {row.attempt} {row.error}"
        for row in rows
    ]
    history = [f"{event} {event.reason} {event.details}" for event in flow.history.all()[:20]]
    return "\n".join([f"flow {flow.pk} {flow.status.label} open sinks {flow.open_sinks}", *lines, *history])


def wait_started(flow: Flow, *seqs: int, seconds: float = 30) -> None:
    """Wait until these tasks have been started."""
    until(lambda: set(seqs) <= set(start_counts(flow)), seconds, what=lambda: describe(flow))


def wait_state(flow: Flow, status: Status, *seqs: int, seconds: float = 30) -> None:
    """Wait until these tasks are in a state."""
    until(lambda: all(states(flow)[seq] is status for seq in seqs), seconds, what=lambda: describe(flow))


class Live:
    """A site, as one test sees it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._logged = len(site.logs)

    def finish(self, *flows: Flow, seconds: float = 60) -> None:
        """Wait until all these flows have finished."""
        for flow in flows:
            self.wait(flow, Status.FINISH, seconds)

    def wait(self, flow: Flow, status: Status, seconds: float = 30) -> Flow:
        """Wait until a flow is in a state."""

        def reached() -> bool:
            flow.refresh_from_db()
            return flow.status is status

        until(reached, seconds, what=lambda: describe(flow) + self.news[-3000:])
        return flow

    def run(self, edges: Edges, steps: Options | None = None, **options: Any) -> Flow:
        """Define and register a workflow, and wait until it has finished."""
        flow = engine.register(define(edges, steps), **options)
        self.finish(flow)
        return flow

    @property
    def news(self) -> str:
        """What the workers have logged since the test began."""
        return self.site.logs[self._logged :]

    def assert_faultless(self, *flows: Flow) -> None:
        """No intervention in these flows, neither in the history nor in the logs, and no outcome refused."""
        assert not (steps := interventions(*flows)), f"{len(steps)} interventions: {steps[:10]}"
        ours = {flow.pk for flow in flows}
        wrong = [line for line in self.news.splitlines() if _worrying(line) and any(name in line for name in ours)]
        assert wrong == [], "\n".join(wrong)


def _worrying(line: str) -> bool:
    return "intervention" in line or "refused" in line


def deadlocks() -> int:
    """Deadlocks that PostgreSQL has counted in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
