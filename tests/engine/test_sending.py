"""Who takes on to send which message, and what is taken for lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now

from flowerapp import engine, queues, watcher
from flowerapp.dispatch import FIRST, Message
from flowerapp.engine import attempts
from flowerapp.models import Event, Flow, Task, TaskDefinition, Worker
from flowerapp.querysets import Claim, TaskQuerySet
from flowerapp.querysets.steady import one_by_one
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher import duties
from tests.engine.support import check, define, statuses

pytestmark = pytest.mark.django_db(transaction=True)

WIDE = 10 * FIRST + 7


def sent(runner: InlineRunner) -> dict[int, int]:
    """``{task_exec_seq: messages}``."""
    return dict(Counter(message.head.seq for message in runner.sent))


def ago(seconds: float) -> Any:
    """The database's time then."""
    return Now() - timedelta(seconds=seconds)


def unsent() -> int:
    """Startable tasks that nobody has taken on to send."""
    return Task.objects.all().handed_over().count()


def left() -> set[int]:
    """Seqs of the tasks that were left over to others."""
    return set(Task.objects.all().left().values_list("task_exec_seq", flat=True))


def workers(processes: int) -> None:
    """Let there be a living worker of so many processes."""
    Worker.objects.create(pk="there", name="there", pid=1, pool="prefork", concurrency=processes, queues=["default"])


def claimed_and_finished(flow: Flow, seq: int) -> list[int]:
    """Run a task whose message arrived; seqs of what is sent for it."""
    return [message.head.seq for message in engine.run(flow.pk, seq, "w").released]


@pytest.mark.parametrize("sends", [True, False])
def test_of_a_wide_start_the_first_are_sent(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, sends: bool) -> None:
    """A process without a broker leaves those to the watcher."""
    monkeypatch.setattr("flowerapp.dispatch.connected", lambda: sends)
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    first = range(1, FIRST + 1)
    assert sent(runner) == (dict.fromkeys(first, 1) if sends else {})
    assert left() == set(range(FIRST + 1, WIDE + 1))
    monkeypatch.undo()
    assert watcher.hand_over() == (0 if sends else FIRST)
    assert sent(runner) == dict.fromkeys(first, 1)
    runner.run()
    assert sent(runner) == dict.fromkeys(range(1, WIDE + 1), 1)
    check(flow)


def test_of_a_wide_fork_the_first_are_sent(runner: InlineRunner) -> None:
    flow = engine.register(
        define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)} | {WIDE + 2: list(range(2, WIDE + 2))})
    )
    runner.step()
    assert sent(runner) == dict.fromkeys(range(1, FIRST + 2), 1)
    assert left() == set(range(FIRST + 2, WIDE + 2))
    runner.run()
    assert sent(runner) == dict.fromkeys(range(1, WIDE + 3), 1)
    assert not left()
    check(flow)


def test_the_first_are_the_most_urgent_of_each_kind(runner: InlineRunner) -> None:
    """A kind is a program and a queue: who ends is followed by its own kind only."""
    name = define({seq: [] for seq in range(1, 4 * FIRST + 1)})
    steps = TaskDefinition.objects.filter(task_id=name)
    steps.filter(task_seq__gt=2 * FIRST).update(task_priority=-5)
    steps.filter(task_seq__in=range(1, 4 * FIRST, 2)).update(queue="mail")
    flow = engine.register(name)
    assert set(sent(runner)) == set(range(2 * FIRST + 1, 4 * FIRST + 1))
    assert claimed_and_finished(flow, 4 * FIRST) == [2]
    assert claimed_and_finished(flow, 4 * FIRST - 1) == [1]
    assert claimed_and_finished(flow, 2 * FIRST + 1) == [3]
    assert claimed_and_finished(flow, 3) == [5]


def test_what_keeps_all_processes_busy_is_sent_at_once(runner: InlineRunner) -> None:
    workers(FIRST)
    engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert set(sent(runner)) == set(range(1, 2 * FIRST + 1))
    engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)}))
    runner.sent.clear()
    engine.send(engine.run(Flow.objects.latest("registered_ts").pk, 1, "w").released)
    assert set(sent(runner)) == set(range(2, 2 * FIRST + 2))


