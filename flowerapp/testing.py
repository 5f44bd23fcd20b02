"""For tests of programs and workflows: run flows inline, without a broker or a worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flowerapp.core import executor
from flowerapp.core.executor import NoExecutor
from flowerapp.core.messages import Message
from flowerapp.engine import attempts, hooks


class InlineRunner(NoExecutor):
    """An executor that keeps messages until ``run`` is called, most urgent first, then the oldest."""

    def __init__(self, worker: str = "inline") -> None:
        self.worker = worker
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

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Deliver at once."""
        for flow_id in flow_ids:
            hooks.deliver(flow_id)

    def step(self) -> bool:
        """Run the most urgent message; False if there is none."""
        if not self.waiting:
            return False
        message = min(self.waiting, key=lambda waiting: waiting.head.priority)
        self.waiting.remove(message)
        self.send(attempts.run(message.ref, self.worker).released)
        return True

    def run(self, most: int = 100_000) -> int:
        """Run until nothing is left, ``most`` messages at the most; the number run."""
        count = 0
        while count < most and self.step():
            count += 1
        return count


@contextmanager
def inline() -> Iterator[InlineRunner]:
    """Within the block the engine sends to an ``InlineRunner`` instead of Celery."""
    runner = InlineRunner()
    previous = executor.use(runner)
    try:
        yield runner
    finally:
        executor.use(previous)
