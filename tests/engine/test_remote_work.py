"""Remote tasks that other systems claim: attempts, fences, leases, retries and rescues."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from flowerapp import engine
from flowerapp.core.gates import EACH, REMOTE
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node
from flowerapp.engine import RemoteWork, hooks
from flowerapp.exceptions import FlowerError, InvalidValueError, StateConflictError, UnknownTaskError
from flowerapp.models import Flow, HistoryEntry, Task, Workflow
from flowerapp.querysets import clock
from flowerapp.querysets.clock import Now
from flowerapp.selectors import tasks, workers
from flowerapp.selectors.next_steps import task_verbs
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import IgnoredBy, Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.remote_leases import expire_leases
from flowerapp.watcher.duties.rescue import Rescue
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.watcher.duties.settle import Settle
from tests.engine.support import check, planned, status, statuses, task, verbs
from tests.engine.test_hooks import Listener, listener
from tests.engine.test_remote import echo, remote, why

__all__ = ["listener"]

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status.WAIT, Status.RUNNING, Status.SUSPEND, Status.FINISH, Status.IGNORE


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.reset()


def claimed(worker: str = "printer-1", **options: Any) -> RemoteWork:
    """The one task that a claim takes."""
    (work,) = engine.claim_remote(worker, **options)
    return work


def entries(flow: Flow) -> list[tuple[Any, ...]]:
    """The flow's history: verb, task, attempt, worker."""
    return list(HistoryEntry.objects.filter(task_flow=flow).values_list("verb", "task_exec_seq", "attempt", "worker"))


def children_of(count: int, **options: Any) -> Flow:
    """A flow whose first task has ``count`` remote children."""
    parent = Node(seq=1, program=EACH, child_program=REMOTE, remote="docs:print", **options)
    return planned(parent, echo(2, 1), input=list(range(count)))


# Claims


def test_a_claim_says_what_is_to_be_done(runner: InlineRunner) -> None:
    node = remote(2, 1, alias="print", parameters={"size": "A4"}, priority=3, queue="q")
    flow = planned(echo(1), node, input={"day": 1})
    assert engine.claim_remote("printer-1") == []
    runner.run()
    work = claimed()
    assert (work.ref, work.task_id, work.task_seq, work.attempt) == (TaskRef(flow.pk, 2), flow.task_id, 2, 1)
    assert (work.name, work.base, work.parameters, work.input) == ("print", "docs:print", {"size": "A4"}, {"day": 1})
    assert (work.idempotency_key, work.priority, work.queue, work.lease_seconds) == (f"{flow.pk}:2:1", 3, "q", 300)
    row = task(flow, 2)
    assert (row.status, row.attempt, row.worker, row.started_ts is None) == (RUNNING, 1, "remote:printer-1", False)
    assert engine.claim_remote("printer-2") == []
    check(flow)


def test_the_first_claim_begins_its_flow(runner: InlineRunner, listener: Listener) -> None:
    flow = planned(remote(1), remote(2))
    assert status(flow) is WAIT
    assert len(engine.claim_remote("w", limit=5)) == 2
    check(flow)
    assert status(flow) is RUNNING
    hooks.deliver(flow.pk)
    assert sorted(listener.received, key=str) == [("start_flow", None), ("task_start", 1), ("task_start", 2)]
    engine.end_task(flow.pk, 1, attempt=1)
    engine.end_task(flow.pk, 2)
    assert (listener.received[-1], status(flow)) == (("all_over", None), FINISH)
    assert {event.attempt for event in listener.events if event.name == "task_over"} == {1}


def test_the_most_urgent_comes_first_and_then_the_oldest(runner: InlineRunner) -> None:
    old = planned(remote(1), remote(2, priority=-5), remote(3))
    new = planned(remote(1, priority=-5))
    order = [engine.claim_remote("w")[0].ref for _ in range(4)]
    assert order == [TaskRef(old.pk, 2), TaskRef(new.pk, 1), TaskRef(old.pk, 1), TaskRef(old.pk, 3)]


