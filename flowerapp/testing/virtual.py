"""Flows in virtual time: the clock stands while tasks run, and moves on to what happens next.

What happens next is a retry or a parked task that is due, or the end of a program that a test lets last for a while.
Events happen in the order of their times, whichever flow they belong to, so all times are those that the flows would
have had with a free worker for each task.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from flowerapp.core import identity
from flowerapp.core.executor import Limits
from flowerapp.core.gates import WAITS
from flowerapp.core.identity import Process
from flowerapp.core.messages import Message
from flowerapp.engine import attempts
from flowerapp.engine.propagation import REFUSED, Outcome
from flowerapp.engine.results import Result as AttemptResult
from flowerapp.exceptions import TimeLimitError
from flowerapp.executors.drain import Drain
from flowerapp.executors.inline import InlineRunner
from flowerapp.models import Task
from flowerapp.querysets import Claim, clock

Result = TypeVar("Result")

TICK = 0.000_001
"""Seconds between two starts at the same time, so that they have an order."""
SLACK = timedelta(milliseconds=1)
"""What happens so soon after the time until which time passes belongs to it: some ticks may lie in between."""


@dataclass(slots=True)
class _Simulated:
    """The call of a program that lasts for a while."""

    seconds: float
    called: bool = False
    """Whether it was called, or would have been; not where its condition is false, for one."""
    lasted: float = 0.0
    """Seconds until its end, or its limit."""


@dataclass(order=True, slots=True)
class _Ending:
    """The end of a program that is still to come."""

    at: datetime
    number: int
    claim: Claim = field(compare=False)
    result: AttemptResult = field(compare=False)


class VirtualRunner(InlineRunner):
    """Runs flows of a test, also where the code under test waits for one."""

    def __init__(self, soft_limit_error: type[Exception]) -> None:
        super().__init__(soft_limit_error=soft_limit_error)
        self._durations: dict[str, deque[float]] = {}
        self._simulated: _Simulated | None = None
        self._started: datetime | None = None
        """When the last task has started."""
        self._endings: list[_Ending] = []
        self._numbers = itertools.count()

    def set_duration(self, program: str, seconds: Sequence[float]) -> None:
        """Let starts of a program last so long, one after the other, and all further ones as long as the last."""
        self._durations[program] = deque(seconds)

    def run_ready(self, waited_for: str) -> bool:
        """Run all flows; raises TimeoutError if none can continue."""
        if not VirtualDrain(self).run():
            raise TimeoutError(f"{waited_for} is waited for, and nothing in this test can continue it")
        return True

    def perform(self, message: Message) -> Outcome:
        """Run the task of a message; of one that lasts for a while, the end is still to come."""
        self._tick()
        durations = self._durations.get(message.head.program)
        if not durations:
            return super().perform(message)
        claim = attempts.start(message.ref, Process(self.worker, identity.process().pid))
        if claim is None:
            return attempts.look_again(message.ref)
        return self._perform_claimed(claim, durations[0])

    def _tick(self) -> None:
        """Let a moment pass if a task has started just now."""
        if self._started == clock.about_now():
            clock.advance(TICK)
        self._started = clock.about_now()

    def _perform_claimed(self, claim: Claim, seconds: float) -> Outcome:
        began, simulated = clock.about_now(), _Simulated(seconds)
        result = self._result(claim, simulated)
        if not simulated.called:
            return attempts.conclude(claim, result)
        at = max(clock.about_now(), began + timedelta(seconds=simulated.lasted))
        heapq.heappush(self._endings, _Ending(at, next(self._numbers), claim, result))
        return REFUSED

    def _result(self, claim: Claim, simulated: _Simulated) -> AttemptResult:
        before, self._simulated = self._simulated, simulated
        try:
            return attempts.run_program(claim)
        finally:
            self._simulated = before
            durations = self._durations[claim.program]
            if simulated.called and len(durations) > 1:
                durations.popleft()

    def call(self, function: Callable[[], Result], limits: Limits) -> Result:
        """Call a program; not one that lasts beyond its limit, which ends with the limit's error."""
        simulated, self._simulated = self._simulated, None
        try:
            if simulated is not None:
                self._pass_time(simulated, limits)
            return super().call(function, limits)
        finally:
            self._simulated = simulated

    def _pass_time(self, simulated: _Simulated, limits: Limits) -> None:
        hard, soft, simulated.called = limits.hard, limits.soft, True
        if soft and simulated.seconds > soft:
            simulated.lasted = soft
            raise self.soft_limit_error(f"after {soft:g} s")
        if hard and simulated.seconds > hard:
            simulated.lasted = hard
            raise TimeLimitError(f"timed out after {hard:g} s")
        simulated.lasted = simulated.seconds

    @property
    def next_end(self) -> datetime | None:
        """When the next program ends that was let last for a while; None if there is none."""
        return self._endings[0].at if self._endings else None

    def end_next(self) -> None:
        """Record the end of that program."""
        ending = heapq.heappop(self._endings)
        self.follow(attempts.conclude(ending.claim, ending.result))


class VirtualDrain(Drain):
    """One run in virtual time, of what happens ``until`` a time; None means without an end."""

    runner: VirtualRunner

    def __init__(self, runner: VirtualRunner, until: datetime | None = None) -> None:
        super().__init__(runner)
        self.until = until

    def _skip_delay(self) -> int:
        """Let happen what happens next; 1 if there is anything."""
        task = self._tasks().delayed().order_by("due_ts", "pk").first()
        due, end = task.due_ts if task else None, self.runner.next_end
        at = min(filter(None, (due, end)), default=None)
        if at is None or (self.until is not None and at > self.until + SLACK):
            return 0
        clock.stop(max(at, clock.about_now()))
        if task is None or at == end:
            self.runner.end_next()
            return 1
        self._count(task)
        self._is_later = task.program in WAITS
        if task.parked and not self._is_later:
            Task.objects.filter(pk=task.pk).wake()
        return 1