def test_the_watcher_sends_what_idle_processes_would_take(runner: InlineRunner) -> None:
    """Where those that came first run for long; what waits and is less urgent does not count."""
    engine.register(define({seq: [] for seq in range(1, WIDE + 1)}), priority=10)
    runner.sent.clear()
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    workers(FIRST // 2 + 2)
    assert watcher.spread() == 4
    for seq in range(1, 11):
        assert Task.objects.claim(flow.pk, seq, "there", 1)
    assert watcher.spread() == 10
    assert watcher.spread() == 0
    assert set(sent(runner)) == set(range(1, FIRST + 15))


def test_the_watcher_sends_the_first_of_a_kind_of_which_nothing_goes_on(runner: InlineRunner) -> None:
    """However many messages wait, and though nobody serves the queue."""
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    runner.waiting.clear()
    for seq in range(1, FIRST + 1):
        engine.skip(flow.pk, seq)
    gone = set(sent(runner))
    runner.sent.clear()
    Task.objects.filter(task_exec_seq__in=gone - set(range(1, FIRST + 1))).update(sent_ts=None, left_over=True)
    assert watcher.spread() == FIRST
    assert watcher.spread() == 0
    runner.run()
    check(flow)
    assert set(statuses(flow).values()) == {Status.FINISH, Status.IGNORE}


@pytest.mark.parametrize("programs", [("Noop", "Noop"), ("Noop", "Echo")], ids=["one program", "two programs"])
def test_branches_of_two_follow_each_other(runner: InlineRunner, programs: tuple[str, str]) -> None:
    """To the end, without the watcher."""
    name = define({seq: [] for seq in range(1, WIDE + 1)} | {WIDE + seq: [seq] for seq in range(1, WIDE + 1)})
    for begin, program in zip((1, WIDE + 1), programs, strict=True):
        TaskDefinition.objects.filter(task_id=name, task_seq__gte=begin).update(program=program)
    flow = engine.register(name)
    runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    assert set(sent(runner).values()) == {1}
    check(flow)


def test_the_first_are_of_those_that_are_ready(runner: InlineRunner) -> None:
    """Others of the kind, more urgent and with lower numbers, wait for something else too."""
    name = define({1: [], 2: []} | {seq: [1, 2] for seq in range(3, 53)} | {seq: [1] for seq in range(53, 103)})
    TaskDefinition.objects.filter(task_id=name, task_seq__range=(3, 52)).update(task_priority=-10)
    flow = engine.register(name)
    seqs = {each.task_seq: each.task_exec_seq for each in flow.tasks.all()}
    ready = [seqs[seq] for seq in range(53, 103)]
    assert claimed_and_finished(flow, seqs[1]) == ready[:FIRST]
    assert left() == set(ready[FIRST:])


def test_what_is_changed_is_left_over_no_more(runner: InlineRunner) -> None:
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    engine.change(flow.pk, WIDE, priority=-20)
    assert WIDE in sent(runner)
    runner.run()
    check(flow)
    assert set(statuses(flow).values()) == {Status.FINISH}


@pytest.mark.parametrize("how", ["fail", "park", "retry", "children"])
def test_an_attempt_that_ends_otherwise_lets_the_next_go_on(runner: InlineRunner, how: str) -> None:
    programs = {
        "fail": {"program": "FailUnlisted"},
        "park": {"program": "Waiting"},
        "retry": {"program": "FailUntil", "parameters": {"start": 9}},
        "children": {"program": "Split", "child_program": "Sum", "parameters": {"items": [[1]]}},
    }
    name = define({seq: [] for seq in range(1, WIDE + 1)}, **programs[how])
    flow = engine.register(name)
    assert FIRST + 1 in claimed_and_finished(flow, 1)


def test_a_lost_process_sends_what_its_finish_took_on(runner: InlineRunner) -> None:
    """The next that was left over is no continuation."""
    if connection.vendor != "postgresql":
        pytest.skip("processes that may be lost are on PostgreSQL")
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert Task.objects.claim(flow.pk, 1, "w", 1)
    assert Task.objects.finish(flow.pk, 1, 1, "{}")
    (message,) = engine.lost(flow.pk, 1, "killed", worker="w", pid=1).released
    assert message.head.seq == FIRST + 1


def test_a_lost_process_sends_what_it_had_run_before_and_not_begun_again(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    assert claimed_and_finished(flow, 1) == []
    engine.rerun(flow.pk, all_tasks=True)
    (message,) = engine.lost(flow.pk, 1, "killed", worker="w", pid=flow.tasks.get().pid).released
    assert message.head.seq == 1


# Going on in the same process


class Continuation:
    """Goes on with whatever runs Noop."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []

    def wants(self, claim: Claim) -> list[str]:
        return ["Noop"]

    def takes(self, before: Claim, claim: Claim) -> None:
        self.taken.append((before.seq, claim.seq))


def gone_on(runner: InlineRunner, times: int, last: bool = True) -> tuple[Flow, Claim]:
    """A flow of 1 → many → 1, or without that ``last``, in which a process has gone on so many times."""
    if connection.vendor != "postgresql":
        pytest.skip("processes go on on PostgreSQL")
    join = {WIDE + 2: list(range(2, WIDE + 2))} if last else {}
    flow = engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)} | join, "Noop"))
    runner.step()
    runner.waiting.popleft()
    claim = Task.objects.claim(flow.pk, 2, "w", 1)
    for _ in range(times):
        assert claim
        done = Task.objects.finish(flow.pk, claim.seq, claim.attempt, "{}", worker="w", pid=1, programs=["Noop"])
        assert done
        assert done.released == ()
        claim = done.claimed
        check(flow)
    assert claim
    return flow, claim


@pytest.mark.parametrize("last", [True, False], ids=["with a join", "without"])
def test_who_goes_on_tells_of_all_ends_with_the_last(runner: InlineRunner, last: bool) -> None:
    flow, claim = gone_on(runner, 7, last)
    row = Task.objects.one(flow.pk, claim.seq).get()
    assert (claim.seq, claim.attempt, row.worker, row.pid, row.owed) == (FIRST + 8, 1, "w", 1, 7)
    counts = Task.objects.one(flow.pk, WIDE + 2).values_list("pending") if last else flows().values_list("open_sinks")
    assert counts.get() == (WIDE,)
    engine.send(engine.finished(claim, "{}").released)
    assert counts.get() == (WIDE - 8,)
    runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    check(flow)


def flows() -> Any:
    """All flows."""
    return Flow.objects.all()


@pytest.mark.parametrize("last", [True, False], ids=["with a join", "without"])
@pytest.mark.parametrize("verb", ["fail and rerun", "fail and skip", "rerun", "cancel", "hold", "lose", "retry"])
def test_what_is_owed_is_told_whatever_happens(runner: InlineRunner, verb: str, last: bool) -> None:
    flow, claim = gone_on(runner, 5, last)
    match verb:
        case "fail and rerun" | "fail and skip":
            engine.send(engine.failed(claim, ValueError("no")).released)
            check(flow)
            runner.run()
            check(flow)
            engine.rerun(flow.pk) if verb.endswith("rerun") else engine.skip(flow.pk, claim.seq)
        case "rerun":
            engine.send(engine.finished(claim, "{}").released)
            engine.rerun(flow.pk, from_seq=2)
        case "cancel":
            engine.cancel(flow.pk)
            assert engine.finished(claim, "{}").released == ()
            engine.rerun(flow.pk, all_tasks=True)
        case "hold":
            engine.suspend(flow.pk)
            check(flow)
            continuation = Continuation()
            engine.send(engine.finished(claim, "{}", continuation).released)
            assert continuation.taken == []
            engine.resume(flow.pk)
        case "lose":
            engine.send(engine.lost(flow.pk, claim.seq, "killed", worker="w", pid=1).released)
        case "retry":
            assert Task.objects.retry(flow.pk, claim.seq, claim.attempt, 0, "no", "")
            engine.hand_over()
    check(flow)
    runner.run()
    engine.hand_over()
    runner.run()
    assert set(statuses(flow).values()) <= {Status.FINISH, Status.IGNORE}
    assert engine.get_flow(flow.pk).status is Status.FINISH
    check(flow)


def test_what_the_next_owes_already_is_added(runner: InlineRunner) -> None:
    flow, claim = gone_on(runner, 3)
    Task.objects.one(flow.pk, claim.seq + 1).update(owed=2)
    Task.objects.one(flow.pk, WIDE + 2).update(pending=F("pending") + 2)
    continuation = Continuation()
    engine.finished(claim, "{}", continuation)
    assert continuation.taken == [(claim.seq, claim.seq + 1)]
    assert Task.objects.one(flow.pk, claim.seq + 1).get().owed == 6
    check(flow)


def test_a_finish_that_was_committed_unheard_is_followed_all_the_same(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke before it could say what it had claimed."""
    _, claim = gone_on(runner, 1)
    finish = Task.objects.finish

    def breaks(*given: Any, **options: Any) -> Any:
        monkeypatch.undo()
        options["programs"] = ["Noop"]
        finish(*given, **options)
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(TaskQuerySet, "finish", lambda self, *given, **options: breaks(*given, **options))
    continuation = Continuation()
    assert engine.finished(claim, "{}", continuation).finished
    assert continuation.taken == [(claim.seq, claim.seq + 1)]


def test_who_is_told_of_ends_keeps_nothing_from_its_start(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, claim = gone_on(runner, 1)
    monkeypatch.setattr("flowerapp.engine.hooks.heard", lambda *_: True)
    continuation = Continuation()
    engine.finished(claim, "{}", continuation)
    assert continuation.taken == []


def test_another_process_claims_nothing_of_what_is_held_or_differs(runner: InlineRunner) -> None:
    """A time limit or another priority wants a message."""
    flow, claim = gone_on(runner, 1)
    following = Task.objects.filter(task_exec_seq=claim.seq + 1)
    following.update(time_limit=9)
    continuation = Continuation()
    done = engine.finished(claim, "{}", continuation)
    assert continuation.taken == []
    assert [message.head.seq for message in done.released] == [claim.seq + 1]
    check(flow)


# Going on with what became ready


def claimed_by_finish(flow: Flow, seq: int, programs: Sequence[str] = ("Noop", "Echo")) -> tuple[int | None, list[int]]:
    """What the finish of a task claims for its process, and seqs of what it releases."""
    if connection.vendor != "postgresql":
        pytest.skip("processes go on on PostgreSQL")
    claim = Task.objects.claim(flow.pk, seq, "w", 1)
    assert claim
    done = Task.objects.finish(flow.pk, seq, claim.attempt, "{}", worker="w", pid=1, programs=programs)
    assert done
    check(flow)
    return done.claimed and done.claimed.seq, [message.head.seq for message in done.released]


def test_a_finish_claims_what_it_releases_as_a_claim_would(runner: InlineRunner) -> None:
    """Whatever its program; the row is the one that a claim leaves, but for the message."""
    name = define({1: [], 2: [1], 3: [2]}, "Noop", max_retries=4, retry_delay=7)
    TaskDefinition.objects.filter(task_id=name, task_seq=2).update(program="Echo")
    flow, other = engine.register(name), engine.register(name)
    claim = Task.objects.claim(flow.pk, 1, "w", 1)
    assert claim
    done = Task.objects.finish(flow.pk, 1, 1, "{}", worker="w", pid=1, programs=["Noop", "Echo"])
    claimed_by_finish(other, 1, programs=())
    wanted = Task.objects.claim(other.pk, 2, "w", 1, sent=False)
    assert done
    assert done.claimed
    assert done.released == ()
    assert wanted == replace(done.claimed, flow_id=other.pk)
    rows = [Task.objects.filter(task_flow=each, task_exec_seq=2).values().get() for each in (flow, other)]
    differing = {name for name in rows[0] if rows[0][name] != rows[1][name]}
    assert differing == {"id", "task_flow_id", "registered_ts", "started_ts"}
    assert (rows[0]["worker"], rows[0]["pid"], rows[0]["attempt"], rows[0]["sent_ts"]) == ("w", 1, 1, None)
    assert Task.objects.one(flow.pk, 1).get().finished_ts == rows[0]["started_ts"]
    assert Task.objects.claimed_by(flow.pk, 1, "w", 1) == done.claimed


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
    Task.objects.one(flow.pk, 2).update(**columns)
    assert claimed_by_finish(flow, 1) == (claimed, [] if claimed else [2])


def test_a_finish_claims_the_first_of_many_and_leaves_the_rest_as_ever(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)}, "Noop"))
    claimed, released = claimed_by_finish(flow, 1)
    assert claimed == 2
    assert released == [*range(3, FIRST + 2)]
    assert left() == {*range(FIRST + 2, WIDE + 2)}
    runner.waiting.clear()


