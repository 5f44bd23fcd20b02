"""Flows in every state, for the pages to show."""

from __future__ import annotations

import secrets
from typing import Any

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.testing import InlineRunner

BRANCHES: tuple[dict[str, Any], ...] = (
    {"name": "start"},
    {"name": "slow", "depends_on": [1]},
    {"name": "frail", "program": "FailUnlisted", "depends_on": [1]},
    {"name": "end", "depends_on": [2, 3]},
)
"""Steps of a workflow with a branch that fails, step 3, beside another one."""


def define(*steps: dict[str, Any], name: str = "") -> str:
    """Write the rows of a workflow; its name."""
    name = name or f"w{secrets.token_hex(4)}"
    TaskDefinition.objects.bulk_create(
        TaskDefinition(task_id=name, **{"task_seq": seq, "program": "Noop", **step})
        for seq, step in enumerate(steps, start=1)
    )
    return name


def register(*steps: dict[str, Any], name: str = "", **options: Any) -> Flow:
    """A flow of a new workflow with these steps."""
    return engine.register(define(*steps, name=name), **options)


def start(flow: Flow, seq: int) -> None:
    """Have a task run, as on a worker that does not end it yet."""
    assert Task.objects.claim(TaskRef(flow.pk, seq), Process("7", 1))


def run(runner: InlineRunner, flow: Flow, *seqs: int) -> None:
    """Run the ready tasks of these seqs of a flow, and forget the messages of the others."""
    for seq in seqs:
        message = next(message for message in runner.waiting if message.ref == TaskRef(flow.pk, seq))
        runner.waiting.clear()
        runner.waiting.append(message)
        assert runner.step()


def forked(runner: InlineRunner, steps: tuple[dict[str, Any], ...] = BRANCHES) -> Flow:
    """A flow whose branch 2 runs, and whose branch 3 is about to start."""
    flow = register(*steps)
    run(runner, flow, 1)
    start(flow, 2)
    return flow
