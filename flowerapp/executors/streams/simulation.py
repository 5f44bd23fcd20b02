"""Ends remote tasks after a random time, some as failures, so that a workflow can be tried without their workers."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flowerapp import engine
from flowerapp.core.messages import TaskRef
from flowerapp.engine import remote_work
from flowerapp.exceptions import StateConflictError
from flowerapp.executors.streams.address import Address, address
from flowerapp.listener import Listener, TaskFailed, Work
from flowerapp.models import Task

WAITS = "wait:"
"""How the names of tasks begin that are not ended: they wait for something."""
WORKER = "simulate"
REASON = "simulated failure"
THREADS = 50
"""Tasks that run at once."""
PAUSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """How a task ended."""

    flow: str
    """The id of its flow."""
    name: str
    seconds: float
    failed: bool


@dataclass(slots=True, kw_only=True)
class Chances:
    """How long tasks take, and how many of them fail."""

    wait_period: float = 3.0
    """Seconds that a task takes at most."""
    failures: float = 0.0
    """Of a hundred tasks."""
    flow_id: str = ""
    """Only its tasks are ended; empty for those of all flows."""
    log: Callable[[Simulated], None] = field(default=lambda simulated: None)
    random: random.Random = field(default_factory=random.SystemRandom)

    def of(self, flow_id: str, name: str) -> Simulated:
        """How a task is to end."""
        seconds, failed = self.random.uniform(0, self.wait_period), self.random.uniform(0, 100) < self.failures
        return Simulated(flow=flow_id, name=name, seconds=seconds, failed=failed)


class StreamSimulator(Listener):
    """A listener that does every task but those that wait."""

    def __init__(self, where: Address, group: str, chances: Chances) -> None:
        group = f"{group}-{chances.flow_id}" if chances.flow_id else group
        super().__init__(where.url, group=group, stream=where.key, name=WORKER, concurrency=THREADS)
        self.chances = chances

    def function_of(self, work: Work) -> Callable[[Work], Any] | None:
        """The same for each task; none for one that waits, or that is of another flow."""
        of_flow = work.workflow.partition(":")[2]
        wanted = self.chances.flow_id in ("", of_flow)
        return self._simulate if wanted and not work.base.startswith(WAITS) else None

    def _simulate(self, work: Work) -> dict[str, Any]:
        simulated = self.chances.of(work.workflow.partition(":")[2], work.name)
        self.stopping.wait(simulated.seconds)
        self.chances.log(simulated)
        if simulated.failed:
            raise TaskFailed(REASON)
        return {}

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Take and end tasks until then; those that run are ended at once."""
        thread = threading.Thread(target=self.run, name="flowerapp-simulate")
        thread.start()
        try:
            while thread.is_alive() and not is_over():
                thread.join(PAUSE)
        finally:
            self.stop()
            thread.join()
            if self.chances.flow_id:  # no other process shares its group
                self.client.xgroup_destroy(self.stream, self.group)


class DatabaseSimulator:
    """Does the same without Redis: it claims the tasks and ends them."""

    def __init__(self, chances: Chances) -> None:
        self.chances = chances
        self._ends: list[tuple[float, int, TaskRef, int, Simulated]] = []
        self._ages = itertools.count()

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Take and end tasks until then; those that run are ended at once."""
        try:
            while not is_over():
                self.look()
                time.sleep(PAUSE)
        finally:
            self._end_until(float("inf"))

    def look(self) -> None:
        """Take what is ready, and end what is due."""
        for work in self._taken():
            simulated = self.chances.of(work.ref.flow_id, work.name)
            due = time.monotonic() + simulated.seconds
            heapq.heappush(self._ends, (due, next(self._ages), work.ref, work.attempt, simulated))
        self._end_until(time.monotonic())

    def _taken(self) -> Iterator[remote_work.RemoteWork]:
        ready = Task.objects.all().offered().exclude(remote__startswith=WAITS).order_by("task_priority", "pk")
        wanted = ready.filter(task_flow_id=self.chances.flow_id) if self.chances.flow_id else ready
        keys = wanted.values_list("task_flow_id", "task_exec_seq")[: THREADS - len(self._ends)]
        works = (remote_work.take_remote(TaskRef(*key), WORKER) for key in list(keys))
        return (work for work in works if work is not None)

    def _end_until(self, moment: float) -> None:
        while self._ends and self._ends[0][0] <= moment:
            _, _, ref, attempt, simulated = heapq.heappop(self._ends)
            self.chances.log(simulated)
            try:
                if simulated.failed:
                    engine.fail_task(*ref, REASON, attempt=attempt, actor=WORKER)
                else:
                    engine.end_task(*ref, attempt=attempt, actor=WORKER)
            except StateConflictError:  # cancelled, or ended by another
                continue


def simulator(group: str, chances: Chances) -> StreamSimulator | DatabaseSimulator:
    """What simulates: a member of a group of the stream, if there is one."""
    where = address()
    return DatabaseSimulator(chances) if where is None else StreamSimulator(where, group, chances)
