"""Every guarded method moves a task exactly from the statuses that the transition table allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, Task, Worker
from flowerapp.querysets import Success
from flowerapp.states import SATISFIED, TRANSITIONS, IgnoredBy, RefusedBy, Status, allows
from tests.engine.support import define

pytestmark = pytest.mark.django_db

Verb = Callable[[str], object]


def inserted(flow: str) -> int:
    """Primary key of the first task, which may be a row that another batch inserted."""
    return int(Task.objects.at(TaskRef(flow, 1)).values_list("pk", flat=True).get())


METHODS: dict[str, Verb] = {
    "claim": lambda flow: Task.objects.claim(TaskRef(flow, 1), Process("w", 1)),
    "finish": lambda flow: Task.objects.finish(Success(ref=TaskRef(flow, 1), attempt=1, output="{}")),
    "ignore": lambda flow: Task.objects.finish(
        Success(ref=TaskRef(flow, 1), attempt=1, output=None, ignored_by=IgnoredBy.CONDITION)
    ),
    "retry": lambda flow: Task.objects.retry(TaskRef(flow, 1), 1, 5, "error", "traceback"),
    "fail": lambda flow: Task.objects.fail(TaskRef(flow, 1), 1, "error", "traceback"),
    "park": lambda flow: Task.objects.park(TaskRef(flow, 1), 1, 5),
    "wake": lambda flow: Task.objects.at(TaskRef(flow, 1)).wake(),
    "complete_parked": lambda flow: Task.objects.complete_parked(TaskRef(flow, 1), {"event": 1}),
    "finish_gate": lambda flow: Task.objects.finish(Success(ref=TaskRef(flow, 1), attempt=1, output="{}", parked=True)),
    "ignore_gate": lambda flow: Task.objects.finish(
        Success(ref=TaskRef(flow, 1), attempt=1, output=None, ignored_by=IgnoredBy.CONDITION, parked=True)
    ),
    "ignore_subflow": lambda flow: Task.objects.ignore_subflow(flow, [1]),
    "begin_wait": lambda flow: Task.objects.begin_wait(TaskRef(flow, 1), 5),
    "finish_waits": lambda flow: Task.objects.finish_waits({inserted(flow): None})[0],
    "offer": lambda flow: Task.objects.offer(TaskRef(flow, 1)),
    "end_remote": lambda flow: Task.objects.end_remote(TaskRef(flow, 1), {"answer": 1}),
    "tolerate_remote": lambda flow: Task.objects.tolerate_remote(TaskRef(flow, 1), "error"),
    "fail_remote": lambda flow: Task.objects.fail_remote(TaskRef(flow, 1), "error"),
    "claim_remote": lambda flow: Task.objects.at(TaskRef(flow, 1)).claim_remote(1, "remote:w", 5),
    "prolong": lambda flow: Task.objects.prolong(TaskRef(flow, 1), 1, 5),
    "rescue_remote": lambda flow: Task.objects.rescue_remote(TaskRef(flow, 1), 1),
    "tolerate_failure": lambda flow: Task.objects.tolerate_failure(TaskRef(flow, 1), 1, "error", "traceback"),
    "await_children": lambda flow: Task.objects.await_children(TaskRef(flow, 1), 1, 3),
    "give_up": lambda flow: Task.objects.give_up(TaskRef(flow, 1), "error"),
    "reopen": lambda flow: Task.objects.reopen(flow, [1]),
    "adopt": lambda flow: Task.objects.adopt(inserted(flow), {"program": "Noop"}),
    "adopt_ended": lambda flow: Task.objects.adopt_ended(inserted(flow), {"program": "Noop"}),
    "refuse_adoption": lambda flow: Task.objects.refuse_adoption(inserted(flow), {}, "unknown"),
    "observe": lambda flow: Task.objects.observe(inserted(flow), {}),
    "rescue": lambda flow: Task.objects.rescue(TaskRef(flow, 1), 1),
    "refuse": lambda flow: Task.objects.refuse([inserted(flow)], RefusedBy.EXECUTOR, "no queue", 5),
    "refuse_attempt": lambda flow: Task.objects.refuse_attempt(TaskRef(flow, 1), 1, "unknown", 5),
    "reject": lambda flow: Task.objects.reject(TaskRef(flow, 1), "no queue"),
    "tolerate_rejection": lambda flow: Task.objects.tolerate_rejection(TaskRef(flow, 1), "no queue"),
    "hand_back": lambda flow: Task.objects.hand_back(TaskRef(flow, 1), 1),
    "skip": lambda flow: Task.objects.skip(TaskRef(flow, 1)),
    "cancel": lambda flow: Task.objects.cancel(flow),
    "change": lambda flow: Task.objects.change(TaskRef(flow, 1), task_priority=7),
    "rerun": lambda flow: Task.objects.rerun(flow, [1]),
}
PARKED = {"wake", "complete_parked", "begin_wait", "finish_waits", "finish_gate", "ignore_gate", "offer", "give_up"}
"""Verbs that need a parked task."""
OF_INSERTED = {"adopt", "adopt_ended", "refuse_adoption", "observe"}
"""Verbs that need a row without a program."""
OF_ATTEMPTS = {"prolong", "rescue_remote"}
"""Verbs that need an attempt of a remote task."""
OF_REMOTE = {"offer", "end_remote", "fail_remote", "tolerate_remote", "claim_remote", *OF_ATTEMPTS}
"""Verbs that need a remote task."""
OF_WAITS = {"begin_wait": None, "finish_waits": Now()}
"""Verbs that need a wait → when it began."""
OF_REFUSED = {"reject", "tolerate_rejection"}
"""Verbs that need a refused task."""
PARENTS = {"give_up": 3, "reopen": 3}
"""Verbs that need a task with children → how many it has."""


def task_in(status: Status, *, parked: bool = False, children: int = 0) -> Flow:
    """A flow with one task, in a state."""
    flow = engine.register(define({1: []}))
    ended = Now() if status in SATISFIED else None
    columns = {"attempt": 1, "finished_ts": ended, "parked": parked, "children": children}
    Task.objects.filter(task_flow=flow).update(exec_status=status, **columns)
    return flow


def row(flow: Flow) -> dict[str, object]:
    return dict(Task.objects.values().get(task_flow=flow))


def test_every_verb_of_the_transition_table_has_a_method() -> None:
    assert set(TRANSITIONS) == set(METHODS)


@pytest.mark.parametrize("verb", METHODS)
@pytest.mark.parametrize("status", Status)
def test_verb_moves_a_task_only_from_states_that_the_table_allows(verb: str, status: Status) -> None:
    flow = task_in(status, parked=verb in PARKED, children=PARENTS.get(verb, 0))
    if verb in OF_INSERTED:
        Task.objects.filter(task_flow=flow).update(program="")
    if verb in OF_REMOTE:
        Task.objects.filter(task_flow=flow).update(program="", remote="other", when="true")
    if verb in OF_WAITS:
        Task.objects.filter(task_flow=flow).update(program="wait:delay", started_ts=OF_WAITS[verb])
    if verb in OF_REFUSED:
        Task.objects.filter(task_flow=flow).update(refused_ts=Now(), refused_by=RefusedBy.WORKER, sent_ts=None)
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


@pytest.mark.parametrize(
    "verb",
    [
        "finish",
        "ignore",
        "retry",
        "park",
        "fail",
        "rescue",
        "hand_back",
        "tolerate_failure",
        "await_children",
        "refuse_attempt",
        *sorted(OF_ATTEMPTS),
    ],
)
@pytest.mark.parametrize("attempt", [0, 2])
def test_outcome_of_another_attempt_changes_nothing(verb: str, attempt: int) -> None:
    flow = task_in(Status.RUNNING)
    other = {"program": "", "remote": "other"} if verb in OF_REMOTE else {}
    Task.objects.filter(task_flow=flow).update(attempt=attempt, **other)
    before = row(flow)
    assert not METHODS[verb](flow.pk)
    assert row(flow) == before


@pytest.mark.parametrize("verb", sorted(OF_REMOTE))
def test_verb_for_remote_tasks_leaves_other_tasks_alone(verb: str) -> None:
    flow = task_in(Status.RUNNING if verb in OF_ATTEMPTS else Status.WAIT, parked=verb in PARKED)
    before = row(flow)
    assert not METHODS[verb](flow.pk)
    assert row(flow) == before


@pytest.mark.parametrize("verb", sorted(OF_WAITS))
@pytest.mark.parametrize("columns", [{"program": "Echo"}, {"begun": False}, {"parked": False}])
def test_verb_for_waits_leaves_other_tasks_alone(verb: str, columns: dict[str, object]) -> None:
    """Nor one that has begun already, or has not."""
    flow = task_in(Status.WAIT, parked=True)
    begun = OF_WAITS[verb] if "begun" not in columns else (None if OF_WAITS[verb] else Now())
    own = {name: value for name, value in columns.items() if name != "begun"}
    Task.objects.filter(task_flow=flow).update(**{"program": "wait:delay", "started_ts": begun, **own})
    before = row(flow)
    assert not METHODS[verb](flow.pk)
    assert row(flow) == before


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("held", [False, True])
def test_a_remote_claim_succeeds_only_in_an_open_flow_that_is_not_held(status: Status, held: bool) -> None:
    flow = task_in(Status.WAIT)
    ended = Now() if status in SATISFIED else None
    Flow.objects.filter(pk=flow.pk).update(exec_status=status, held=held, finished_ts=ended)
    Task.objects.filter(task_flow=flow).update(program="", remote="other")
    claimed = Task.objects.at(TaskRef(flow.pk, 1)).claim_remote(1, "remote:w", 5)
    assert bool(claimed) is (status not in SATISFIED and not held)
    if claimed:
        assert Flow.objects.begin(flow.pk) is (status is not Status.RUNNING)
        flow.refresh_from_db()
        assert flow.status is Status.RUNNING
        task = engine.get_task(flow.pk, 1)
        assert (task.attempt, task.worker, task.pid, task.started_ts is None) == (2, "remote:w", None, False)
        assert task.lease_ts is not None


@pytest.mark.parametrize("verb", sorted(PARKED))
def test_verb_for_parked_tasks_leaves_other_tasks_alone(verb: str) -> None:
    flow = task_in(Status.WAIT)
    before = row(flow)
    assert not METHODS[verb](flow.pk)
    assert row(flow) == before


@pytest.mark.parametrize("verb", sorted(OF_REFUSED))
@pytest.mark.parametrize("columns", [{}, {"refused_ts": Now(), "refused_by": "executor", "sent_ts": Now()}])
def test_verb_for_refused_tasks_leaves_other_tasks_alone(verb: str, columns: dict[str, object]) -> None:
    """Nor one that could be published at last."""
    flow = task_in(Status.WAIT)
    Task.objects.filter(task_flow=flow).update(**columns)
    before = row(flow)
    assert not METHODS[verb](flow.pk)
    assert row(flow) == before


@pytest.mark.parametrize("verb", ["retry", "park", "rescue", "await_children", "rerun"])
def test_a_task_that_was_started_is_not_refused_any_more(verb: str) -> None:
    flow = task_in(Status.FINISH if verb == "rerun" else Status.RUNNING)
    Task.objects.filter(task_flow=flow).update(refused_ts=Now(), refused_by=RefusedBy.WORKER)
    assert METHODS[verb](flow.pk)
    assert (row(flow)["refused_ts"], row(flow)["refused_by"]) == (None, "")


@pytest.mark.parametrize(
    "column", [{"pending": 1}, {"parked": True}, {"program": ""}, {"due_ts": "2999-01-01T00:00:00Z"}]
)
def test_claim_refuses_a_task_that_is_not_ready(column: dict[str, object]) -> None:
    flow = task_in(Status.WAIT)
    Task.objects.filter(task_flow=flow).update(**column)
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1)) is None


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("held", [False, True])
def test_claim_succeeds_only_in_an_open_flow_that_is_not_held(status: Status, held: bool) -> None:
    flow = task_in(Status.WAIT)
    ended = Now() if status in SATISFIED else None
    Flow.objects.filter(pk=flow.pk).update(exec_status=status, held=held, finished_ts=ended)
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("worker", 7))
    assert bool(claim) is (status not in SATISFIED and not held)
    if claim:
        flow.refresh_from_db()
        assert flow.status is Status.RUNNING
        assert flow.started_ts is not None or status is Status.RUNNING
        task = engine.get_task(flow.pk, 1)
        assert (task.attempt, task.worker, task.pid, task.started_ts is None) == (2, "worker", 7, False)
        assert (claim.attempt, claim.run, claim.retries, claim.program) == (2, 1, 0, "Echo")


def test_finish_counts_dependents_down_and_returns_the_released_ones() -> None:
    flow = engine.register(define({1: [], 2: [], 3: [1], 4: [1, 2]}))
    for seq, seqs in ((1, [3]), (2, [4])):
        Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))
        completion = Task.objects.finish(
            Success(ref=TaskRef(flow.pk, seq), attempt=1, output='{"n": [1, null, "\\u00fc"]}')
        )
        assert completion
        assert [message.head.seq for message in completion.released] == seqs
    assert list(flow.tasks.values_list("pending", flat=True)) == [0, 0, 0, 0]
    assert engine.get_task(flow.pk, 1).output == {"n": [1, None, "ü"]}
    flow.refresh_from_db()
    assert (flow.open_sinks, flow.status) == (2, Status.RUNNING)


def test_finish_of_the_last_sink_ends_the_flow() -> None:
    flow = engine.register(define({1: [], 2: []}))
    for seq, status in ((1, Status.RUNNING), (2, Status.FINISH)):
        Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))
        assert Task.objects.finish(Success(ref=TaskRef(flow.pk, seq), attempt=1, output="{}"))
        flow.refresh_from_db()
        assert flow.status is status
    assert flow.finished_ts is not None


def test_worker_with_an_overdue_heartbeat_claims_nothing() -> None:
    flow = task_in(Status.WAIT)
    Worker.objects.create(pk="w", name="w@host", pid=1, pool="prefork", concurrency=1)
    Worker.objects.filter(pk="w").update(seen_ts=Now() - timedelta(seconds=60))
    before = row(flow)
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1)) is None
    assert row(flow) == before
    assert Worker.objects.seen("w")
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
