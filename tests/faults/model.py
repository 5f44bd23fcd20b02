"""How a flow must end, whatever breaks meanwhile: a plain model of tasks that fail by plan, and of operators' verbs.

A verb comes when the flow is quiet (ended, or Suspend), so that what it finds does not depend on time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flowerapp.core import graph
from flowerapp.states import OPEN, SATISFIED, Status


class Act(StrEnum):
    """What a start of a task does."""

    DONE = "done"
    SLOW = "slow"
    """Succeed after a while."""
    PARK = "park"
    """Wait without a worker once, then succeed."""
    RETRY = "retry"
    """Fail with an error that is retried."""
    FAIL = "fail"
    """Fail for good."""


Plan = Sequence[Sequence[str]]
"""What the starts of a task do, as JSON: for each run, its first start and those after retries; the last repeats."""

REPAIRED: Plan = [[Act.DONE.value]]


def act_of(plan: Plan, run: int, retries: int) -> Act:
    """What a start does, after so many retries in a run."""
    starts = plan[min(run, len(plan)) - 1]
    return Act(starts[min(retries, len(starts) - 1)])


class Kind(StrEnum):
    """A verb that lets a quiet flow continue, or ends it."""

    SKIP = "skip"
    RERUN_FAILED = "rerun --failed"
    RERUN_FROM = "rerun --from"
    RERUN_ALL = "rerun --all"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Verb:
    """A verb for one of the tasks that it fits."""

    kind: Kind
    pick: int = 0


@dataclass(frozen=True)
class Round:
    """What operators do to a quiet flow: changes of plans, then verbs; several are made while it is suspended."""

    changes: tuple[tuple[int, Plan], ...] = ()
    verbs: tuple[Verb, ...] = ()
    cut: bool = False
    """Cancel it as soon as it continues."""


@dataclass(frozen=True)
class Step:
    """A task as it is defined."""

    needs: tuple[int, ...] = ()
    plan: Plan = field(default_factory=lambda: REPAIRED)
    max_retries: int = 2


@dataclass(frozen=True)
class Scenario:
    """A workflow, and what operators do to its flow."""

    steps: Mapping[int, Step]
    rounds: tuple[Round, ...] = ()
    paused: bool = False
    """Suspend it as soon as it is registered, and resume it."""
    skips: bool = False
    """In the end, skip what failed instead of repairing it."""


@dataclass(frozen=True)
class Call:
    """A verb of the engine for this flow."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


class Modelled:
    """One flow as it must be."""

    def __init__(self, scenario: Scenario) -> None:
        self.edges = {seq: step.needs for seq, step in scenario.steps.items()}
        self.plans = {seq: step.plan for seq, step in scenario.steps.items()}
        self.max_retries = {seq: step.max_retries for seq, step in scenario.steps.items()}
        self.states = dict.fromkeys(scenario.steps, Status.WAIT)
        self.runs = dict.fromkeys(scenario.steps, 1)
        self.rounds = list(scenario.rounds)
        self.skips = scenario.skips
        self.cancelled = False

    @property
    def ended(self) -> bool:
        """Whether the flow is Finish or Ignore."""
        return all(state in SATISFIED for state in self.states.values())

    @property
    def status(self) -> Status:
        """State of the flow when it is quiet."""
        return Status.IGNORE if self.cancelled else Status.FINISH if self.ended else Status.SUSPEND

    def _in(self, *states: Status) -> list[int]:
        return [seq for seq, state in sorted(self.states.items()) if state in states]

    # What the engine does

    def run_all(self, lost: Collection[int] = ()) -> None:
        """Run until nothing can run; ``lost`` are tasks that were given up, their worker was lost too often."""
        for seq in graph.order(self.edges):
            ready = all(self.states[need] in SATISFIED for need in self.edges[seq])
            if ready and self.states[seq] is Status.WAIT:
                self.states[seq] = Status.SUSPEND if seq in lost else self._outcome(seq)

    def _outcome(self, seq: int) -> Status:
        for retries in range(self.max_retries[seq] + 1):
            act = act_of(self.plans[seq], self.runs[seq], retries)
            if act is not Act.RETRY:
                return Status.SUSPEND if act is Act.FAIL else Status.FINISH
        return Status.SUSPEND

    def cut_off(self, outcome: Mapping[int, tuple[Status, int]]) -> None:
        """It was cancelled while it ran: what had not finished was ignored, and which that was only time knows."""
        self.cancelled = True
        self.states = {seq: state for seq, (state, _) in outcome.items()}

    # What operators do

    def next_calls(self) -> tuple[list[Call], bool]:
        """The verbs of the next round, applied to the model, and whether the flow is then to be cut off."""
        while self.rounds:
            current = self.rounds.pop(0)
            if calls := list(self._round(current)):
                return calls, current.cut and not self.ended
        return list(self._repair()), False

    def _round(self, current: Round) -> Iterator[Call]:
        held = len(current.verbs) > 1 and not self.ended
        if held:
            yield Call("suspend")
        for pick, plan in () if self.ended else current.changes:
            seq = self._one_of(self._in(Status.WAIT, Status.SUSPEND), pick)
            self.plans[seq] = plan
            yield Call("change", (seq,), {"parameters": {"plan": plan}})
        for verb in current.verbs:
            call = self._apply(verb)
            if call is not None:
                yield call
            if (call is not None and not held) or (held and self.ended):
                return
        if held:
            yield Call("resume")

    @staticmethod
    def _one_of(seqs: Sequence[int], pick: int) -> int:
        return seqs[pick % len(seqs)]

    def _apply(self, verb: Verb) -> Call | None:
        """Apply a verb where the flow's state allows it."""
        failed, everything = self._in(Status.SUSPEND), sorted(self.states)
        if verb.kind is Kind.RERUN_ALL:
            self._rerun(everything)
            return Call("rerun", options={"all_tasks": True})
        if verb.kind is Kind.RERUN_FROM:
            seq = self._one_of(everything, verb.pick)
            self._rerun(graph.reach([seq], graph.followers(self.edges)))
            return Call("rerun", options={"from_seq": seq})
        if verb.kind is Kind.RERUN_FAILED and failed:
            self._rerun(failed)
            return Call("rerun")
        if verb.kind is Kind.SKIP and not self.ended:
            seq = self._one_of(self._in(Status.WAIT, Status.SUSPEND), verb.pick)
            self.states[seq] = Status.IGNORE
            return Call("skip", (seq,))
        if verb.kind is Kind.CANCEL and not self.ended:
            self.states |= dict.fromkeys(self._in(*OPEN), Status.IGNORE)
            self.cancelled = True
            return Call("cancel")
        return None

    def _rerun(self, seqs: Collection[int]) -> None:
        self.cancelled = False
        for seq in seqs:
            self.runs[seq] += self.states[seq] is not Status.WAIT
            self.states[seq] = Status.WAIT

    def _repair(self) -> Iterator[Call]:
        """Skip what failed, or give it a plan that succeeds and rerun it; nothing where nothing failed."""
        failed = self._in(Status.SUSPEND)
        if failed and self.skips:
            yield from self._skip_all(failed)
        elif failed:
            self.plans |= dict.fromkeys(failed, REPAIRED)
            self._rerun(failed)
            yield Call("rerun", options={"parameters": {seq: {"plan": REPAIRED} for seq in failed}})

    def _skip_all(self, seqs: Sequence[int]) -> Iterator[Call]:
        yield Call("suspend")
        for seq in seqs:
            self.states[seq] = Status.IGNORE
            yield Call("skip", (seq,))
        if not self.ended:
            yield Call("resume")
