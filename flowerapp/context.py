"""What a program with a parameter ``ctx`` receives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowerapp import values
from flowerapp.models import Flow, Log, Task
from flowerapp.querysets import Claim
from flowerapp.querysets.steady import steady
from flowerapp.states import SATISFIED, Status

READ_SECONDS = 30.0
"""Seconds to go on trying to read a task's input while the database is away."""


def input_of(flow_id: str, seq: int) -> Any:
    """Input of a task: the flow's if it waits for none, else what its satisfied dependencies returned."""
    depends_on = Task.objects.one(flow_id, seq).values_list("depends_on", flat=True).get()
    if not depends_on:
        return Flow.objects.values_list("input", flat=True).get(pk=flow_id)
    before = Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=depends_on, exec_status__in=SATISFIED)
    outputs = before.order_by("task_exec_seq").values_list("output", flat=True)
    return values.merge([{} if output is None else output for output in outputs])


@dataclass(frozen=True)
class Context:
    """One attempt, as its program sees it; see ``registry.Context``."""

    claim: Claim

    @property
    def flow_id(self) -> str:
        """``task_flow_id``."""
        return self.claim.flow_id

    @property
    def task_id(self) -> str:
        """Name of the workflow."""
        return self.claim.task_id

    @property
    def seq(self) -> int:
        """``task_exec_seq``."""
        return self.claim.seq

    @property
    def task_seq(self) -> int:
        """``task_seq``."""
        return self.claim.task_seq

    @property
    def attempt(self) -> int:
        """Starts of this task so far, this one included."""
        return self.claim.attempt

    @property
    def retries(self) -> int:
        """Retries since it was registered or rerun."""
        return self.claim.retries

    @cached_property
    def input(self) -> Any:
        """The flow's input, or what the tasks before it returned."""
        return steady(lambda: input_of(self.flow_id, self.seq), READ_SECONDS)

    @property
    def idempotency_key(self) -> str:
        """``flow:seq:run``: the same for every attempt that does the same piece of work."""
        return f"{self.flow_id}:{self.seq}:{self.claim.run}"

    @property
    def cancelled(self) -> bool:
        """Whether the outcome of this attempt is no longer wanted; asks the database."""
        mine = Task.objects.one(self.flow_id, self.seq).filter(exec_status=Status.RUNNING, attempt=self.attempt)
        return not mine.exists()

    def output_of(self, seq: int) -> Any:
        """Output of a satisfied task of the same flow, by its ``task_seq``; KeyError if there is none."""
        found = Task.objects.filter(task_flow_id=self.flow_id, task_seq=seq, exec_status__in=SATISFIED).first()
        if found is None:
            raise KeyError(f"flow {self.flow_id} has no satisfied task with task_seq {seq}")
        return found.output

    def log(self, message: str) -> None:
        """Write a line to the task's log."""
        text = values.text(message)
        Log.objects.create(task_flow_id=self.flow_id, task_exec_seq=self.seq, attempt=self.attempt, message=text)

    def progress(self, done: int, total: int) -> None:
        """Tell how far the task is: ``done`` of ``total``."""
        mine = Task.objects.one(self.flow_id, self.seq).filter(exec_status=Status.RUNNING, attempt=self.attempt)
        mine.update(progress={"done": done, "total": total})