def test_a_finish_that_releases_something_more_urgent_claims_nothing(runner: InlineRunner) -> None:
    """It would keep the process from it."""
    flow = engine.register(define({1: [], 2: [1], 3: [1]}, "Noop"))
    Task.objects.one(flow.pk, 3).update(task_priority=-1)
    assert claimed_by_finish(flow, 1) == (None, [2, 3])


def test_the_last_of_those_that_it_waits_for_claims_a_join(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], 2: [], 3: [1, 2]}, "Noop"))
    assert claimed_by_finish(flow, 1) == (None, [])
    assert claimed_by_finish(flow, 2) == (3, [])


def test_what_was_left_over_comes_before_what_became_ready(runner: InlineRunner) -> None:
    """It is ready for longer; a process goes on with one."""
    wide = {seq: [] for seq in range(1, WIDE + 1)}
    flow = engine.register(define(wide | {WIDE + 1: [1]}, "Noop"))
    assert claimed_by_finish(flow, 1) == (FIRST + 1, [WIDE + 1])


@pytest.mark.parametrize("state", ["held", "not begun", "waits for its turn", "its worker is taken for dead"])
def test_a_finish_claims_nothing_in_a_flow_that_does_not_run(runner: InlineRunner, state: str) -> None:
    flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    claim = Task.objects.claim(flow.pk, 1, "w", 1)
    assert claim
    match state:
        case "held":
            engine.suspend(flow.pk)
        case "not begun":  # a claim that met a suspend which was resumed; the next claim begins the flow
            Flow.objects.filter(pk=flow.pk).update(exec_status=Status.WAIT, started_ts=None)
        case "waits for its turn":
            Flow.objects.filter(pk=flow.pk).update(admitted=False)
        case _:
            Worker.objects.create(pk="w", name="w", pid=1, concurrency=1, queues=[], seen_ts=ago(3600))
    if connection.vendor != "postgresql":
        pytest.skip("processes go on on PostgreSQL")
    done = Task.objects.finish(flow.pk, 1, claim.attempt, "{}", worker="w", pid=1, programs=["Noop"])
    assert done
    assert done.claimed is None
    assert [message.head.seq for message in done.released] == [2]