@pytest.mark.parametrize(
    ("names", "seqs"),
    [
        ([], [1, 2, 3, 4]),
        (["docs:print"], [1]),
        (["print"], [1]),
        (["docs:bind", "other"], [2, 4]),
        (["docs:"], [1, 2]),
        (["docs:*", "x"], [1, 2]),
        (["*"], [1, 2, 3, 4]),
        (["p*"], [1, 3]),
        (["nothing"], []),
        (["docs_:*"], []),
        (["DOCS:*"], []),
    ],
)
def test_names_and_name_spaces(runner: InlineRunner, names: list[str], seqs: list[int]) -> None:
    planned(
        remote(1, alias="print"), remote(2, remote="docs:bind"), remote(3, remote="pdf:x"), remote(4, remote="other")
    )
    assert [work.ref.seq for work in engine.claim_remote("w", names=names, limit=9)] == seqs


def test_a_held_flow_an_ended_one_and_one_that_is_not_admitted_give_nothing(runner: InlineRunner) -> None:
    held = planned(remote(1))
    engine.suspend(held.pk)
    engine.cancel(planned(remote(1)).pk)
    waiting = planned(remote(1))
    Flow.objects.filter(pk=waiting.pk).update(admitted=False)
    assert engine.claim_remote("w", limit=9) == []
    assert engine.take_remote(TaskRef(waiting.pk, 1), "w") is None
    engine.resume(held.pk)
    assert claimed().ref.flow_id == held.pk


def test_a_flow_limit_applies(runner: InlineRunner) -> None:
    first = planned(remote(1))
    Workflow.objects.create(task_id=first.task_id, max_active_flows=1)
    assert claimed().ref.flow_id == first.pk


def test_a_condition_is_tested_before_it_can_be_claimed(runner: InlineRunner) -> None:
    flow = planned(remote(1, when="input.go"), remote(2, when="!input.go"), input={"go": True})
    assert [work.ref.seq for work in engine.claim_remote("w", limit=9)] == [1]
    check(flow)


def test_one_task_is_taken_by_its_announced_attempt(runner: InlineRunner) -> None:
    flow = planned(remote(1), remote(2, 1))
    ref = TaskRef(flow.pk, 1)
    offered = engine.offered_remote(ref)
    assert offered is not None
    assert (offered.attempt, status(flow, 1)) == (1, WAIT)
    assert engine.offered_remote(TaskRef(flow.pk, 2)) is None
    assert engine.take_remote(ref, "w", attempt=2) is None
    work = engine.take_remote(ref, "w", attempt=1, seconds=7)
    assert work is not None
    assert (work.attempt, work.lease_seconds) == (1, 7)
    assert engine.take_remote(ref, "w", attempt=1) is None
    assert engine.take_remote(TaskRef(flow.pk, 9), "w") is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"worker": ""}, "worker is empty"),
        ({"worker": "x" * 58}, "worker has 58 characters; 57 is the most"),
        ({"worker": "a\u202eb"}, r"U\+202E"),
        ({"limit": 0}, "limit must be a whole number from 1 to 100"),
        ({"limit": 101}, "limit must be"),
        ({"names": ["a/b"]}, "a slash"),
        ({"names": ["a", ""]}, "a name is empty"),
        ({"names": [str(number) for number in range(101)]}, "101 names are given; 100 is the most"),
        ({"seconds": 0}, "seconds must be a number above 0"),
        ({"seconds": float("nan")}, "seconds must be"),
        ({"seconds": 10**400}, "seconds must be"),
        ({"seconds": True}, "seconds must be"),
    ],
)
def test_bad_claims_are_refused(runner: InlineRunner, options: dict[str, Any], said: str) -> None:
    flow = planned(remote(1))
    with pytest.raises(InvalidValueError, match=said):
        engine.claim_remote(**{"worker": "w", **options})
    assert status(flow, 1) is WAIT


def test_what_leaves_for_a_stream_holds_no_secret(runner: InlineRunner) -> None:
    parameters = {"password": "hunter2-hunter2", "url": "https://x/"}
    planned(remote(1, parameters=parameters), input={"note": "hunter2-hunter2", "token": "tok-tok-tok"})
    work = claimed()
    assert (work.parameters["password"], work.input["token"]) == ("hunter2-hunter2", "tok-tok-tok")
    assert "hunter2" not in repr(work)
    shown = work.for_stream()
    assert (shown.parameters, shown.input) == (
        {"password": "••••", "url": "https://x/"},
        {"note": "••••", "token": "••••"},
    )
    assert (shown.ref, shown.attempt) == (work.ref, work.attempt)


