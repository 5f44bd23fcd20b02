"""Random verbs and steps on tasks with children that share a pool, against what must always be true."""

from __future__ import annotations

import contextlib

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
from flowerapp.exceptions import FlowerError, StateConflictError
from flowerapp.models import Task, TaskDefinition, Workflow
from flowerapp.querysets import Claim
from flowerapp.selectors.pools import PoolUse, get_pool
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from flowerapp.watcher.duties.send import send_unsent
from tests.attempts import fail
from tests.effort import examples
from tests.engine.support import check, define

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "w"
SLOTS = 2
MOST_SEQ = 16


class Families(RuleBasedStateMachine):
    """Two flows of one workflow, of which one runs at a time; a step of each has children, and all are in a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.context = inline()
        self.runner: InlineRunner = self.context.__enter__()
        self.claims: list[Claim] = []

    @initialize(data=st.data())
    def register(self, data: st.DataObject) -> None:
        engine.set_pool("shared", SLOTS)
        name = define({1: [], 2: [1], 3: [], 4: [2, 3]}, "Noop", pool=data.draw(st.sampled_from(["", "shared"])))
        for seq in (2, 3):
            TaskDefinition.objects.filter(task_id=name, task_seq=seq).update(
                program="Split",
                child_program="Item",
                max_concurrency=data.draw(st.integers(1, 3)),
                exit_on_failed=data.draw(st.booleans()),
                parameters={"items": [[n] for n in range(data.draw(st.integers(0, 4)))]},
            )
        Workflow.objects.create(task_id=name, max_active_flows=data.draw(st.sampled_from([None, 1])))
        self.flows = [engine.register(name) for _ in range(2)]

    @precondition(lambda self: self.runner.waiting)
    @rule(data=st.data(), copies=st.integers(1, 2))
    def deliver(self, data: st.DataObject, copies: int) -> None:
        """A worker takes any of the messages, perhaps twice."""
        message = data.draw(st.sampled_from(list(self.runner.waiting)))
        self.runner.waiting.remove(message)
        for _ in range(copies):
            if claim := Task.objects.claim(TaskRef(message.flow_id, message.head.seq), Process(WORKER, 1)):
                self.claims.append(claim)
            else:
                self.runner.send(attempts.look_again(TaskRef(message.flow_id, message.head.seq)).released)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), good=st.sampled_from([True, True, True, False]))
    def end(self, data: st.DataObject, good: bool) -> None:
        """An attempt ends, well or with an error."""
        claim = data.draw(st.sampled_from(self.claims))
        self.claims.remove(claim)
        outcome = attempts.perform(claim) if good else fail(claim, ValueError("no"))
        self.runner.send(outcome.released)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def lose_worker(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.runner.send(
            recovery.record_lost(TaskRef(claim.flow_id, claim.seq), "gone", Process(WORKER, None)).released
        )

    @rule(which=st.integers(0, 1), seq=st.integers(1, MOST_SEQ))
    def skip(self, which: int, seq: int) -> None:
        with contextlib.suppress(FlowerError):
            engine.skip(self.flows[which].pk, seq)

    @rule(which=st.integers(0, 1))
    def rerun_failed(self, which: int) -> None:
        with contextlib.suppress(StateConflictError):
            engine.rerun(self.flows[which].pk)

    @rule(which=st.integers(0, 1), seq=st.integers(0, MOST_SEQ))
    def rerun(self, which: int, seq: int) -> None:
        """From a step or a child; 0 stands for all."""
        with contextlib.suppress(FlowerError):
            engine.rerun(self.flows[which].pk, from_seq=seq or None, all_tasks=not seq)

    @rule(which=st.integers(0, 1), verb=st.sampled_from([engine.suspend, engine.resume, engine.cancel]))
    def of_flow(self, which: int, verb: object) -> None:
        with contextlib.suppress(StateConflictError):
            verb(self.flows[which].pk)  # type: ignore[operator]

    @rule(slots=st.integers(0, 3))
    def change_slots(self, slots: int) -> None:
        engine.set_pool("shared", slots)

    @invariant()
    def always(self) -> None:
        for flow in self.flows:
            propagation.settle(flow.pk)
            check(flow)

    @invariant()
    def nothing_ready_is_forgotten(self) -> None:
        """Whatever may be claimed was sent, and what can be admitted was."""
        assert not Task.objects.filter(sent_ts__isnull=True).startable().exists()
        assert not Task.objects.completable().exists()
        use = PoolUse(get_pool("shared"))
        assert not use.waiting or use.held >= use.pool.slots

    def teardown(self) -> None:
        """With no task failing any more, everything ends."""
        try:
            if hasattr(self, "flows"):
                self._run_all()
        finally:
            self.context.__exit__(None, None, None)
            Workflow.objects.all().delete()

    def _run_all(self) -> None:
        engine.set_pool("shared", SLOTS)
        for claim in self.claims:
            recovery.hand_back(TaskRef(claim.flow_id, claim.seq), "gone", Process(WORKER, None))
        for flow in self.flows:
            for verb in (engine.resume, engine.rerun):
                with contextlib.suppress(StateConflictError):
                    verb(flow.pk)
        Task.objects.filter(exec_status=Status.WAIT).update(sent_ts=None)
        send_unsent()
        self.runner.run()
        for flow in self.flows:
            check(flow)
            assert engine.get_flow(flow.pk).status in (Status.FINISH, Status.IGNORE)


def test_random_verbs_and_steps_on_families(transactional_db: None) -> None:
    run_state_machine_as_test(
        Families,
        settings=settings(
            max_examples=examples(12), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
