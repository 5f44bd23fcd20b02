"""Two decisions at once, and a decision at the moment of the time-out or of a verb, on PostgreSQL: one each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from django.test import Client, override_settings

from flowerapp import engine
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Approval, HistoryEntry
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.approvals import remind
from flowerapp.watcher.duties.waits import end_due_waits
from tests.engine.approvals import asked, asking
from tests.engine.support import check, status, task
from tests.engine.test_races import ROUNDS, _postgresql, together

__all__ = ["_postgresql"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def unmoved() -> Iterator[None]:
    yield
    clock.reset()


def test_of_two_people_at_once_one_decides_and_the_other_reads_what(runner: InlineRunner) -> None:
    for _ in range(ROUNDS):
        flow = asking(runner)
        outcomes = together(
            partial(engine.decide, flow.pk, 2, "approve", actor="ann"),
            partial(engine.decide, flow.pk, 2, "reject", actor="bob"),
        )
        (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, StateConflictError)]
        (decided,) = [outcome for outcome in outcomes if isinstance(outcome, Approval)]
        assert f"{decided.decided_by} chose {decided.label} at " in str(refusal)
        row = asked(flow)
        assert (row.decided_by, row.choice) in {("ann", "approve"), ("bob", "reject")}
        assert status(flow, 2) is (Status.FINISH if row.choice == "approve" else Status.SUSPEND)
        assert HistoryEntry.objects.filter(task_flow=flow, verb="decide").count() == 1
        runner.run()
        check(flow)


def test_many_clicks_at_once_are_one_decision(runner: InlineRunner) -> None:
    flow = asking(runner)
    outcomes = together(*[lambda: engine.decide(flow.pk, 2, "approve", actor="ann")] * 8)
    assert sum(isinstance(outcome, Approval) for outcome in outcomes) == 1
    assert HistoryEntry.objects.filter(task_flow=flow, verb="decide").count() == 1
    assert [message.head.seq for message in runner.sent if message.ref.flow_id == flow.pk] == [1, 3]


@override_settings(FLOWER={"APPROVAL_LINKS": "https://flows.example.org"})
def test_a_link_that_is_clicked_twice_at_once_decides_once(runner: InlineRunner) -> None:
    for _ in range(ROUNDS // 2):
        flow = asking(runner)
        link = engine.approval_link(flow.pk, 2, reader="Ann").removeprefix("https://flows.example.org")
        answers = together(*[partial(Client().post, link, {"choice": choice}) for choice in ("approve", "reject")])
        assert sorted(answer.status_code for answer in answers) == [200, 410]
        assert {f"link:Ann chose {asked(flow).label} at " in answer.text for answer in answers} == {True}
        runner.run()
        check(flow)


def test_the_time_out_and_a_verb_leave_one_outcome(runner: InlineRunner) -> None:
    for verb in ("cancel", "expire"):
        for _ in range(ROUNDS):
            flow = asking(runner, timeout=60, default="approve")
            other = partial(engine.cancel, flow.pk) if verb == "cancel" else end_due_waits
            if verb == "expire":
                Approval.objects.filter(task_flow=flow).update(due_ts=None)  # the watcher's clock is ahead
                flow.tasks.filter(task_exec_seq=2).update(due_ts=clock.now())
            together(other, partial(engine.decide, flow.pk, 2, "reject", actor="ann"))
            row, of_task = asked(flow), task(flow, 2)
            state = {"decided": Status.SUSPEND, "expired": Status.FINISH, "closed": Status.IGNORE}[row.state]
            runner.run()
            check(flow)
            if verb == "cancel":
                assert task(flow, 2).status is Status.IGNORE
            else:
                assert of_task.status is state
            runner.waiting.clear()


def test_two_watchers_remind_once(runner: InlineRunner) -> None:
    flow = asking(runner, remind_after=60)
    clock.advance(61)
    assert sum(together(remind, remind)) == 1
    assert HistoryEntry.objects.filter(task_flow=flow, verb="remind").count() == 1
