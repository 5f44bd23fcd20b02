"""What was sent and deferred, as tests look at it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.core.messages import FIRST_SENT, TaskRef
from flowerapp.engine import attempts
from flowerapp.models import Flow, Task, Worker
from flowerapp.testing import InlineRunner
from tests.engine.support import define

WIDE = 10 * FIRST_SENT + 7


def sent(runner: InlineRunner) -> dict[int, int]:
    """``{task_exec_seq: messages}``."""
    return dict(Counter(message.head.seq for message in runner.sent))


def ago(seconds: float) -> Any:
    """The database's time then."""
    return Now() - timedelta(seconds=seconds)


def unsent() -> int:
    """Startable tasks that no process has taken on to send."""
    return Task.objects.all().unsent().count()


def left() -> set[int]:
    """Seqs of the deferred tasks."""
    return set(Task.objects.all().deferred().values_list("task_exec_seq", flat=True))


def workers(processes: int) -> None:
    """Let there be a living worker of so many processes."""
    Worker.objects.create(pk="there", name="there", pid=1, pool="prefork", concurrency=processes, queues=["default"])


def claimed_and_finished(flow: Flow, seq: int) -> list[int]:
    """Run a task whose message arrived; seqs of what is sent for it."""
    return [message.head.seq for message in attempts.run(TaskRef(flow.pk, seq), "w").released]


def silent_flow(runner: InlineRunner, number: int, seconds: float = 20) -> Flow:
    """A flow of ready tasks whose messages were sent so long ago, the first the longest."""
    flow = engine.register(define({seq: [] for seq in range(1, number + 1)}))
    for seq in range(1, number + 1):
        Task.objects.at(TaskRef(flow.pk, seq)).update(sent_ts=ago(seconds - seq / 100))
    runner.sent.clear()
    return flow
