"""What code hears of: written down with the transition, told after it, and told again if the teller died meanwhile.

A process that runs a program tells by itself: the start before the program begins, the end before it sends the tasks
that follow, so that those who listen hear a chain in its order. Tasks that are let in because the end freed a place may
start before. What other processes record is told by a worker.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db import transaction

from flowerapp import conf, dispatch, identity, signals, values
from flowerapp.engine.ending import told_to_end
from flowerapp.engine.state import State, change_state, get_state
from flowerapp.models import Event, Flow, Hook, Task, Worker

logger = logging.getLogger(__name__)

LONGEST = 60
"""Seconds that telling may take; after that another process tells it too."""


@dataclass(frozen=True)
class HookEvent:
    """Something that happened in a flow."""

    id: int
    """The same each time that this is told."""
    name: str
    """A key of ``signals.HOOKS``."""
    flow_id: str
    task_id: str
    """Name of the workflow."""
    seq: int | None
    """``task_exec_seq``; None for the flow as a whole."""
    attempt: int | None
    error: str
    """Why it ended, for what went wrong; else empty."""
    ts: datetime

    @cached_property
    def flow(self) -> Flow:
        """The flow's row as it is now."""
        return Flow.objects.get(pk=self.flow_id)

    @cached_property
    def task(self) -> Task | None:
        """The task's row as it is now; None for the flow as a whole."""
        return None if self.seq is None else Task.objects.one(self.flow_id, self.seq).first()

    @property
    def state(self) -> State:
        """The object that the flow's programs and hooks share, as it is now; a copy."""
        return get_state(self.flow_id)

    def change_state(self, change: Callable[[State], State | None]) -> State:
        """Change the shared object as ``engine.change_state`` does; what was stored."""
        return change_state(self.flow_id, change)


def record(
    task_id: str,
    flow_id: str,
    seq: int | None,
    names: Iterable[str],
    *,
    attempt: int | None = None,
    error: str = "",
) -> bool:
    """Write down what somebody listens to, in the transaction that makes it; whether there was anything."""
    wanted = [name for name in names if signals.wanted(name, task_id)]
    for name in wanted:
        of_flow = name in {"start_flow", "all_over"}
        Hook.objects.record(name, flow_id, None if of_flow else seq, attempt=attempt, error=values.text(error))
    return bool(wanted)


def heard(task_id: str, *names: str) -> bool:
    """Whether anybody in this process listens to one of these in the flows of a workflow."""
    return any(signals.wanted(name, task_id) for name in names)


def tell_quietly(flow_id: str) -> None:
    """Tell what was written down; what goes wrong here is told later, and is no fault of a program."""
    try:
        tell(flow_id)
    except Exception:
        logger.exception("could not tell what happened in flow %s; a worker will", flow_id)


def tell(flow_id: str) -> None:
    """Tell what was written down of a flow and nobody else is telling, the oldest first."""
    while taken := Hook.objects.take(flow_id, identity.worker(), os.getpid()):
        task_id = Flow.objects.values_list("task_id", flat=True).get(pk=flow_id)
        for hook in taken:
            _tell_one(hook, task_id)


def _tell_one(hook: Hook, task_id: str) -> None:
    event = HookEvent(
        id=hook.pk,
        name=hook.event,
        flow_id=hook.task_flow_id,
        task_id=task_id,
        seq=hook.task_exec_seq,
        attempt=hook.attempt,
        error=hook.error,
        ts=hook.ts,
    )
    errors = list(signals.tell(hook.event, task_id, event))
    if told_to_end() and any(isinstance(error, SystemExit) for error in errors):
        raise SystemExit
    with transaction.atomic():
        for error in errors:
            logger.error("hook %s of flow %s failed", hook.event, hook.task_flow_id, exc_info=error)
            reason = f"{hook.event}: {type(error).__name__}: {values.text(error)}"
            details = {"event": hook.pk}
            facts: dict[str, Any] = {"attempt": hook.attempt, "worker": identity.worker(), "actor": "hook"}
            Event.objects.record("hook", hook.task_flow_id, hook.task_exec_seq, details=details, reason=reason, **facts)
        Hook.objects.filter(pk=hook.pk).delete()


def give_back(flow_id: str, worker: str, pid: int | None) -> None:
    """A process is gone: let a worker tell what it had taken of a flow. In a transaction."""
    taken = Hook.objects.filter(task_flow_id=flow_id, worker=worker)
    if (taken if pid is None else taken.filter(pid=pid)).release():
        have_told(flow_id)


def give_back_of_dead(worker: str) -> int:
    """Let others tell what processes of this host's ``worker`` had taken that are gone; the number of events."""
    taken = Hook.objects.filter(worker=worker)
    dead = [pid for pid in set(taken.values_list("pid", flat=True)) if not _is_alive(pid)]
    return taken.filter(pid__in=dead).release() if dead else 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def have_told(flow_id: str) -> None:
    """On commit, let a worker tell what was written down of a flow."""
    transaction.on_commit(lambda: dispatch.tell([flow_id]), robust=True)


def tell_forgotten() -> int:
    """Let a worker tell what its teller did not: for the leader; the number of flows."""
    living = [identity.worker(), *Worker.objects.living(conf.get().LEASE_SECONDS).values_list("pk", flat=True)]
    Hook.objects.forgotten(living, LONGEST).release()
    flow_ids = Hook.objects.untold(conf.get().RESEND_AFTER)
    if dispatch.connected():
        dispatch.tell(flow_ids)
    return len(flow_ids)
