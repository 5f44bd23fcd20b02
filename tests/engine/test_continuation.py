"""A process continues: the finish of a task claims the next for it, where a claim would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import FIRST_SENT, TaskRef
from flowerapp.engine import dispatching, recovery
from flowerapp.models import Flow, Task, TaskDefinition, Worker
from flowerapp.querysets import Claim, Success, TaskQuerySet
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.attempts import fail, succeed
from tests.engine.sending import WIDE, ago, left
from tests.engine.support import check, define, statuses

pytestmark = pytest.mark.django_db(transaction=True)


class Continuation:
    """Continues with whatever runs Noop."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []

    def candidates(self, claim: Claim) -> list[str]:
        return ["Noop"]

    def keeps(self, claim: Claim, candidates: Sequence[str]) -> Sequence[int]:
        return ()

    def accept(self, before: Claim, claim: Claim) -> None:
        self.taken.append((before.seq, claim.seq))


def continued(runner: InlineRunner, times: int, last: bool = True) -> tuple[Flow, Claim]:
    """A flow of 1 → many → 1, or without that ``last``, in which a process has continued so many times."""
    if connection.vendor != "postgresql":
        pytest.skip("processes continue on PostgreSQL only")
    join = {WIDE + 2: list(range(2, WIDE + 2))} if last else {}
    flow = engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)} | join, "Noop"))
    runner.step()
    runner.waiting.popleft()
    claim = Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1))
    for _ in range(times):
        assert claim
        done = Task.objects.finish(
            Success(
                ref=TaskRef(flow.pk, claim.seq),
                attempt=claim.attempt,
                output="{}",
                process=Process("w", 1),
                candidates=["Noop"],
            )
        )
        assert done
        assert done.released == ()
        claim = done.claimed
        check(flow)
    assert claim
    return flow, claim


@pytest.mark.parametrize("last", [True, False], ids=["with a join", "without"])
def test_a_process_that_continues_reports_all_ends_with_the_last(runner: InlineRunner, last: bool) -> None:
    flow, claim = continued(runner, 7, last)
    row = Task.objects.at(TaskRef(flow.pk, claim.seq)).get()
    assert (claim.seq, claim.attempt, row.worker, row.pid, row.coalesced) == (FIRST_SENT + 8, 1, "w", 1, 7)
    counts = (
        Task.objects.at(TaskRef(flow.pk, WIDE + 2)).values_list("pending")
        if last
        else flows().values_list("open_sinks")
    )
    assert counts.get() == (WIDE,)
    dispatching.send(succeed(claim, "{}").released)
    assert counts.get() == (WIDE - 8,)
    runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    check(flow)


def flows() -> Any:
    """All flows."""
    return Flow.objects.all()


@pytest.mark.parametrize("last", [True, False], ids=["with a join", "without"])
@pytest.mark.parametrize("verb", ["fail and rerun", "fail and skip", "rerun", "cancel", "hold", "lose", "retry"])
def test_coalesced_ends_are_counted_whatever_happens(runner: InlineRunner, verb: str, last: bool) -> None:
    flow, claim = continued(runner, 5, last)
    match verb:
        case "fail and rerun" | "fail and skip":
            dispatching.send(fail(claim, ValueError("no")).released)
            check(flow)
            runner.run()
            check(flow)
            engine.rerun(flow.pk) if verb.endswith("rerun") else engine.skip(flow.pk, claim.seq)
        case "rerun":
            dispatching.send(succeed(claim, "{}").released)
            engine.rerun(flow.pk, from_seq=2)
        case "cancel":
            engine.cancel(flow.pk)
            assert succeed(claim, "{}").released == ()
            engine.rerun(flow.pk, all_tasks=True)
        case "hold":
            engine.suspend(flow.pk)
            check(flow)
            continuation = Continuation()
            dispatching.send(succeed(claim, "{}", continuation).released)
            assert continuation.taken == []
            engine.resume(flow.pk)
        case "lose":
            dispatching.send(recovery.record_lost(TaskRef(flow.pk, claim.seq), "killed", Process("w", 1)).released)
        case "retry":
            assert Task.objects.retry(TaskRef(flow.pk, claim.seq), claim.attempt, 0, "no", "")
            dispatching.send_unsent()
    check(flow)
    runner.run()
    dispatching.send_unsent()
    runner.run()
    assert set(statuses(flow).values()) <= {Status.FINISH, Status.IGNORE}
    assert engine.get_flow(flow.pk).status is Status.FINISH
    check(flow)