def test_an_input_that_cannot_be_made_fails_the_task(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = planned(remote(1, max_retries=2), remote(2))

    def input_of(ref: TaskRef) -> Any:
        if ref.seq == 1:
            raise InvalidValueError("no objects")
        return {}

    monkeypatch.setattr("flowerapp.engine.remote_work.input_of", input_of)
    assert [work.ref.seq for work in engine.claim_remote("w", limit=9)] == [2]
    assert (status(flow, 1), task(flow, 1).error) == (SUSPEND, "no objects")
    check(flow)


# Outcomes


def test_an_end_releases_what_follows(runner: InlineRunner) -> None:
    flow = planned(remote(1), echo(2, 1))
    work = claimed()
    assert engine.end_task(flow.pk, 1, output={"n": None}, attempt=work.attempt, actor="ann").status is RUNNING
    runner.run()
    check(flow)
    assert (status(flow), engine.get_flow(flow.pk).output) == (FINISH, {"n": None})
    assert entries(flow) == [("end", 1, 1, "remote:printer-1")]


def test_outcomes_that_are_late_repeated_or_unknown_change_nothing(
    runner: InlineRunner, caplog: pytest.LogCaptureFixture
) -> None:
    flow = planned(remote(1), remote(2), remote(3, 2))
    claimed()
    refused: list[tuple[int, int | None, str]] = [
        (1, 2, "attempt 2 of task 1"),
        (1, 0, "attempt 0 of task 1"),
        (2, 1, "attempt 1 of task 2 .* does not run; claim the task first"),
        (3, None, "is not ready"),
    ]
    for seq, attempt, said in refused:
        for call in (
            lambda seq=seq, attempt=attempt: engine.end_task(flow.pk, seq, attempt=attempt),
            lambda seq=seq, attempt=attempt: engine.fail_task(flow.pk, seq, "no", attempt=attempt),
        ):
            before = statuses(flow)
            with pytest.raises(StateConflictError, match=said):
                call()  # type: ignore[no-untyped-call]
            assert statuses(flow) == before
    assert "outcome refused: attempt 2" in caplog.text
    engine.end_task(flow.pk, 1, output=1, attempt=1)
    with pytest.raises(StateConflictError, match="is Finished already") as repeated:
        engine.end_task(flow.pk, 1, output=2, attempt=1)
    assert repeated.value.details == {"status": "Finish", "attempt": 1}
    assert task(flow, 1).output == 1
    with pytest.raises(UnknownTaskError):
        engine.end_task(flow.pk, 9, attempt=1)
    check(flow)


def test_without_an_attempt_the_first_outcome_of_the_running_one_counts(runner: InlineRunner) -> None:
    flow = planned(remote(1))
    claimed()
    engine.end_task(flow.pk, 1, output="first")
    with pytest.raises(StateConflictError):
        engine.end_task(flow.pk, 1, output="second")
    assert (status(flow), engine.get_flow(flow.pk).output) == (FINISH, "first")
    assert entries(flow) == [("end", 1, 1, "remote:printer-1")]


def test_a_failure_is_retried_while_retries_are_left(runner: InlineRunner, listener: Listener) -> None:
    flow = planned(remote(1, max_retries=1, retry_delay=60))
    claimed()
    engine.fail_task(flow.pk, 1, "no paper", attempt=1, actor="ann")
    check(flow)
    row = task(flow, 1)
    assert (row.status, row.retries, row.error, row.admitted) == (WAIT, 1, "no paper", False)
    assert why(flow, 1).startswith("for its retry at")
    assert tasks.note(row).startswith("retry 1 in")
    assert engine.claim_remote("w") == []
    clock.advance(61)
    send_unsent()
    assert task(flow, 1).due_ts is None
    assert why(flow, 1).startswith("for another system")
    assert claimed("printer-2").attempt == 2
    with pytest.raises(StateConflictError, match=r"attempt 1 of task 1 .* no longer runs: attempt 2 does"):
        engine.end_task(flow.pk, 1, attempt=1)
    assert engine.fail_task(flow.pk, 1, "no ink", attempt=2).status is SUSPEND
    check(flow)
    assert entries(flow) == [("retry", 1, 1, "remote:printer-1"), ("fail", 1, 2, "remote:printer-2")]
    assert [name for name, _ in listener.received] == [
        *("start_flow", "task_start", "task_exit"),
        *("task_start", "task_exit", "task_failed"),
    ]
    engine.rerun(flow.pk)
    check(flow)
    assert (claimed().attempt, task(flow, 1).retries) == (3, 0)


def test_a_retry_of_a_task_with_a_condition_is_claimed_once_it_is_due(runner: InlineRunner) -> None:
    flow = planned(remote(1, when="input.go", max_retries=1, retry_delay=5), input={"go": True})
    claimed()
    engine.fail_task(flow.pk, 1, "no", attempt=1)
    clock.advance(6)
    send_unsent()
    assert not Task.objects.due().exists()
    assert claimed().attempt == 2
    check(flow)


def test_a_failure_that_is_final_is_not_retried(runner: InlineRunner) -> None:
    flow = planned(remote(1, max_retries=5))
    claimed()
    engine.fail_task(flow.pk, 1, "no such document", attempt=1, retry=False)
    assert (status(flow, 1), status(flow)) == (SUSPEND, SUSPEND)


def test_a_reason_quotes_no_secret(runner: InlineRunner) -> None:
    flow = planned(remote(1, parameters={"password": "hunter2-hunter2"}))
    claimed()
    engine.fail_task(flow.pk, 1, "login with hunter2-hunter2 failed", attempt=1)
    assert "hunter2" not in task(flow, 1).error
    assert "hunter2" not in "".join(HistoryEntry.objects.values_list("reason", flat=True))


@pytest.mark.parametrize("strict", [True, False])
def test_children_are_claimed_one_by_one(runner: InlineRunner, strict: bool) -> None:
    flow = children_of(3, max_concurrency=2, exit_on_failed=strict)
    runner.run()
    works = engine.claim_remote("w", limit=9)
    assert sorted(work.input for work in works) == [0, 1]
    check(flow)
    engine.end_task(*works[0].ref, output="a", attempt=1)
    check(flow)
    engine.fail_task(*works[1].ref, "no", attempt=1)
    check(flow)
    if strict:
        assert (status(flow), status(flow, 1)) == (SUSPEND, SUSPEND)
        return
    assert task(flow, works[1].ref.seq).ignored_by == IgnoredBy.TOLERATED
    engine.end_task(*claimed().ref, output="c", attempt=1)
    runner.run()
    check(flow)
    assert status(flow) is FINISH


def test_a_strict_childs_failure_stops_its_running_siblings(runner: InlineRunner) -> None:
    flow = children_of(2)
    runner.run()
    one, other = engine.claim_remote("w", limit=9)
    engine.fail_task(*one.ref, "no", attempt=1)
    assert (status(flow, other.ref.seq), task(flow, other.ref.seq).ignored_by) == (IGNORE, IgnoredBy.SIBLING)
    for call in (lambda: engine.end_task(*other.ref, attempt=1), lambda: engine.beat_remote(other.ref, 1)):
        with pytest.raises(StateConflictError):
            call()
    check(flow)


# Operators


def test_operators_verbs_on_a_claimed_task(runner: InlineRunner) -> None:
    flow = planned(remote(1), echo(2, 1))
    claimed()
    for call in (
        lambda: engine.skip(flow.pk, 1),
        lambda: engine.change(flow.pk, 1, parameters={"a": 1}),
        lambda: engine.rerun(flow.pk, all_tasks=True),
        lambda: engine.wake(flow.pk, 1),
    ):
        with pytest.raises(StateConflictError):
            call()
    assert engine.delete([flow.pk]) == 0
    engine.suspend(flow.pk)
    engine.beat_remote(TaskRef(flow.pk, 1), 1)
    engine.cancel(flow.pk)
    check(flow)
    late: list[Any] = [
        lambda: engine.end_task(flow.pk, 1, attempt=1),
        lambda: engine.fail_task(flow.pk, 1, "no", attempt=1),
        lambda: engine.beat_remote(TaskRef(flow.pk, 1), 1),
    ]
    for call in late:
        with pytest.raises(StateConflictError, match="is Cancelled already"):
            call()
    engine.rerun(flow.pk, all_tasks=True)
    work = claimed()
    assert (work.attempt, work.idempotency_key) == (2, f"{flow.pk}:1:2")
    engine.end_task(flow.pk, 1, attempt=2)
    runner.run()
    assert status(flow) is FINISH
    assert engine.delete([flow.pk]) == 1


def test_surfaces_show_who_has_it(runner: InlineRunner) -> None:
    flow = planned(remote(1))
    assert {"end", "fail"} <= task_verbs(tasks.whole_task(flow.pk, 1))
    claimed()
    row = tasks.whole_task(flow.pk, 1)
    assert (tasks.note(row), workers.name_and_process(row)) == ("by another system", "remote:printer-1")
    assert wait_reasons([row]) == {}
    assert task_verbs(row) == {"end", "fail"}
    assert tasks.duration_of(row)
    engine.beat_remote(TaskRef(flow.pk, 1), 1, progress={"done": 3, "total": 10})
    assert tasks.note(tasks.whole_task(flow.pk, 1)) == "3 of 10"


# Leases


def lease(flow: Flow, seq: int = 1) -> float:
    """Seconds that the lease of a task has left, as the database counts them."""
    until = task(flow, seq).lease_ts
    assert until is not None
    return (until - clock.now()).total_seconds()


@pytest.mark.parametrize(
    ("time_limit", "seconds", "expected"),
    [(None, None, 300), (40, None, 40), (None, 900, 900), (40, 9, 9), (40, 99, 40)],
)
def test_how_long_a_lease_is(
    runner: InlineRunner, time_limit: int | None, seconds: float | None, expected: float
) -> None:
    flow = planned(remote(1, time_limit=time_limit))
    assert claimed(seconds=seconds).lease_seconds == expected
    assert expected - 5 < lease(flow) <= expected
    Task.objects.update(lease_ts=Now())
    engine.beat_remote(TaskRef(flow.pk, 1), 1, seconds=seconds)
    assert expected - 5 < lease(flow) <= expected


def test_a_heartbeat_of_another_attempt_or_worker_is_refused(runner: InlineRunner) -> None:
    flow = planned(remote(1), remote(2))
    ref = TaskRef(flow.pk, 1)
    claimed()
    before = task(flow, 1).lease_ts
    calls: list[tuple[type[FlowerError], str, Any]] = [
        (StateConflictError, "attempt 2 of task 1 .* no longer runs", lambda: engine.beat_remote(ref, 2)),
        (StateConflictError, "that of another worker", lambda: engine.beat_remote(ref, 1, worker="printer-2")),
        (StateConflictError, "claim the task first", lambda: engine.beat_remote(TaskRef(flow.pk, 2), 1)),
        (UnknownTaskError, "no task 9", lambda: engine.beat_remote(TaskRef(flow.pk, 9), 1)),
        (InvalidValueError, "progress must be an object", lambda: engine.beat_remote(ref, 1, progress=3)),
        (InvalidValueError, "seconds must be", lambda: engine.beat_remote(ref, 1, seconds=-1)),
    ]
    for error, said, call in calls:
        with pytest.raises(error, match=said):
            call()
    assert task(flow, 1).lease_ts == before
    engine.beat_remote(ref, 1, worker="printer-1")


def test_progress_quotes_no_secret(runner: InlineRunner) -> None:
    flow = planned(remote(1, parameters={"password": "hunter2-hunter2"}))
    claimed()
    engine.beat_remote(TaskRef(flow.pk, 1), 1, progress={"state": "with hunter2-hunter2"})
    assert "hunter2" not in str(task(flow, 1).progress)


def test_a_worker_that_falls_silent_loses_the_task(runner: InlineRunner, listener: Listener) -> None:
    flow = planned(remote(1), echo(2, 1))
    claimed()
    assert expire_leases() == 0
    clock.advance(299)
    assert expire_leases() == 0
    engine.beat_remote(TaskRef(flow.pk, 1), 1)
    clock.advance(299)
    assert expire_leases() == 0
    clock.advance(2)
    assert (expire_leases(), expire_leases()) == (1, 0)
    check(flow)
    row = task(flow, 1)
    assert (row.status, row.rescues, row.retries, row.sent_ts) == (WAIT, 1, 0, None)
    assert HistoryEntry.objects.get(task_flow=flow).reason == (
        "its worker printer-1 sent no heartbeat until its lease ran out"
    )
    assert ("task_exit", 1) in listener.received
    with pytest.raises(StateConflictError):
        engine.end_task(flow.pk, 1, attempt=1)
    work = claimed("printer-2")
    assert (work.attempt, work.idempotency_key) == (2, f"{flow.pk}:1:1")
    with pytest.raises(StateConflictError):
        engine.end_task(flow.pk, 1, attempt=1)
    engine.end_task(flow.pk, 1, output=2, attempt=2)
    runner.run()
    assert (status(flow), engine.get_flow(flow.pk).output) == (FINISH, 2)
    assert entries(flow) == [("rescue", 1, 1, "remote:printer-1"), ("end", 1, 2, "remote:printer-2")]


@override_settings(FLOWER={"MAX_RESCUES": 1, "REMOTE_SECONDS": 10})
def test_a_task_that_loses_worker_after_worker_fails(runner: InlineRunner) -> None:
    flow = planned(remote(1, max_retries=5))
    for _ in range(2):
        claimed()
        clock.advance(11)
        assert expire_leases() == 1
        check(flow)
    assert (status(flow), status(flow, 1)) == (SUSPEND, SUSPEND)
    assert "its worker was lost 2 times, so it is not started again" in task(flow, 1).error
    assert verbs(flow) == ["rescue", "fail"]
    engine.rerun(flow.pk)
    assert (claimed().attempt, task(flow, 1).rescues) == (3, 0)


def test_a_time_limit_that_has_passed_is_a_time_out(runner: InlineRunner, listener: Listener) -> None:
    flow = planned(remote(1, time_limit=20, max_retries=1, retry_delay=0))
    for _ in range(2):
        claimed()
        clock.advance(21)
        assert expire_leases() == 1
        check(flow)
    row = task(flow, 1)
    assert (row.status, row.error, row.rescues, row.retries) == (SUSPEND, "timed out after 20 s", 0, 1)
    assert verbs(flow) == ["retry", "fail"]
    assert [name for name, _ in listener.received if name.startswith("task_")] == [
        *("task_start", "task_timeout"),
        *("task_start", "task_timeout", "task_failed"),
    ]


def test_a_shorter_lease_than_the_time_limit_ends_in_a_rescue(runner: InlineRunner) -> None:
    flow = planned(remote(1, time_limit=100))
    claimed(seconds=5)
    clock.advance(6)
    assert expire_leases() == 1
    assert (status(flow, 1), verbs(flow)) == (WAIT, ["rescue"])


def test_a_child_whose_worker_is_lost_for_good_fails_its_parent(runner: InlineRunner) -> None:
    flow = children_of(2)
    runner.run()
    work = claimed(limit=1)
    Task.objects.at(work.ref).update(rescues=3)
    clock.advance(301)
    assert expire_leases() == 1
    check(flow)
    assert (status(flow, work.ref.seq), status(flow, 1)) == (SUSPEND, SUSPEND)


def test_duties_for_workers_of_programs_leave_claimed_tasks_alone(runner: InlineRunner) -> None:
    flow = planned(remote(1))
    claimed(seconds=86_400)
    Task.objects.update(started_ts=Now() - timedelta(days=1))
    assert (Rescue()(), send_unsent(), Settle()()) == (0, 0, 0)
    assert status(flow, 1) is RUNNING


def test_the_duty_reads_an_index_of_leases(runner: InlineRunner) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite plans otherwise")
    planned(*(remote(seq) for seq in range(1, 50)))
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        plan = Task.objects.lease_expired().order_by("lease_ts").explain()
        cursor.execute("RESET enable_seqscan")
    assert "kr_task_stat_lease" in plan, plan