def test_a_process_that_is_lost_at_what_a_finish_claimed_is_followed(runner: InlineRunner) -> None:
    """Nobody else was told of it."""
    flow = engine.register(define({1: [], 2: [1], 3: [2]}, "Noop"))
    assert claimed_by_finish(flow, 1) == (2, [])
    (message,) = engine.lost(flow.pk, 2, "killed", worker="w", pid=1).released
    assert message.head.seq == 2
    runner.waiting.clear()
    engine.send([message])
    runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}


def test_children_are_not_left_over(runner: InlineRunner) -> None:
    """Each child's end is the turn of a sibling of its own."""
    steps = {"program": "Split", "child_program": "Sum", "parameters": {"items": [[n] for n in range(4 * FIRST)]}}
    name = define({1: []}, **steps, max_concurrency=3 * FIRST)
    flow = engine.register(name)
    runner.step()
    engine.suspend(flow.pk)
    engine.resume(flow.pk)
    assert not left()
    runner.run()
    check(flow)
    assert set(statuses(flow).values()) == {Status.FINISH}


@pytest.mark.parametrize("verb", ["resume", "rerun", "cancel"])
def test_verbs_leave_nothing_behind_of_what_was_left_over(runner: InlineRunner, verb: str) -> None:
    flow = engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)}))
    runner.step()
    assert left()
    if verb == "resume":
        engine.suspend(flow.pk)
        engine.resume(flow.pk)
    elif verb == "rerun":
        runner.waiting.clear()
        engine.rerun(flow.pk, from_seq=1)
    else:
        engine.cancel(flow.pk)
        assert not left()
        engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert not left()
    assert set(statuses(flow).values()) == {Status.FINISH}
    check(flow)


