"""Of many tasks that become ready together the first are sent; each end sends the next deferred one."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import FIRST_SENT, TaskRef
from flowerapp.engine import attempts, dispatching, recovery
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets import Success
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.deferred import send_deferred
from flowerapp.watcher.duties.send import send_unsent
from tests.engine.sending import WIDE, claimed_and_finished, left, sent, workers
from tests.engine.support import check, define, statuses

pytestmark = pytest.mark.django_db(transaction=True)


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("sends", [True, False])
def test_of_a_wide_start_the_first_are_sent(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, sends: bool) -> None:
    """A process without a broker leaves those to the watcher."""
    monkeypatch.setattr(runner, "connected", lambda: sends)
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    first = range(1, FIRST_SENT + 1)
    assert sent(runner) == (dict.fromkeys(first, 1) if sends else {})
    assert left() == set(range(FIRST_SENT + 1, WIDE + 1))
    monkeypatch.undo()
    assert send_unsent() == (0 if sends else FIRST_SENT)
    assert sent(runner) == dict.fromkeys(first, 1)
    runner.run()
    assert sent(runner) == dict.fromkeys(range(1, WIDE + 1), 1)
    check(flow)


def test_of_a_wide_fork_the_first_are_sent(runner: InlineRunner) -> None:
    flow = engine.register(
        define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)} | {WIDE + 2: list(range(2, WIDE + 2))})
    )
    runner.step()
    assert sent(runner) == dict.fromkeys(range(1, FIRST_SENT + 2), 1)
    assert left() == set(range(FIRST_SENT + 2, WIDE + 2))
    runner.run()
    assert sent(runner) == dict.fromkeys(range(1, WIDE + 3), 1)
    assert not left()
    check(flow)


def test_the_first_are_the_most_urgent_of_each_kind(runner: InlineRunner) -> None:
    """A kind is a program and a queue: who ends is followed by its own kind only."""
    name = define({seq: [] for seq in range(1, 4 * FIRST_SENT + 1)})
    steps = TaskDefinition.objects.filter(task_id=name)
    steps.filter(task_seq__gt=2 * FIRST_SENT).update(task_priority=-5)
    steps.filter(task_seq__in=range(1, 4 * FIRST_SENT, 2)).update(queue="mail")
    flow = engine.register(name)
    assert set(sent(runner)) == set(range(2 * FIRST_SENT + 1, 4 * FIRST_SENT + 1))
    assert claimed_and_finished(flow, 4 * FIRST_SENT) == [2]
    assert claimed_and_finished(flow, 4 * FIRST_SENT - 1) == [1]
    assert claimed_and_finished(flow, 2 * FIRST_SENT + 1) == [3]
    assert claimed_and_finished(flow, 3) == [5]


def test_what_keeps_all_processes_busy_is_sent_at_once(runner: InlineRunner) -> None:
    workers(FIRST_SENT)
    engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert set(sent(runner)) == set(range(1, 2 * FIRST_SENT + 1))
    engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)}))
    runner.sent.clear()
    dispatching.send(attempts.run(TaskRef(Flow.objects.latest("registered_ts").pk, 1), "w").released)
    assert set(sent(runner)) == set(range(2, 2 * FIRST_SENT + 2))


def test_the_watcher_sends_what_idle_processes_would_take(runner: InlineRunner) -> None:
    """Where those that came first run for long; what waits and is less urgent does not count."""
    engine.register(define({seq: [] for seq in range(1, WIDE + 1)}), priority=10)
    runner.sent.clear()
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    workers(FIRST_SENT // 2 + 2)
    assert send_deferred() == 4
    for seq in range(1, 11):
        assert Task.objects.claim(TaskRef(flow.pk, seq), Process("there", 1))
    assert send_deferred() == 10
    assert send_deferred() == 0
    assert set(sent(runner)) == set(range(1, FIRST_SENT + 15))


def test_the_watcher_sends_the_first_deferred_tasks_where_none_of_the_same_program_runs(
    runner: InlineRunner,
) -> None:
    """However many messages wait, and though no worker serves the queue."""
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    runner.waiting.clear()
    for seq in range(1, FIRST_SENT + 1):
        engine.skip(flow.pk, seq)
    gone = set(sent(runner))
    runner.sent.clear()
    Task.objects.filter(task_exec_seq__in=gone - set(range(1, FIRST_SENT + 1))).update(sent_ts=None, deferred=True)
    assert send_deferred() == FIRST_SENT
    assert send_deferred() == 0
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
    seqs = {row.task_seq: row.task_exec_seq for row in flow.tasks.all()}
    ready = [seqs[seq] for seq in range(53, 103)]
    assert claimed_and_finished(flow, seqs[1]) == ready[:FIRST_SENT]
    assert left() == set(ready[FIRST_SENT:])


def test_a_changed_task_is_deferred_no_more(runner: InlineRunner) -> None:
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    engine.change(flow.pk, WIDE, priority=-20)
    assert WIDE in sent(runner)
    runner.run()
    check(flow)
    assert set(statuses(flow).values()) == {Status.FINISH}


@pytest.mark.parametrize("how", ["fail", "park", "retry", "children"])
def test_an_attempt_that_ends_otherwise_sends_the_next_deferred_task(runner: InlineRunner, how: str) -> None:
    programs: dict[str, dict[str, Any]] = {
        "fail": {"program": "FailUnlisted"},
        "park": {"program": "Waiting"},
        "retry": {"program": "FailUntil", "parameters": {"start": 9}},
        "children": {"program": "Split", "child_program": "Sum", "parameters": {"items": [[1]]}},
    }
    name = define({seq: [] for seq in range(1, WIDE + 1)}, **programs[how])
    flow = engine.register(name)
    assert FIRST_SENT + 1 in claimed_and_finished(flow, 1)


def test_a_lost_process_sends_what_its_finish_took_on(runner: InlineRunner) -> None:
    """The next deferred task is no continuation."""
    if connection.vendor != "postgresql":
        pytest.skip("processes that may be lost are on PostgreSQL")
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert Task.objects.finish(Success(ref=TaskRef(flow.pk, 1), attempt=1, output="{}"))
    (message,) = recovery.record_lost(TaskRef(flow.pk, 1), "killed", Process("w", 1)).released
    assert message.head.seq == FIRST_SENT + 1


def test_a_lost_process_sends_what_it_had_run_before_and_not_begun_again(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    assert claimed_and_finished(flow, 1) == []
    engine.rerun(flow.pk, all_tasks=True)
    (message,) = recovery.record_lost(TaskRef(flow.pk, 1), "killed", Process("w", flow.tasks.get().pid)).released
    assert message.head.seq == 1


def test_children_are_not_deferred(runner: InlineRunner) -> None:
    """Each child's end is the turn of a sibling of its own."""
    steps: dict[str, Any] = {
        "program": "Split",
        "child_program": "Sum",
        "parameters": {"items": [[n] for n in range(4 * FIRST_SENT)]},
    }
    name = define({1: []}, **steps, max_concurrency=3 * FIRST_SENT)
    flow = engine.register(name)
    runner.step()
    engine.suspend(flow.pk)
    engine.resume(flow.pk)
    assert not left()
    runner.run()
    check(flow)
    assert set(statuses(flow).values()) == {Status.FINISH}


@pytest.mark.parametrize("verb", ["resume", "rerun", "cancel"])
def test_verbs_clear_the_mark_of_deferred_tasks(runner: InlineRunner, verb: str) -> None:
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


def test_a_task_that_a_lost_process_was_to_continue_with_is_sent(runner: InlineRunner) -> None:
    """Its attempt had not begun, so no other process knows of it."""
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert claimed_and_finished(flow, 1) == [FIRST_SENT + 1]
    (message,) = recovery.record_lost(TaskRef(flow.pk, FIRST_SENT + 1), "killed", Process("w", 1)).released
    assert message.head.seq == FIRST_SENT + 1
