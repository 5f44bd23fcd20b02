"""Hooks: a transactional outbox of events that code listens to.

Each event is written in the transaction of its change. The process that runs the program then calls the listeners: for
the start before the program begins, for the end before it sends the tasks that follow, so that listeners see a chain in
its order. Tasks that are admitted because the end freed a place may start before. If the process died, or another
process wrote the event, a worker calls the listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from flowerapp import conf, signals
from flowerapp.core import executor, identity, logs, masking, values
from flowerapp.core.identity import Process
from flowerapp.core.masked_errors import masked_error
from flowerapp.core.messages import TaskRef
from flowerapp.engine.masks import secrets_of
from flowerapp.engine.state import State, change_state, get_state
from flowerapp.models import Approval, Flow, HistoryEntry, Hook, Task, Worker
from flowerapp.querysets.db import atomic, on_commit

logger = logs.logger(__name__)

LONGEST = 60
"""Seconds that a delivery may take; after that another process delivers too."""

OWN: dict[str, Callable[[HookEvent], object]] = {}
"""Name of a hook → what the engine itself does at its delivery, after the listeners."""

OF_FLOW = frozenset({"start_flow", "all_over"})
"""Hooks about the flow as a whole."""


@dataclass(frozen=True)
class HookEvent:
    """Something that happened in a flow."""

    id: int
    """The same at each delivery."""
    name: str
    """A key of ``signals.HOOKS``."""
    flow_id: str
    task_id: str
    """Name of the workflow."""
    seq: int | None
    """``task_exec_seq``; None for the flow as a whole."""
    attempt: int | None
    error: str
    """Why it ended, where it failed; else empty."""
    ts: datetime

    @cached_property
    def flow(self) -> Flow:
        """The flow's row as it is now."""
        return Flow.objects.get(pk=self.flow_id)

    @cached_property
    def task(self) -> Task | None:
        """The task's row as it is now; None for the flow as a whole."""
        return None if self.seq is None else Task.objects.at(TaskRef(self.flow_id, self.seq)).first()

    @property
    def approval(self) -> Approval | None:
        """The last approval of the task, as it is now; None if it never asked for a decision."""
        ref = TaskRef(self.flow_id, self.seq or 0)
        return None if self.seq is None else Approval.objects.of(ref).order_by("-id").first()

    @property
    def state(self) -> State:
        """The object that the flow's programs and hooks share, as it is now; a copy."""
        return get_state(self.flow_id)

    def change_state(self, change: Callable[[State], State | None]) -> State:
        """Change the shared object as ``engine.change_state`` does; what was stored."""
        return change_state(self.flow_id, change)


def record(
    task_id: str,
    ref: TaskRef,
    names: Iterable[str],
    *,
    attempt: int | None = None,
    error: str = "",
) -> bool:
    """Record the events of these names that have listeners, in the transaction that makes them; whether any had."""
    wanted = [name for name in names if signals.has_listeners(task_id, name)]
    for name in wanted:
        seq = None if name in OF_FLOW else ref.seq
        Hook.objects.record(name, ref.flow_id, seq, attempt=attempt, error=values.text(error))
    return bool(wanted)


def try_deliver(task_id: str, flow_id: str) -> None:
    """Deliver what was recorded, where this process has listeners; an error of ours leaves it to a worker."""
    if not signals.has_listeners(task_id, *signals.HOOKS):
        return
    try:
        deliver(flow_id)
    except Exception:
        logger.exception("could not deliver the events of flow %s; a worker will", flow_id)


def deliver(flow_id: str) -> None:
    """Deliver what was recorded of a flow and no other process is delivering, the oldest first."""
    while hooks := Hook.objects.take(flow_id, identity.process()):
        task_id = Flow.objects.values_list("task_id", flat=True).get(pk=flow_id)
        for hook in hooks:
            _deliver_one(hook, task_id)


def _deliver_one(hook: Hook, task_id: str) -> None:
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
    errors = [*signals.deliver(hook.event, task_id, event), *_own_errors(event)]
    if executor.current().is_stopping() and any(isinstance(error, SystemExit) for error in errors):
        raise SystemExit
    with atomic():
        for error in errors:
            _record_error(hook, error)
        Hook.objects.filter(pk=hook.pk).delete()


def _own_errors(event: HookEvent) -> Iterator[Exception]:
    if own := OWN.get(event.name):
        try:
            own(event)
        except Exception as error:
            yield error


def _record_error(hook: Hook, error: BaseException) -> None:
    """A listener's error goes to the log and the history; the flow is not affected."""
    secrets = secrets_of(hook.task_flow_id, hook.task_exec_seq)
    error = masked_error(error, secrets)
    logger.error("hook %s of flow %s failed", hook.event, hook.task_flow_id, exc_info=error)
    reason = masking.masked(f"{hook.event}: {type(error).__name__}: {values.text(error)}", secrets)
    facts: dict[str, Any] = {"attempt": hook.attempt, "worker": identity.worker(), "actor": "hook"}
    HistoryEntry.objects.record(
        "hook", hook.task_flow_id, hook.task_exec_seq, reason=reason, details={"event": hook.pk}, **facts
    )


def release(flow_id: str, process: Process) -> None:
    """A process is gone: have a worker deliver what it had taken of a flow. In a transaction."""
    taken = Hook.objects.filter(task_flow_id=flow_id, worker=process.worker)
    if (taken if process.pid is None else taken.filter(pid=process.pid)).release():
        deliver_on_commit(flow_id)


def release_of_dead_processes(worker: str) -> int:
    """Release what processes of this host's ``worker`` had taken that are gone; the number of events."""
    taken = Hook.objects.filter(worker=worker)
    pids = set(taken.filter(pid__isnull=False).values_list("pid", flat=True))
    dead = [pid for pid in pids if pid is not None and not identity.is_alive(pid)]
    return taken.filter(pid__in=dead).release() if dead else 0


def deliver_on_commit(flow_id: str) -> None:
    """On commit, have a worker deliver what was recorded of a flow."""
    on_commit(lambda: executor.current().deliver([flow_id]))


def redeliver() -> int:
    """Have a worker deliver what was recorded and not delivered: for the leader; the number of flows."""
    alive = [identity.worker(), *Worker.objects.alive(conf.get().LEASE_SECONDS).values_list("pk", flat=True)]
    Hook.objects.abandoned(alive, LONGEST).release()
    flow_ids = Hook.objects.undelivered(conf.get().RESEND_AFTER)
    if executor.current().connected() and flow_ids:
        executor.current().deliver(flow_ids)
    return len(flow_ids)
