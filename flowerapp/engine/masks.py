"""What a task must not quote: in its errors, its log and its history, and in the lines of the worker's log."""

from __future__ import annotations

from flowerapp.core import masking
from flowerapp.core.masking import Secrets
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, Task


def secrets_of(flow_id: str, seq: int | None) -> Secrets:
    """The secrets of a task's parameters and item, and of its flow's input and state; one statement."""
    if seq is None:
        return masking.secrets_of(*Flow.objects.filter(pk=flow_id).values_list("input", "state").first() or ())
    columns = ("parameters", "item", "task_flow__input", "task_flow__state")
    return masking.secrets_of(*Task.objects.at(TaskRef(flow_id, seq)).values_list(*columns).first() or ())
