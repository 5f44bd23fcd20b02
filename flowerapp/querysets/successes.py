"""What a finish is given, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowerapp.core.identity import NO_PROCESS, Process
from flowerapp.core.messages import Message, TaskRef
from flowerapp.querysets.claim import Claim
from flowerapp.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """An attempt that has succeeded, or a gate that is completed; or whose condition is false."""

    ref: TaskRef
    attempt: int
    output: str | None
    """JSON text; None for a task that passes on what reached it."""
    ignored_by: str = ""
    """Why the task is Ignore; empty for one that is Finish."""
    parked: bool = False
    """Whether it ends a gate, which is parked, rather than an attempt that runs."""
    child: bool = False
    """Whether the task is a child of another."""
    process: Process = NO_PROCESS
    """The process that could continue with another task."""
    candidates: Sequence[str] = ()
    """Programs that it would continue with."""
    keeps: Sequence[int] = ()
    """How many tasks of each, beside the first, are deferred for it rather than sent."""

    @property
    def before(self) -> Status:
        """The status that the task must have."""
        return Status.WAIT if self.parked else Status.RUNNING

    @property
    def status(self) -> Status:
        """The status that the task ends in."""
        return Status.IGNORE if self.ignored_by else Status.FINISH

    def by(self, process: Process, candidates: Sequence[str], keeps: Sequence[int] = ()) -> Success:
        """The same, for a process that would continue with one of the candidates."""
        return replace(self, process=process, candidates=candidates, keeps=keeps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a satisfied task led to."""

    released: tuple[Message, ...] = ()
    """Tasks that became ready by it; sent even while the flow is held, for it may be resumed at this moment."""
    deferred: bool = False
    """More tasks became ready than are sent at first."""
    unsent: bool = False
    """Tasks became ready that no process has taken on to send."""
    pools: frozenset[str] = frozenset()
    """Pools that tasks now wait for."""
    parked: tuple[int, ...] = ()
    """Seqs of tasks whose children have all ended, and of gates that became ready."""
    ended: bool = False
    """It was the flow's last."""
    limited: bool = False
    """Another flow of the workflow may wait for the end of this one."""
    claimed: Claim | None = None
    """A task that was deferred, or became ready, and is claimed for this process to continue with."""
    may_be_stuck: bool = False
    """A task of the flow has failed and nothing was released: settle it."""
    opened: str = ""
    """A latch that came to zero: end what waits for that."""
    looks_back: int | None = None
    """Key of a row of ``kr_wait`` that is new: an earlier event may match."""
