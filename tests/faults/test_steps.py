"""Processes that are killed at each step of a task's life: in a chain, at a fork, in its branches, and at the join."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.models import Flow
from tests.acceptance.live import Live, define, start_counts, starts, wait_started
from tests.effort import LONG
from tests.faults.conftest import live_site
from tests.faults.support import (
    CHILD_SECONDS,
    WORKER_SECONDS,
    assert_effects,
    assert_sound,
    database_clock,
    kill_worker,
    recovered,
    wait_finished,
)
from tests.ledger import LEDGER
from tests.probe.crash import VARIABLE, Step, Wish
from tests.services import fresh_database, fresh_redis, until

CHAIN = {1: [], 2: [1], 3: [2], 4: [3]}
FORK = {1: [], 2: [1], 3: [2], 4: [2], 5: [3, 4], 6: [5]}
ROUNDS = 5 if LONG else 1
SPARE = 2
"""Pool processes of the worker that is left."""
RESEND_SECONDS = 30.0
"""What a finished task released and no process sent is started within this."""
PROCESS, WORKER = "a pool process", "a worker"
BATCHES = ((Step.FINISHED, Step.SENDING, Step.SENT), (Step.CLAIMED,), (Step.PERFORMED,), (Step.DONE,))
"""Pool processes that are killed at once: a few, and first those whose tasks the watcher would send after a while."""


@dataclass(frozen=True)
class Target:
    """A task at which processes are killed, and how to make sure that it is what its name says."""

    name: str
    edges: dict[int, list[int]]
    seq: int
    follower: int
    """The task that waits for it."""
    after: tuple[int, ...] = ()
    """Tasks that finish before it does."""
    beside: tuple[int, ...] = ()
    """Tasks that are killed beside it, once claimed, so that it does not finish last."""
    unreached: tuple[Step, ...] = (Step.SENT,)
    """Steps that it does not come to."""


TARGETS = (
    Target("a link of a chain", CHAIN, 2, 3),
    Target("the task before a fork", FORK, 2, 4, unreached=()),
    Target("a branch", FORK, 3, 5, beside=(4,), unreached=(Step.SENDING, Step.SENT)),
    Target("the last branch", FORK, 3, 5, after=(4,)),
    Target("the join", FORK, 5, 6),
)


@dataclass
class Crash:
    """A flow in which a process is to be killed at a step of one task."""

    target: Target
    step: Step
    flow: Flow
    wishes: list[Wish] = field(default_factory=list)
    killed: datetime | None = None
    """When the processes that came to the wishes were killed, by the database's clock."""

    @property
    def was_running(self) -> bool:
        """Whether the attempt is lost."""
        return self.step in (Step.CLAIMED, Step.PERFORMED)

    @property
    def awaited(self) -> int:
        """The task whose start is the recovery."""
        return self.target.seq if self.was_running else self.target.follower

    @property
    def interrupted(self) -> bool:
        """Whether something was started after the kill: before the ack, the follower may have been so already."""
        return any(self.killed and start.ts > self.killed for start in starts(self.flow, self.awaited))

    def _certain(self, counts: dict[int, int]) -> dict[int, int]:
        """Without the followers where a message for them was sent: the kill may have met them too."""
        sent = self.step in (Step.SENT, Step.DONE)
        return {seq: count for seq, count in counts.items() if not sent or seq <= self.target.seq}

    def assert_as_expected(self) -> None:
        """Only lost attempts were made again, and only what had been called was called a second time."""
        once = dict.fromkeys(self.target.edges, 1)
        called = {self.target.seq: 2} if self.step is Step.PERFORMED else {}
        claimed = dict.fromkeys(self.target.beside, 2) | ({self.target.seq: 2} if self.was_running else {})
        assert self._certain(start_counts(self.flow)) == self._certain(once | called), self.target.name
        attempts = dict(self.flow.tasks.values_list("task_exec_seq", "attempt"))
        assert self._certain(attempts) == self._certain(once | claimed), self.target.name
        assert self.step is Step.DONE or self.interrupted, f"{self.target.name} was not interrupted"


