"""The same workloads as workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection, transaction

from benchmarks.work import NOTHING, Work
from flowerapp import engine
from flowerapp.core import executor
from flowerapp.core.executor import NoExecutor
from flowerapp.engine import dispatching
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets.flows import FlowQuerySet
from flowerapp.states import Status
from tests.services import until

Edges = Mapping[int, Sequence[int]]


def define(name: str, edges: Edges, last: str = "benchmarks.tell", queue: str = "", work: Work = NOTHING) -> str:
    """Store a workflow whose steps do the work, and whose last one also signals its end."""
    end = max(edges)
    parameters = {"seconds": work.seconds} if work.seconds else {}
    ends = {"key": "", "kind": work.kind, **parameters} if last == "benchmarks.tell" else {}
    TaskDefinition.objects.bulk_create(
        [
            TaskDefinition(
                task_id=name,
                task_seq=seq,
                program=last if seq == end else f"benchmarks.{work.kind}",
                depends_on=list(waits),
                queue=queue,
                parameters=ends if seq == end else parameters,
            )
            for seq, waits in edges.items()
        ],
        batch_size=1000,
    )
    return name


def chain(length: int, name: str = "", work: Work = NOTHING) -> str:
    """Tasks one after the other; the workflow's name."""
    edges = {seq: [seq - 1] if seq > 1 else [] for seq in range(1, length + 1)}
    return define(name or f"chain-{length}", edges, work=work)


def fan_out(width: int, name: str = "", work: Work = NOTHING) -> str:
    """One task, ``width`` that follow it, and one that waits for them; the workflow's name."""
    last = width + 2
    edges = {1: [], **{seq: [1] for seq in range(2, last)}, last: range(2, last)}
    return define(name or f"fan-{width}", edges, work=work)


def register(name: str, last: int, key: str, of: int = 1) -> Flow:
    """Register a flow whose last task signals its end under ``key``."""
    return engine.register(name, parameters=_told(last, key, of))


def many(name: str, number: int, key: str, last: int = 3) -> list[Flow]:
    """Register ``number`` flows, one commit each; the last of them to end signals it."""
    return [register(name, last, key, number) for _ in range(number)]


def many_at_once(name: str, number: int, key: str, last: int = 3) -> list[Flow]:
    """Register ``number`` flows in one call."""
    flow = {"task_id": name, "parameters": _told(last, key, number)}
    return engine.register_many([flow] * number)


def _told(last: int, key: str, of: int) -> dict[int, dict[str, Any]]:
    return {last: {"key": key, "of": of}}


class Registered:
    """Flows that were registered and are held, so that no process sends them yet."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.flows: list[Flow] = []

    def prepare(self, key: str) -> None:
        """Register, and send nothing."""
        sender = executor.use(NoExecutor())
        try:
            with transaction.atomic():
                self.flows = many(self.name, self.number, key)
                self._mine().update(held=True)
        finally:
            executor.use(sender)

    def go(self) -> None:
        """Send them."""
        self._mine().update(held=False)
        dispatching.send_unsent()

    def _mine(self) -> FlowQuerySet:
        return Flow.objects.filter(pk__in=[flow.pk for flow in self.flows])


def wait_finished(flows: Flow | Sequence[Flow] | Any) -> None:
    """Wait until the ends of flows, whose last tasks have signaled, are committed."""
    keys = [flow.pk for flow in (flows if isinstance(flows, list) else [flows])]
    until(lambda: not Flow.objects.filter(pk__in=keys).exclude(exec_status=Status.FINISH).exists(), 60, poll=0.001)


def analyze() -> None:
    """Bring PostgreSQL's statistics up to date, as autovacuum does in time."""
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE) {Task._meta.db_table}, {Flow._meta.db_table}")
