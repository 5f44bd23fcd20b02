"""Tasks that no worker takes: tried again, shown with the reason, and failed in the end, while all others continue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from flowerapp import engine, registry
from flowerapp.core import programs
from flowerapp.core.executor import UnpublishableError
from flowerapp.core.identity import Process
from flowerapp.core.messages import Message, TaskRef
from flowerapp.engine import attempts, dispatching, recovery
from flowerapp.models import Flow, Pool, Task, TaskDefinition
from flowerapp.selectors import queues
from flowerapp.selectors.tasks import note
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.admit import admit
from flowerapp.watcher.duties.deferred import send_deferred
from flowerapp.watcher.duties.reject import Reject
from flowerapp.watcher.duties.resend import send_again
from flowerapp.watcher.duties.send import send_unsent
from tests.engine.sending import ago, sent, silent_flow
from tests.engine.support import check, define, status, statuses, task, verbs

pytestmark = pytest.mark.django_db(transaction=True)

LONG = 301


@pytest.fixture(autouse=True)
def one_of_several(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner takes tasks as one worker of several does, which leaves to others what it cannot do itself."""
    monkeypatch.setattr(runner, "runs_here", False)


@pytest.fixture
def picky(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Seqs whose messages the executor cannot publish."""
    refused: set[int] = set()
    send = runner.send

    def publish(messages: Sequence[Message]) -> None:
        bad = {message.ref: "no such queue" for message in messages if message.head.seq in refused}
        send([message for message in messages if message.ref not in bad])
        if bad:
            raise UnpublishableError(bad)

    def step() -> bool:
        if runner.waiting:
            dispatching.send(attempts.run(runner.waiting.popleft().ref, "w").released)
            return True
        return False

    monkeypatch.setattr(runner, "send", publish)
    monkeypatch.setattr(runner, "step", step)
    return refused


def later(seconds: float = LONG) -> None:
    """Let so many seconds pass for the refused tasks."""
    Task.objects.filter(refused_ts__isnull=False).update(refused_ts=ago(seconds))
    Task.objects.filter(due_ts__isnull=False).update(due_ts=Now())
    Task.objects.filter(sent_ts__isnull=False).update(sent_ts=ago(seconds))


def test_a_message_that_cannot_be_published_blocks_no_other(runner: InlineRunner, picky: set[int]) -> None:
    picky.add(2)
    flow = engine.register(define({1: [], 2: [], 3: []}, "Noop"))
    runner.run()
    assert statuses(flow) == {1: Status.FINISH, 2: Status.WAIT, 3: Status.FINISH}
    assert task(flow, 2).is_refused
    check(flow)


def test_it_is_tried_again_and_then_forgotten(runner: InlineRunner, picky: set[int]) -> None:
    picky.add(1)
    flow = engine.register(define({1: []}, "Noop"))
    since = task(flow, 1).refused_ts
    assert send_unsent() == 0
    Task.objects.update(due_ts=Now())
    assert send_unsent() == 0
    assert task(flow, 1).refused_ts == since
    assert task(flow, 1).due_ts is not None
    picky.clear()
    Task.objects.update(due_ts=Now())
    assert send_unsent() == 1
    assert not task(flow, 1).is_refused
    Reject()()
    assert task(flow, 1).refused_ts is not None
    later(6)
    assert Reject()() == 0
    assert (task(flow, 1).refused_ts, task(flow, 1).error) == (None, "")
    runner.run()
    assert (status(flow), task(flow, 1).attempt) == (Status.FINISH, 1)


def test_it_fails_after_the_time_that_the_setting_says(runner: InlineRunner, picky: set[int]) -> None:
    picky.add(1)
    flow = engine.register(define({1: [], 2: [1], 3: []}, "Noop"))
    runner.run()
    reject = Reject()
    later(290)
    assert reject() == 0
    later()
    assert [reject(), reject()] == [1, 0]
    assert statuses(flow) == {1: Status.SUSPEND, 2: Status.WAIT, 3: Status.FINISH}
    assert task(flow, 1).error == "cannot be published: no such queue; it was tried for 300 s"
    assert (status(flow), engine.get_flow(flow.pk).failed_seq) == (Status.SUSPEND, 1)
    assert verbs(flow) == ["reject"]
    check(flow)
    picky.clear()
    engine.rerun(flow.pk)
    runner.run()
    assert status(flow) is Status.FINISH
    check(flow)


def test_it_does_not_fail_while_the_broker_is_unreachable(
    runner: InlineRunner, picky: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    picky.add(1)
    flow = engine.register(define({1: []}, "Noop"))
    later()
    monkeypatch.setattr(runner, "connected", lambda: False)
    assert Reject()() == 0
    assert status(flow, 1) is Status.WAIT


@pytest.mark.parametrize(
    ("verb", "undo"),
    [
        (lambda flow: engine.suspend(flow.pk), lambda flow: engine.resume(flow.pk)),
        (lambda flow: engine.change(flow.pk, 1, queue="other"), lambda flow: send_unsent()),
    ],
    ids=["held", "changed"],
)
def test_what_an_operator_does_gives_it_the_whole_time_again(
    runner: InlineRunner, picky: set[int], verb: Callable[[Flow], Any], undo: Callable[[Flow], Any]
) -> None:
    picky.add(1)
    flow = engine.register(define({1: []}, "Noop"))
    later()
    verb(flow)
    assert Reject()() == 0
    undo(flow)
    assert task(flow, 1).is_refused
    assert Reject()() == 0


@pytest.mark.parametrize(("tolerant", "ends"), [(False, Status.SUSPEND), (True, Status.IGNORE)])
def test_a_child_that_no_worker_takes_fails_as_its_parent_says(
    runner: InlineRunner, picky: set[int], tolerant: bool, ends: Status
) -> None:
    name = define({1: [], 2: [1]}, "Noop")
    columns = {"program": "Split", "child_program": "Sum", "parameters": {"items": [[1], [2], [3]]}}
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(exit_on_failed=not tolerant, **columns)
    picky.add(4)
    flow = engine.register(name)
    runner.run()
    check(flow)
    later()
    assert Reject()() == 1
    runner.run()
    assert status(flow, 4) is ends
    assert status(flow) is (Status.FINISH if tolerant else Status.SUSPEND)
    check(flow)


def test_it_gives_the_slot_of_its_pool_to_others(runner: InlineRunner, picky: set[int]) -> None:
    Pool.objects.create(name="one", slots=1)
    picky.add(1)
    flow = engine.register(define({1: [], 2: []}, "Noop", pool="one"))
    admit()
    runner.run()
    admit()
    runner.run()
    assert statuses(flow) == {1: Status.WAIT, 2: Status.FINISH}
    assert task(flow, 1).is_refused
    picky.clear()
    Task.objects.filter(due_ts__isnull=False).update(due_ts=Now())
    send_unsent()
    admit()
    runner.run()
    assert status(flow) is Status.FINISH


def test_many_that_cannot_be_published_block_none_behind_them(
    runner: InlineRunner, picky: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowerapp.engine.dispatching.SEND_BATCH", 4)
    flow = engine.register(define({seq: [] for seq in range(1, 13)}, "Noop"))
    picky.update(range(1, 10))
    runner.sent.clear()
    Task.objects.update(sent_ts=None)
    assert send_unsent() == 3
    assert set(sent(runner)) == {10, 11, 12}
    assert flow.tasks.filter(refused_by="executor").count() == 9


def test_it_says_why_it_waits(runner: InlineRunner, picky: set[int], caplog: pytest.LogCaptureFixture) -> None:
    picky.add(1)
    with caplog.at_level(logging.WARNING, "flowerapp"):
        flow = engine.register(define({1: []}, "Noop"))
        Task.objects.update(due_ts=Now())
        send_unsent()
    assert [record.getMessage() for record in caplog.records] == [
        f"flow {flow.pk} task 1 cannot be published: no such queue; tried again for 300 s"
    ]
    Task.objects.update(refused_ts="2026-03-01T12:00:00Z")
    waiting = task(flow, 1)
    assert wait_reasons([waiting])[waiting.pk] == (
        "cannot be published: no such queue; since 2026-03-01 12:00:00 UTC; "
        "tried again until 2026-03-01 12:05:00 UTC, then it fails"
    )
    assert note(waiting) == "cannot be published"


# Programs that a worker does not know.


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A flow of the program "Late" can be registered; until the call this process does not know it."""
    late = registry.Program(name="Late", function=lambda: {"late": True})
    monkeypatch.setitem(programs._programs, "Late", late)
    find = registry.find
    deployed: list[bool] = []
    monkeypatch.setattr(
        "flowerapp.engine.attempts.registry.find",
        lambda name: None if name == "Late" and not deployed else find(name),
    )
    return lambda: deployed.append(True)


@pytest.mark.parametrize("message_for_an_unknown_task", [True, False])
def test_a_program_that_a_worker_does_not_know_yet_is_tried_again(
    runner: InlineRunner, unknown: Callable[[], None], message_for_an_unknown_task: bool
) -> None:
    flow = engine.register(define({1: [], 2: []}, "Late", max_retries=0))
    Task.objects.filter(task_exec_seq=2).update(program="Noop")
    if message_for_an_unknown_task:
        runner.waiting.popleft()
        assert recovery.refuse(TaskRef(flow.pk, 1), "program 'Late' is unknown") == 1
    runner.run()
    waiting = task(flow, 1)
    assert (waiting.status, waiting.retries, waiting.refused_by) == (Status.WAIT, 0, "worker")
    assert "program 'Late' is unknown" in wait_reasons([waiting])[waiting.pk]
    assert note(waiting) == "program unknown"
    check(flow)
    unknown()
    later(100)
    assert Reject()() == 0
    assert send_unsent() == 1
    runner.run()
    assert status(flow) is Status.FINISH
    check(flow)


def test_a_program_that_no_worker_knows_fails_in_the_end(runner: InlineRunner, unknown: Callable[[], None]) -> None:
    """However often it could be published meanwhile."""
    flow = engine.register(define({1: []}, "Late", max_retries=5))
    for seconds in (0, 100, 200):
        runner.run()
        assert task(flow, 1).is_refused
        later(seconds)
        assert send_unsent() == 1
        assert Reject()() == 0
        assert task(flow, 1).refused_ts is not None
    runner.run()
    later()
    assert Reject()() == 1
    assert status(flow) is Status.SUSPEND
    assert task(flow, 1).error.startswith("program 'Late' is unknown to the worker that got it")
    assert task(flow, 1).error.endswith("it was tried for 300 s")


def test_a_program_that_another_worker_runs_is_left_to_it(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert recovery.refuse(TaskRef(flow.pk, 1), "unknown") == 0
    assert status(flow, 1) is Status.RUNNING


# Sends that fail.


def test_deferred_tasks_that_workers_have_taken_meanwhile_block_no_other(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken to be sent is sent, whatever happens to other queues."""
    engine.register(define({seq: [] for seq in range(1, 41)}, "Noop"))
    engine.register(define({seq: [] for seq in range(1, 41)}, "Noop", queue="mail"))
    runner.sent.clear()
    monkeypatch.setattr("flowerapp.watcher.duties.deferred.queues.capacity", lambda: {"default": 50, "mail": 50})
    by_queue = queues.by_queue

    def claim_before(tasks: Any) -> Any:
        filters = by_queue(tasks)
        Task.objects.filter(queue="mail").update(deferred=False)
        return filters

    monkeypatch.setattr("flowerapp.watcher.duties.deferred.queues.by_queue", claim_before)
    assert send_deferred() == 20
    assert len(runner.sent) == 20
    assert not Task.objects.filter(deferred=True).exists()


@pytest.mark.parametrize("broken", ["send", "connected"])
def test_a_resend_that_fails_is_none_and_leaves_no_mark(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    flow = silent_flow(runner, 2)
    looks = iter([True])

    def send(messages: Sequence[Message]) -> None:
        raise OSError("the broker is gone")

    monkeypatch.setattr(runner, broken, send if broken == "send" else lambda: next(looks, False))
    assert send_again(list(flow.tasks.values_list("pk", flat=True))) == 0
    assert verbs(flow) == []
    assert flow.tasks.filter(sent_ts__isnull=True).count() == 2


def test_a_result_stays_if_what_follows_cannot_be_done(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Pool.objects.create(name="one", slots=1)
    name = define({1: [], 2: [1]}, "Noop")
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(pool="one")
    flow = engine.register(name)
    admit()

    def fail(*_: Any) -> int:
        raise ValueError("no")

    monkeypatch.setattr("flowerapp.engine.propagation.admit", fail)
    with caplog.at_level(logging.WARNING, "flowerapp"):
        runner.run()
    assert statuses(flow) == {1: Status.FINISH, 2: Status.FINISH}
    assert f"flow {flow.pk} task 1 has ended, but not all that follows could be done" in caplog.text


def test_a_send_that_can_be_neither_done_nor_marked_raises_nothing(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes before it is recorded; the task seems sent, and is sent again after a while."""
    flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    released = attempts.run(TaskRef(flow.pk, 1), "w").released

    def send(messages: Sequence[Message]) -> None:
        raise OSError("the broker is gone")

    def unreachable(*_: Any, **__: Any) -> int:
        raise OperationalError("the database is gone")

    monkeypatch.setattr(runner, "send", send)
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING, "flowerapp"):
        broken.setattr("flowerapp.querysets.TaskQuerySet.mark_unsent", unreachable)
        assert dispatching.send(released) == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert f"could not send 1 tasks, first flow {flow.pk} task 2; the watcher will" in caplog.text
    assert task(flow, 2).sent_ts is not None
    assert dispatching.send(released) == []
    assert task(flow, 2).sent_ts is None
