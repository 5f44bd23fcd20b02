"""Every verb moves a task exactly from the states that the transition table allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.models import Flow, Task, Worker
from flowerapp.states import SATISFIED, TRANSITIONS, Status, allows
from tests.engine.support import define

pytestmark = pytest.mark.django_db

Verb = Callable[[str], object]

METHODS: dict[str, Verb] = {
    "claim": lambda flow: Task.objects.claim(flow, 1, "w", 1),
    "finish": lambda flow: Task.objects.finish(flow, 1, 1, "{}"),
    "retry": lambda flow: Task.objects.retry(flow, 1, 1, 5, "error", "traceback"),
    "fail": lambda flow: Task.objects.fail(flow, 1, 1, "error", "traceback"),
    "park": lambda flow: Task.objects.park(flow, 1, 1, 5),
    "wake": lambda flow: Task.objects.one(flow, 1).wake(),
    "settle": lambda flow: Task.objects.settle(flow, 1, {"event": 1}),
    "pass_over": lambda flow: Task.objects.pass_over(flow, 1, 1, "error", "traceback"),
    "await_children": lambda flow: Task.objects.await_children(flow, 1, 1, 3),
    "give_up": lambda flow: Task.objects.give_up(flow, 1, "error"),
    "reopen": lambda flow: Task.objects.reopen(flow, [1]),
    "rescue": lambda flow: Task.objects.rescue(flow, 1, 1),
    "skip": lambda flow: Task.objects.skip(flow, 1, {}),
    "cancel": lambda flow: Task.objects.cancel(flow),
    "change": lambda flow: Task.objects.change(flow, 1, task_priority=7),
    "rerun": lambda flow: Task.objects.rerun(flow, [1]),
}
PARKED = {"wake", "settle", "give_up"}
"""Verbs that want a parked task."""
PARENTS = {"give_up": 3, "reopen": 3}
"""Verbs that want a task with children, and how many it has."""


def task_in(status: Status, *, parked: bool = False, children: int = 0) -> Flow:
    """A flow whose one task was put into a state."""
    flow = engine.register(define({1: []}))
    ended = Now() if status in SATISFIED else None
    columns = {"attempt": 1, "finished_ts": ended, "parked": parked, "children": children}
    Task.objects.filter(task_flow=flow).update(exec_status=status, **columns)
    return flow


def row(flow: Flow) -> dict[str, object]:
    return Task.objects.values().get(task_flow=flow)


def test_the_table_names_every_method() -> None:
    assert set(TRANSITIONS) == set(METHODS)


@pytest.mark.parametrize("verb", METHODS)
@pytest.mark.parametrize("status", Status)
def test_verb_from_state(verb: str, status: Status) -> None:
    flow = task_in(status, parked=verb in PARKED, children=PARENTS.get(verb, 0))
    before = row(flow)
    moved = METHODS[verb](flow.pk)
    after = row(flow)
    assert bool(moved) is allows(verb, status)
    if moved:
        target = TRANSITIONS[verb].target
        assert after["exec_status"] == (status if target is None else target)
        assert (after["finished_ts"] is not None) is (after["exec_status"] in SATISFIED)
    else:
        assert after == before


@pytest.mark.parametrize("verb", ["finish", "retry", "park", "fail", "rescue", "pass_over", "await_children"])
@pytest.mark.parametrize("attempt", [0, 2])
def test_an_outcome_of_another_attempt_moves_nothing(verb: str, attempt: int) -> None:
    flow = task_in(Status.RUNNING)
    Task.objects.filter(task_flow=flow).update(attempt=attempt)
    before = row(flow)
    assert not METHODS[verb](flow.pk)
    assert row(flow) == before


@pytest.mark.parametrize("verb", sorted(PARKED))
def test_a_task_that_is_not_parked_is_not_woken(verb: str) -> None:
    flow = task_in(Status.WAIT)
    before = row(flow)
    assert not METHODS[verb](flow.pk)
    assert row(flow) == before


@pytest.mark.parametrize(
    "column", [{"pending": 1}, {"parked": True}, {"program": ""}, {"due_ts": "2999-01-01T00:00:00Z"}]
)
def test_claim_wants_a_ready_task(column: dict[str, object]) -> None:
    flow = task_in(Status.WAIT)
    Task.objects.filter(task_flow=flow).update(**column)
    assert Task.objects.claim(flow.pk, 1, "w", 1) is None


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("held", [False, True])
def test_claim_wants_an_open_flow_that_is_not_held(status: Status, held: bool) -> None:
    flow = task_in(Status.WAIT)
    ended = Now() if status in SATISFIED else None
    Flow.objects.filter(pk=flow.pk).update(exec_status=status, held=held, finished_ts=ended)
    claim = Task.objects.claim(flow.pk, 1, "worker", 7)
    assert bool(claim) is (status not in SATISFIED and not held)
    if claim:
        flow.refresh_from_db()
        assert flow.status is Status.RUNNING
        assert flow.started_ts is not None or status is Status.RUNNING
        task = engine.get_task(flow.pk, 1)
        assert (task.attempt, task.worker, task.pid, task.started_ts is None) == (2, "worker", 7, False)
        assert (claim.attempt, claim.run, claim.retries, claim.program) == (2, 1, 0, "Echo")


def test_finish_tells_followers_and_says_what_it_released() -> None:
    flow = engine.register(define({1: [], 2: [], 3: [1], 4: [1, 2]}))
    for seq, released in ((1, [3]), (2, [4])):
        Task.objects.claim(flow.pk, seq, "w", 1)
        done = Task.objects.finish(flow.pk, seq, 1, '{"n": [1, null, "\\u00fc"]}')
        assert done
        assert [message.head.seq for message in done.released] == released
    assert list(flow.tasks.values_list("pending", flat=True)) == [0, 0, 0, 0]
    assert engine.get_task(flow.pk, 1).output == {"n": [1, None, "ü"]}
    flow.refresh_from_db()
    assert (flow.open_sinks, flow.status) == (2, Status.RUNNING)


def test_the_last_sink_ends_the_flow() -> None:
    flow = engine.register(define({1: [], 2: []}))
    for seq, status in ((1, Status.RUNNING), (2, Status.FINISH)):
        Task.objects.claim(flow.pk, seq, "w", 1)
        assert Task.objects.finish(flow.pk, seq, 1, "{}")
        flow.refresh_from_db()
        assert flow.status is status
    assert flow.finished_ts is not None


def test_a_worker_that_cannot_renew_its_lease_stops_taking_work() -> None:
    flow = task_in(Status.WAIT)
    Worker.objects.create(pk="w", name="w@host", pid=1, pool="prefork", concurrency=1)
    Worker.objects.filter(pk="w").update(seen_ts=Now() - timedelta(seconds=60))
    before = row(flow)
    assert Task.objects.claim(flow.pk, 1, "w", 1) is None
    assert row(flow) == before
    assert Worker.objects.seen("w")
    assert Task.objects.claim(flow.pk, 1, "w", 1)