def test_coalesced_ends_of_the_next_are_added(runner: InlineRunner) -> None:
    flow, claim = continued(runner, 3)
    Task.objects.at(TaskRef(flow.pk, claim.seq + 1)).update(coalesced=2)
    Task.objects.at(TaskRef(flow.pk, WIDE + 2)).update(pending=F("pending") + 2)
    continuation = Continuation()
    succeed(claim, "{}", continuation)
    assert continuation.taken == [(claim.seq, claim.seq + 1)]
    assert Task.objects.at(TaskRef(flow.pk, claim.seq + 1)).get().coalesced == 6
    check(flow)


def test_a_finish_that_was_committed_unheard_is_followed_all_the_same(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke before it could say what it had claimed."""
    _, claim = continued(runner, 1)
    finish = Task.objects.finish

    def breaks(self: TaskQuerySet, success: Success) -> None:
        monkeypatch.undo()
        finish(replace(success, candidates=["Noop"]))
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(TaskQuerySet, "finish", breaks)
    continuation = Continuation()
    assert succeed(claim, "{}", continuation).finished
    assert continuation.taken == [(claim.seq, claim.seq + 1)]


def test_a_process_does_not_continue_where_events_have_listeners(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, claim = continued(runner, 1)
    monkeypatch.setattr("flowerapp.signals.has_listeners", lambda *_: True)
    continuation = Continuation()
    succeed(claim, "{}", continuation)
    assert continuation.taken == []


def test_another_process_claims_nothing_of_what_is_held_or_differs(runner: InlineRunner) -> None:
    """A time limit or another priority wants a message."""
    flow, claim = continued(runner, 1)
    following = Task.objects.filter(task_exec_seq=claim.seq + 1)
    following.update(time_limit=9)
    continuation = Continuation()
    done = succeed(claim, "{}", continuation)
    assert continuation.taken == []
    assert [message.head.seq for message in done.released] == [claim.seq + 1]
    check(flow)


def claimed_by_finish(flow: Flow, seq: int, programs: Sequence[str] = ("Noop", "Echo")) -> tuple[int | None, list[int]]:
    """What the finish of a task claims for its process, and seqs of what it releases."""
    if connection.vendor != "postgresql":
        pytest.skip("processes continue on PostgreSQL only")
    claim = Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))
    assert claim
    done = Task.objects.finish(
        Success(
            ref=TaskRef(flow.pk, seq), attempt=claim.attempt, output="{}", process=Process("w", 1), candidates=programs
        )
    )
    assert done
    check(flow)
    return done.claimed.seq if done.claimed else None, [message.head.seq for message in done.released]


def test_a_finish_claims_what_it_releases_as_a_claim_would(runner: InlineRunner) -> None:
    """Whatever its program; the row is the one that a claim leaves, but for the message."""
    name = define({1: [], 2: [1], 3: [2]}, "Noop", max_retries=4, retry_delay=7)
    TaskDefinition.objects.filter(task_id=name, task_seq=2).update(program="Echo")
    flow, other = engine.register(name), engine.register(name)
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    done = Task.objects.finish(
        Success(ref=TaskRef(flow.pk, 1), attempt=1, output="{}", process=Process("w", 1), candidates=["Noop", "Echo"])
    )
    claimed_by_finish(other, 1, programs=())
    wanted = Task.objects.claim(TaskRef(other.pk, 2), Process("w", 1), sent=False)
    assert done
    assert done.claimed
    assert done.released == ()
    assert wanted == replace(done.claimed, ref=TaskRef(other.pk, 2))
    rows = [Task.objects.filter(task_flow=owner, task_exec_seq=2).values().get() for owner in (flow, other)]
    differing = {name for name in rows[0] if rows[0][name] != rows[1][name]}
    assert differing == {"id", "task_flow_id", "registered_ts", "started_ts"}
    assert (rows[0]["worker"], rows[0]["pid"], rows[0]["attempt"], rows[0]["sent_ts"]) == ("w", 1, 1, None)
    assert Task.objects.at(TaskRef(flow.pk, 1)).get().finished_ts == rows[0]["started_ts"]
    assert Task.objects.claimed_by(TaskRef(flow.pk, 1), Process("w", 1)) == done.claimed


@pytest.mark.parametrize(
    ("columns", "claimed"),
    [
        ({}, 2),
        ({"program": "Nap"}, None),
        ({"queue": "other"}, None),
        ({"task_priority": 1}, None),
        ({"time_limit": 9}, None),
        ({"due_ts": Now()}, None),
    ],
    ids=["alike", "another program", "another queue", "less urgent", "with a limit", "at a time"],
)
def test_a_finish_claims_what_a_message_would_bring_here(
    runner: InlineRunner, columns: dict[str, Any], claimed: int | None
) -> None:
    flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    Task.objects.at(TaskRef(flow.pk, 2)).update(**columns)
    assert claimed_by_finish(flow, 1) == (claimed, [] if claimed else [2])


def test_a_finish_claims_the_first_of_many_and_leaves_the_rest_as_ever(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)}, "Noop"))
    claimed, released = claimed_by_finish(flow, 1)
    assert claimed == 2
    assert released == [*range(3, FIRST_SENT + 2)]
    assert left() == {*range(FIRST_SENT + 2, WIDE + 2)}
    runner.waiting.clear()


def test_a_finish_that_releases_something_more_urgent_claims_nothing(runner: InlineRunner) -> None:
    """It would keep the process from it."""
    flow = engine.register(define({1: [], 2: [1], 3: [1]}, "Noop"))
    Task.objects.at(TaskRef(flow.pk, 3)).update(task_priority=-1)
    assert claimed_by_finish(flow, 1) == (None, [2, 3])


def test_the_last_of_those_that_it_waits_for_claims_a_join(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [], 3: [1, 2]}, "Noop"))
    assert claimed_by_finish(flow, 1) == (None, [])
    assert claimed_by_finish(flow, 2) == (3, [])


def test_a_deferred_task_comes_before_what_became_ready(runner: InlineRunner) -> None:
    """It is ready for longer; a process continues with one."""
    wide: dict[int, list[int]] = {seq: [] for seq in range(1, WIDE + 1)}
    flow = engine.register(define(wide | {WIDE + 1: [1]}, "Noop"))
    assert claimed_by_finish(flow, 1) == (FIRST_SENT + 1, [WIDE + 1])


@pytest.mark.parametrize("state", ["held", "not begun", "is not admitted", "its worker is taken for dead"])
def test_a_finish_claims_nothing_in_a_flow_that_does_not_run(runner: InlineRunner, state: str) -> None:
    flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    match state:
        case "held":
            engine.suspend(flow.pk)
        case "not begun":  # a claim that met a suspend which was resumed; the next claim begins the flow
            Flow.objects.filter(pk=flow.pk).update(exec_status=Status.WAIT, started_ts=None)
        case "is not admitted":
            Flow.objects.filter(pk=flow.pk).update(admitted=False)
        case _:
            Worker.objects.create(pk="w", name="w", pid=1, concurrency=1, queues=[], seen_ts=ago(3600))
    if connection.vendor != "postgresql":
        pytest.skip("processes continue on PostgreSQL only")
    done = Task.objects.finish(
        Success(
            ref=TaskRef(flow.pk, 1), attempt=claim.attempt, output="{}", process=Process("w", 1), candidates=["Noop"]
        )
    )
    assert done
    assert done.claimed is None
    assert [message.head.seq for message in done.released] == [2]


def test_a_process_that_is_lost_at_what_a_finish_claimed_is_followed(runner: InlineRunner) -> None:
    """No other process knows of it."""
    flow = engine.register(define({1: [], 2: [1], 3: [2]}, "Noop"))
    assert claimed_by_finish(flow, 1) == (2, [])
    (message,) = recovery.record_lost(TaskRef(flow.pk, 2), "killed", Process("w", 1)).released
    assert message.head.seq == 2
    runner.waiting.clear()
    dispatching.send([message])
    runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