def test_a_lost_process_sends_what_it_had_begun_to_go_on_with(runner: InlineRunner) -> None:
    """Its attempt had not begun, so nobody else knows of it."""
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert claimed_and_finished(flow, 1) == [FIRST + 1]
    (message,) = engine.lost(flow.pk, FIRST + 1, "killed", worker="w", pid=1).released
    assert message.head.seq == FIRST + 1


def test_the_most_urgent_are_taken_first(runner: InlineRunner) -> None:
    engine.register(define({seq: [] for seq in range(1, 7)}))
    runner.waiting.clear()
    for seq in range(1, 7):
        Task.objects.filter(task_exec_seq=seq).update(sent_ts=None, task_priority=-seq)
    assert [message.head.seq for message in Task.objects.all().take_unsent(4)] == [6, 5, 4, 3]
    assert [message.head.seq for message in Task.objects.all().take_unsent(4)] == [2, 1]
    assert Task.objects.all().take_unsent(4) == []


# What is taken for lost


@pytest.fixture
def in_broker(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Messages that the broker says it holds, by queue."""
    sizes: dict[str, int] = {}
    monkeypatch.setattr(queues, "sizes", lambda names: {name: sizes.get(name, 0) for name in names})
    return sizes


def silent_flow(runner: InlineRunner, number: int, seconds: float = 20) -> Flow:
    """A flow of ready tasks whose messages were sent so long ago, the first the longest."""
    flow = engine.register(define({seq: [] for seq in range(1, number + 1)}))
    for seq in range(1, number + 1):
        Task.objects.one(flow.pk, seq).update(sent_ts=ago(seconds - seq / 100))
    runner.sent.clear()
    return flow


def test_what_a_queue_has_lost_is_sent_again_after_two_looks(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    flow = silent_flow(runner, 5)
    in_broker["default"] = 3
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, 2]
    assert sent(runner) == {1: 1, 2: 1}
    in_broker["default"] = 5
    assert [resend(), resend()] == [0, 0]
    history = Event.objects.filter(task_flow=flow, verb="resend").values_list("task_exec_seq", "actor")
    assert sorted(history) == [(1, "watcher"), (2, "watcher")]


def test_what_living_workers_may_just_have_taken_is_not_missed(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    """Unless their queue is empty."""
    Worker.objects.create(pk="w", name="w@here", pid=1, pool="prefork", concurrency=2, queues=["default"])
    silent_flow(runner, 5)
    in_broker["default"] = 3
    resend = watcher.Resend()
    assert [resend(), resend(), resend()] == [0, 0, 0]
    in_broker["default"] = 2
    assert [resend(), resend()] == [0, 1]
    in_broker["default"] = 0
    assert [resend(), resend()] == [0, 4]


def test_what_was_just_sent_is_not_sent_again(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    silent_flow(runner, 3, seconds=8)
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, 0]


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        ({"task_priority": 0}, 1),
        ({"task_priority": 3}, 1),
        ({"task_priority": 19}, 1),
        ({"task_priority": -20}, 0),
        ({"queue": "other"}, 0),
        ({"sent_ts": ago(15)}, 0),
    ],
    ids=["as urgent", "of the same step", "less urgent", "more urgent", "other queue", "sent about then"],
)
def test_what_was_overtaken_is_sent_again(
    runner: InlineRunner, in_broker: dict[str, int], columns: dict[str, Any], count: int
) -> None:
    """Although its queue is never empty."""
    in_broker["default"] = 1000
    flow = silent_flow(runner, 2)
    Task.objects.one(flow.pk, 2).update(**{"sent_ts": Now(), "copied": False, **columns})
    assert Task.objects.claim(flow.pk, 2, "w", 1)
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, count]
    assert sent(runner) == ({1: 1} if count else {})


def test_a_copy_is_no_sign_that_others_were_overtaken(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    """An older message of the one that runs may have been the one that was taken."""
    in_broker["default"] = 1000
    flow = silent_flow(runner, 9)
    Task.objects.one(flow.pk, 9).mark_sent()
    assert Task.objects.claim(flow.pk, 9, "w", 1)
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, 0]


def test_suspend_and_resume_do_not_make_others_seem_overtaken(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    in_broker["default"] = 1000
    first, second = silent_flow(runner, 3), silent_flow(runner, 3)
    engine.suspend(first.pk)
    engine.resume(first.pk)
    runner.sent.clear()
    assert Task.objects.claim(first.pk, 1, "w", 1)
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, 0]
    assert second.tasks.filter(attempt=0).count() == 3


def test_a_queue_that_nobody_serves_hides_no_loss_in_another(
    runner: InlineRunner, in_broker: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "SUSPECTS", 3)
    flow = silent_flow(runner, 20)
    Task.objects.filter(task_exec_seq__lte=19).update(queue="unserved")
    in_broker.update(unserved=19, default=0)
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, 1]
    assert sent(runner) == {20: 1}
    assert flow.history.get().task_exec_seq == 20


def test_nothing_is_counted_while_the_broker_is_away(
    runner: InlineRunner, in_broker: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = silent_flow(runner, 2)
    monkeypatch.setattr("flowerapp.dispatch.connected", lambda: False)
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, 0]
    assert not flow.history.exists()


def test_a_queue_that_refuses_holds_up_no_other(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowerapp.engine.sending.AT_ONCE", 4)
    asked: list[str] = []

    def refuse(messages: Sequence[Message]) -> None:
        asked.append(messages[0].head.queue)
        if messages[0].head.queue == "mail":
            raise OSError("PRECONDITION_FAILED")
        runner(messages)

    flow = engine.register(define({seq: [] for seq in range(1, 13)}))
    Task.objects.filter(task_exec_seq__lte=8).update(queue="mail", task_priority=-20)
    Task.objects.update(sent_ts=None)
    runner.sent.clear()
    monkeypatch.setattr("flowerapp.dispatch.send", refuse)
    assert engine.hand_over() == 4
    assert asked == ["mail", ""]
    assert sent(runner) == dict.fromkeys(range(9, 13), 1)
    assert unsent() == 8
    assert flow.tasks.filter(sent_ts=None).count() == 8


def test_resume_where_nothing_can_be_sent_is_handed_over(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = engine.register(define({1: [], 2: []}))
    engine.suspend(flow.pk)
    with monkeypatch.context() as beside:
        beside.setattr("flowerapp.dispatch.connected", lambda: False)
        engine.resume(flow.pk)
    assert unsent() == 2
    assert watcher.hand_over() == 2


def test_that_it_was_overtaken_is_remembered(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    in_broker["default"] = 1000
    flow = silent_flow(runner, 2)
    Task.objects.one(flow.pk, 2).update(sent_ts=Now())
    claim = Task.objects.claim(flow.pk, 2, "w", 1)
    assert claim
    resend = watcher.Resend()
    assert resend() == 0
    engine.finished(claim, "{}")
    assert resend() == 1


def test_many_of_less_urgency_do_not_hide_one_that_was_overtaken(
    runner: InlineRunner, in_broker: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "PAGE", 3)
    in_broker["default"] = 1000
    flow = silent_flow(runner, 12)
    Task.objects.filter(task_exec_seq__lte=10).update(task_priority=19)
    Task.objects.one(flow.pk, 12).update(sent_ts=Now())
    assert Task.objects.claim(flow.pk, 12, "w", 1)
    resend = watcher.Resend()
    assert [resend(), resend()] == [0, 1]
    assert sent(runner) == {11: 1}


# One that cannot be mended


def test_rows_that_stay_do_not_keep_others_from_their_turn(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duties, "PAGE", 2)
    flow = engine.register(define({seq: [] for seq in range(1, 8)}))
    for seq in range(1, 8):
        assert Task.objects.claim(flow.pk, seq, "dead", 1)
    Task.objects.update(started_ts=ago(60))
    lost = engine.lost

    def stubborn(flow_id: str, seq: int, reason: str, **options: Any) -> Any:
        if seq <= 3:
            raise ValueError("it cannot be mended")
        return lost(flow_id, seq, reason, **options)

    monkeypatch.setattr(engine, "lost", stubborn)
    rescue = watcher.Rescue()
    assert sum(rescue() for _ in range(4)) == 4
    assert statuses(flow) == {seq: Status.RUNNING if seq <= 3 else Status.WAIT for seq in range(1, 8)}
    assert "could not mend" in caplog.text


def test_a_database_that_is_away_ends_a_duty_at_once(runner: InlineRunner) -> None:
    def away(row: int) -> int:
        raise OperationalError(f"row {row}")

    with pytest.raises(OperationalError, match="row 1"):
        one_by_one([1, 2, 3], away)


# A worker that was stopped or asleep


@pytest.fixture
def asleep() -> Worker:
    """A worker that gave no sign of life for a minute."""
    worker = Worker.objects.create(pk="w", name="w@here", pid=1, pool="prefork", concurrency=1)
    Worker.objects.update(seen_ts=ago(60))
    return worker


def test_it_claims_once_it_has_given_a_sign_of_life(
    runner: InlineRunner, asleep: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    monkeypatch.setattr(attempts.time, "sleep", lambda _: Worker.objects.seen("w"))
    assert engine.run(flow.pk, 1, "w").finished
    assert statuses(flow) == {1: Status.FINISH}


def test_it_leaves_a_task_to_others_if_it_gives_none(
    runner: InlineRunner, asleep: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    monkeypatch.setattr(attempts, "PATIENCE", 0.3)
    assert not engine.run(flow.pk, 1, "w").finished
    assert statuses(flow) == {1: Status.WAIT}
