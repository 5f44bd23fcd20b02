"""For tests of programs and workflows: run flows inline, without a broker or a worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flowerapp import dispatch, engine
from flowerapp.dispatch import Message


class InlineRunner:
    """A sender that keeps messages until ``run`` is called, most urgent first, then the oldest."""

    def __init__(self, worker: str = "inline") -> None:
        self.worker = worker
        self.waiting: deque[Message] = deque()
        self.sent: list[Message] = []
        """Every message that was sent, in order."""

    def __call__(self, messages: Sequence[Message]) -> None:
        """Keep messages."""
        self.sent.extend(messages)
        self.waiting.extend(messages)

    def tell(self, flow_ids: Sequence[str]) -> None:
        """Tell at once."""
        for flow_id in flow_ids:
            engine.tell(flow_id)

    def connected(self) -> bool:
        """It reaches a worker: itself."""
        return True

    def step(self) -> bool:
        """Run the most urgent message; False if there is none."""
        if not self.waiting:
            return False
        message = min(self.waiting, key=lambda each: each.head.priority)
        self.waiting.remove(message)
        self(engine.run(message.flow_id, message.head.seq, self.worker).released)
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
    previous = dispatch.use(runner)
    try:
        yield runner
    finally:
        dispatch.use(previous)
