"""An executor that runs tasks in this process, one after the other: for tests, and for ``CELERY_TASK_ALWAYS_EAGER``.

Nothing here calls itself, so a flow may be of any length. ``drain`` runs what no message names, too.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from flowerapp.core.executor import Limits, NoExecutor, QueueSize
from flowerapp.core.messages import Message
from flowerapp.engine import attempts, hooks
from flowerapp.engine.propagation import Outcome
from flowerapp.executors.enclosing import survived
from flowerapp.runtimes import alarm

Result = TypeVar("Result")


class InlineRunner(NoExecutor):
    """An executor that keeps messages until ``run`` or ``drain`` runs them, most urgent first, then the oldest."""

    runs_here = True

    def __init__(self, worker: str = "inline", soft_limit_error: type[Exception] = TimeoutError) -> None:
        self.worker = worker
        self.soft_limit_error = soft_limit_error
        self.waiting: deque[Message] = deque()
        self.sent: list[Message] = []
        """Every message that was sent, in order."""

    def connected(self) -> bool:
        """It reaches a worker: itself."""
        return True

    def send(self, messages: Sequence[Message]) -> None:
        """Keep messages."""
        self.sent.extend(messages)
        self.waiting.extend(messages)

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, QueueSize]:
        """Messages that wait to be run."""
        waiting = Counter(self.route_of(message.head.program, message.head.queue) for message in self.waiting)
        return {name: QueueSize.of(waiting[name]) for name in names}

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Deliver at once."""
        for flow_id in flow_ids:
            hooks.deliver(flow_id)

    def call(self, function: Callable[[], Result], limits: Limits) -> Result:
        """Call a program, with its limits in the main thread, in whatever transaction encloses the run."""
        with survived(), alarm.limited(limits, self.soft_limit_error):
            return function()

    def step(self) -> bool:
        """Run the most urgent message; False if there is none."""
        if not self.waiting:
            return False
        message = min(self.waiting, key=lambda waiting: waiting.head.priority)
        self.waiting.remove(message)
        self.follow(self.perform(message))
        return True

    def perform(self, message: Message) -> Outcome:
        """Run the task of a message."""
        return attempts.run(message.ref, self.worker)

    def follow(self, outcome: Outcome) -> None:
        """Keep the messages that an outcome led to, and report an error."""
        self.send(outcome.released)
        if outcome.ending is not None:
            self.report(outcome.ending)

    def run(self, most: int = 100_000) -> int:
        """Run until nothing is left, ``most`` messages at the most; the number run."""
        count = 0
        while count < most and self.step():
            count += 1
        return count
