"""What a user may do to a flow or a task now, and what to press first where one has stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowerapp.models import Flow, Task
from flowerapp.states import OPEN, Status, allows


def flow_verbs(flow: Flow) -> set[str]:
    """Names of the verbs that fit a flow now; the engine decides when one is called."""
    fits = {
        "rerun-failed": flow.failed_seq is not None,
        "resume": flow.held,
        "suspend": not flow.ended and not flow.held,
        "rerun-all": True,
        "cancel": not flow.ended,
    }
    return {verb for verb, fit in fits.items() if fit}


def task_verbs(task: Task) -> set[str]:
    """Names of the verbs that fit a task now; the engine decides when one is called."""
    is_open = task.task_flow.exec_status in OPEN
    fits = {
        "rerun-failed": task.failed,
        "change": is_open and allows("change", task.exec_status),
        "skip": is_open and allows("skip", task.exec_status),
        "rerun-from": task.status is not Status.RUNNING,
        "end": is_open and task.may_be_answered,
        "fail": is_open and task.may_be_answered,
        "wake": is_open and (task.has_begun_to_wait or task.is_parked),
    }
    return {verb for verb, fit in fits.items() if fit}


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """One way to continue a flow that has stopped."""

    verb: str
    """``resume``, ``rerun``, ``change`` (then rerun), ``skip`` or ``traceback``."""
    purpose: str
    """What it is good for, in a few words."""
    task: Task | None = None
    """The failed task that it is about."""
    parameter: str = ""
    """Of ``change``: a parameter that the task has."""


def next_steps(flow: Flow, failures: Sequence[Task]) -> list[NextStep]:
    """What continues a flow that is held or has failed tasks, the best first; ``failures`` with the first in front."""
    steps = [NextStep(verb="resume", purpose="release the held flow")] if flow.held else []
    if not failures:
        return steps
    task = failures[0]
    parameter = next(iter(task.parameters), "") if isinstance(task.parameters, dict) else ""
    steps.append(NextStep(verb="rerun", purpose="start the failed tasks again"))
    if parameter:
        steps.append(NextStep(verb="change", purpose="with another parameter", task=task, parameter=parameter))
    steps.append(NextStep(verb="skip", purpose=f"continue without {task.mention}", task=task))
    steps.append(NextStep(verb="traceback", purpose=f"see where {task.mention} failed", task=task))
    return steps