class Wreck:
    """A site on which a process was killed at every step of every target."""

    def __init__(self, live: Live, directory: Path, victim: str) -> None:
        self.live, self.victim = live, victim
        self.gate, self.directory = directory / "gate", directory / "wishes"
        self.directory.mkdir()
        live.site.environment |= {
            VARIABLE: str(self.directory),
            "FLOWER_TEST_CONTINUE_SECONDS": "0",  # each by a message
        }
        self.crashes = [
            self._crash(target, step) for target in TARGETS for step in Step if step not in target.unreached
        ]

    def _crash(self, target: Target, step: Step) -> Crash:
        steps: dict[int, dict[str, Any]] = {1: {"program": "Gate", "parameters": {"path": str(self.gate)}}}
        steps[target.seq] = {"program": "Effect", "parameters": {"after": list(target.after)}}
        crash = Crash(target, step, engine.register(define(target.edges, steps, program="Effect")))
        places = [(target.seq, step), *((seq, Step.CLAIMED) for seq in target.beside)]
        crash.wishes = [Wish(self.directory, crash.flow.pk, *place) for place in places]
        for wish in crash.wishes:
            wish.make()
        return crash

    @property
    def wishes(self) -> list[Wish]:
        """All of them."""
        return [wish for crash in self.crashes for wish in crash.wishes]

    def start(self) -> None:
        """Start a worker that is large enough to be stopped everywhere, and let it come to the first tasks."""
        self.live.site.start_all(len(self.wishes) + 3)
        for crash in self.crashes:
            wait_started(crash.flow, 1)

    def go(self) -> None:
        """Let the tasks continue, until all have come to where they are stopped."""
        self.gate.touch()
        until(lambda: all(wish.pid for wish in self.wishes), 30, what=self._missing)

    def _missing(self) -> str:
        return f"{[wish.file.name for wish in self.wishes if not wish.pid]} {self.live.news[-3000:]}"

    def kill(self) -> None:
        """Bring the tasks to where they stop, and kill the victim there."""
        self.start()
        if self.victim == PROCESS:
            self.go()
            for steps in BATCHES:
                self._kill_processes([crash for crash in self.crashes if crash.step in steps])
            return
        (victim,) = self.live.site.workers
        with self.spare_worker():
            self.go()
            self._note_time(self.crashes)
            kill_worker(victim)

    def _kill_processes(self, crashes: list[Crash]) -> None:
        self._note_time(crashes)
        for crash in crashes:
            for wish in crash.wishes:
                os.kill(until(lambda wish=wish: wish.pid), signal.SIGKILL)  # type: ignore[misc] # a lambda in a loop
        held_up = [crash for crash in crashes if crash.step is not Step.DONE]
        until(lambda: all(crash.interrupted for crash in held_up), WORKER_SECONDS, what=lambda: self.live.news[-6000:])

    def _note_time(self, crashes: list[Crash]) -> None:
        now = database_clock()
        for crash in crashes:
            crash.killed = now

    @contextmanager
    def spare_worker(self) -> Iterator[None]:
        """Start another worker that is busy within the block."""
        gate = self.gate.with_name("spare")
        seqs = range(1, SPARE + 1)
        busy = {"program": "Gate", "queue": "spare", "parameters": {"path": str(gate)}}
        flow = engine.register(define({seq: [] for seq in seqs}, dict.fromkeys(seqs, busy)))
        self.live.site.start("-c", str(SPARE), "-Q", "default,spare").wait_ready()
        wait_started(flow, *seqs)
        yield
        gate.touch()


@pytest.fixture(
    scope="module",
    params=[(victim, number) for victim in (PROCESS, WORKER) for number in range(ROUNDS)],
    ids=lambda param: f"{param[0]} {param[1]}",
)
def wreck(
    request: pytest.FixtureRequest,
    postgres_url: str,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: Any,
) -> Iterator[Wreck]:
    """Where pool processes by themselves, or a worker, were just killed; its tests each look at one step."""
    with (
        fresh_database(postgres_url) as database,
        fresh_redis(redis_url) as broker,
        live_site(database, broker, django_db_blocker) as live,
    ):
        made = Wreck(live, tmp_path_factory.mktemp("wreck"), request.param[0])
        made.kill()
        yield made


def promise(victim: str, step: Step) -> float:
    """Seconds to continue in: a task that had finished needs the watcher to send what follows it."""
    if victim == WORKER:
        return WORKER_SECONDS
    return CHILD_SECONDS if step in (Step.CLAIMED, Step.PERFORMED) else RESEND_SECONDS


@pytest.mark.parametrize("step", Step, ids=lambda step: step.value)
def test_a_kill_at_a_step_loses_and_doubles_nothing(wreck: Wreck, step: Step) -> None:
    crashes = [crash for crash in wreck.crashes if crash.step is step]
    with LEDGER.opened(f"{wreck.victim} is killed {step.value}", promise(wreck.victim, step)):
        flows = [crash.flow for crash in crashes]
        wait_finished(wreck.live, *flows, seconds=2 * WORKER_SECONDS)
        assert_sound(*flows)
        assert_effects(*flows)
        for crash in crashes:
            crash.assert_as_expected()
        for crash in crashes:
            if crash.killed and crash.interrupted:
                recovered(crash.flow, crash.awaited, crash.killed, WORKER_SECONDS)
