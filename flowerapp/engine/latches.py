"""Latches: named counters that flows share. What waits for one ends once its count is at zero.

A latch exists while it is held. Its row is the lock under which its count changes, and under which a countdown looks
whether it has to wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowerapp.core.messages import TaskRef
from flowerapp.models import Latch, LatchHold, Wait


def acquire(name: str, ref: TaskRef) -> str:
    """Raise a latch by one for a task, once, however often it is run; a latch that came to zero by it, or empty.

    In a transaction. A task that acquired another latch before gives that one back.
    """
    before = LatchHold.objects.filter(task_flow_id=ref.flow_id, task_exec_seq=ref.seq).first()
    if before is not None and before.latch_id == name:
        return ""
    opened = give_back([before])[0:1] if before is not None else []
    _locked(name)
    LatchHold.objects.create(latch_id=name, task_flow_id=ref.flow_id, task_exec_seq=ref.seq)
    return opened[0] if opened else ""


def _locked(name: str) -> Latch:
    """The latch, made if it is new; another process may delete it until it is locked."""
    while True:
        Latch.objects.get_or_create(pk=name)
        if (latch := Latch.objects.lock(name)) is not None:
            return latch


def release(name: str, ref: TaskRef) -> str:
    """Lower a latch by one, if it is held; its name if it came to zero by that, else empty. In a transaction.

    A count that the task's own flow acquired goes first.
    """
    if Latch.objects.lock(name) is None:
        return ""
    hold = LatchHold.objects.next_of(name, ref.flow_id)
    return "".join(give_back([hold])) if hold is not None else ""


def give_back(holds: Iterable[LatchHold]) -> list[str]:
    """Take these counts away: the names of the latches that came to zero. In a transaction."""
    opened = []
    for hold in sorted(holds, key=lambda hold: hold.latch_id):
        Latch.objects.lock(hold.latch_id)
        LatchHold.objects.filter(pk=hold.pk).delete()
        if not LatchHold.objects.filter(latch_id=hold.latch_id).exists():
            Latch.objects.filter(pk=hold.latch_id).delete()
            Wait.objects.open_latch(hold.latch_id)
            opened.append(hold.latch_id)
    return opened


def is_held(name: str) -> bool:
    """Whether a latch is held; one that is comes to zero only after the caller's transaction."""
    return Latch.objects.lock(name) is not None


def holds_of(flow_id: str) -> list[LatchHold]:
    """What a flow holds."""
    return list(LatchHold.objects.filter(task_flow_id=flow_id))
