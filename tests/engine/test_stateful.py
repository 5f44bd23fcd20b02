"""Random verbs and steps, with lost, repeated and reordered messages, against what must always be true."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts, propagation, recovery
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Flow, Task
from flowerapp.querysets import Claim
from flowerapp.states import OPEN, SATISFIED, Status
from flowerapp.testing import InlineRunner, inline
from flowerapp.watcher.duties.send import send_unsent
from tests.attempts import fail, succeed
from tests.effort import examples
from tests.engine.support import check, define, statuses

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "w"
SIZE = 7


class Operators(RuleBasedStateMachine):
    """One flow, workers that claim and end attempts in any order, and operators that interfere."""

    def __init__(self) -> None:
        super().__init__()
        self.context = inline()
        self.runner: InlineRunner = self.context.__enter__()
        self.claims: list[Claim] = []
        self.finished: dict[tuple[int, int], int] = {}

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)

    @initialize(data=st.data())
    def register(self, data: st.DataObject) -> None:
        depends = {
            seq: sorted(data.draw(st.sets(st.integers(1, seq - 1), max_size=3))) if seq > 1 else []
            for seq in range(1, SIZE + 1)
        }
        self.flow: Flow = engine.register(define(depends, "Noop"))

    @precondition(lambda self: self.runner.waiting)
    @rule(data=st.data(), copies=st.integers(1, 2))
    def deliver(self, data: st.DataObject, copies: int) -> None:
        """A worker takes any of the messages, perhaps twice."""
        message = data.draw(st.sampled_from(list(self.runner.waiting)))
        self.runner.waiting.remove(message)
        for _ in range(copies):
            claim = Task.objects.claim(TaskRef(message.flow_id, message.head.seq), Process(WORKER, 1))
            if claim:
                self.claims.append(claim)
            else:
                self.runner.send(attempts.look_again(TaskRef(message.flow_id, message.head.seq)).released)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), good=st.sampled_from([True, True, True, False]))
    def end(self, data: st.DataObject, good: bool) -> None:
        """An attempt ends, well or with an error; its outcome counts only while the attempt is the one that runs."""
        claim = data.draw(st.sampled_from(self.claims))
        self.claims.remove(claim)
        row = engine.get_task(self.flow.pk, claim.seq)
        current = row.status is Status.RUNNING and row.attempt == claim.attempt
        if good:
            outcome = succeed(claim, "{}")
            assert outcome.finished is current
            self.runner.send(outcome.released)
        else:
            fail(claim, ValueError("no"))
        wanted = {True: Status.FINISH, False: Status.SUSPEND}[good] if current else row.status
        assert engine.get_task(self.flow.pk, claim.seq).status is wanted

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def lose_worker(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.runner.send(recovery.record_lost(TaskRef(self.flow.pk, claim.seq), "gone", Process(WORKER, None)).released)

    @precondition(lambda self: self.runner.waiting)
    @rule()
    def lose_message(self) -> None:
        self.runner.waiting.popleft()

    @rule(seq=st.integers(1, SIZE))
    def skip(self, seq: int) -> None:
        before = statuses(self.flow)
        allowed = before[seq] in (Status.WAIT, Status.SUSPEND) and not self._ended(before)
        self._verb(allowed, engine.skip, seq)
        assert statuses(self.flow) == (before | {seq: Status.IGNORE} if allowed else before)

    @rule()
    def rerun_failed(self) -> None:
        before = statuses(self.flow)
        failed = [seq for seq, status in before.items() if status is Status.SUSPEND]
        self._verb(bool(failed), engine.rerun)
        assert statuses(self.flow) == before | dict.fromkeys(failed, Status.WAIT)

    @rule(seq=st.integers(1, SIZE), everything=st.booleans())
    def rerun_from(self, seq: int, everything: bool) -> None:
        before = statuses(self.flow)
        affected = set(before) if everything else self._after(seq)
        allowed = all(before[other] is not Status.RUNNING for other in affected)
        self._verb(allowed, engine.rerun, **({"all_tasks": True} if everything else {"from_seq": seq}))
        assert statuses(self.flow) == (before | dict.fromkeys(affected, Status.WAIT) if allowed else before)

    @rule()
    def suspend(self) -> None:
        flow = engine.get_flow(self.flow.pk)
        self._verb(not flow.ended and not flow.held, engine.suspend)

    @rule()
    def resume(self) -> None:
        flow = engine.get_flow(self.flow.pk)
        self._verb(flow.held, engine.resume)

    @rule()
    def cancel(self) -> None:
        before = statuses(self.flow)
        allowed = not self._ended(before)
        self._verb(allowed, engine.cancel)
        gone = {seq: Status.IGNORE for seq, status in before.items() if status in OPEN}
        assert statuses(self.flow) == before | gone

    @rule(seq=st.integers(1, SIZE), priority=st.integers(-20, 19))
    def change(self, seq: int, priority: int) -> None:
        before = statuses(self.flow)
        allowed = before[seq] in (Status.WAIT, Status.SUSPEND)
        self._verb(allowed, engine.change, seq, priority=priority)
        if allowed:
            assert engine.get_task(self.flow.pk, seq).task_priority == priority

    @rule()
    def send_unsent(self) -> None:
        send_unsent()

    @invariant()
    def always(self) -> None:
        propagation.settle(self.flow.pk)
        check(self.flow)

    @invariant()
    def nothing_ready_is_forgotten(self) -> None:
        """Whatever may be claimed was sent: only a lost message is the watcher's business."""
        assert not Task.objects.filter(task_flow=self.flow, sent_ts__isnull=True).startable().exists()

    def _verb(self, allowed: bool, verb: Any, *arguments: Any, **options: Any) -> None:
        with contextlib.nullcontext() if allowed else pytest.raises(StateConflictError):
            verb(self.flow.pk, *arguments, **options)

    @staticmethod
    def _ended(states: dict[int, Status]) -> bool:
        return all(status in SATISFIED for status in states.values())

    def _after(self, seq: int) -> set[int]:
        affected = {seq}
        for row in self.flow.tasks.order_by("task_exec_seq"):
            if affected & set(row.depends_on):
                affected.add(row.task_exec_seq)
        return affected


def test_random_verbs_and_steps(transactional_db: None) -> None:
    run_state_machine_as_test(
        Operators,
        settings=settings(
            max_examples=examples(12), stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
