"""Who takes on to send which message, and what is taken for lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from flowerapp import engine, queues, watcher
from flowerapp.dispatch import Message
from flowerapp.engine import attempts
from flowerapp.engine.sending import AT_ONCE
from flowerapp.models import Event, Flow, Task, Worker
from flowerapp.querysets.steady import one_by_one
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher import duties
from tests.engine.support import check, define, statuses

pytestmark = pytest.mark.django_db(transaction=True)

WIDE = 2 * AT_ONCE + 7


def sent(runner: InlineRunner) -> dict[int, int]:
    """``{task_exec_seq: messages}``."""
    return dict(Counter(message.head.seq for message in runner.sent))


def ago(seconds: float) -> Any:
    """The database's time then."""
    return Now() - timedelta(seconds=seconds)


def unsent() -> int:
    """Startable tasks that nobody has taken on to send."""
    return Task.objects.filter(sent_ts__isnull=True).startable().count()


class Hesitant:
    """A sender that notes how many tasks nobody has taken on while it sends, and goes away after some calls."""

    def __init__(self, runner: InlineRunner, calls: int) -> None:
        self.runner = runner
        self.calls = calls
        self.sizes: list[int] = []
        self.left: list[int] = []

    def __call__(self, messages: Sequence[Message]) -> None:
        if len(self.sizes) == self.calls:
            raise OSError("no broker")
        self.sizes.append(len(messages))
        self.left.append(unsent())
        self.runner(messages)


def test_a_wide_start_is_taken_on_in_portions(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Hesitant(runner, 99)
    monkeypatch.setattr("flowerapp.dispatch.send", sender)
    flow = engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert sender.sizes == [AT_ONCE, AT_ONCE, 7]
    assert sender.left == [WIDE - AT_ONCE, 7, 0]
    assert sent(runner) == dict.fromkeys(range(1, WIDE + 1), 1)
    check(flow)


def test_a_wide_fork_is_taken_on_in_portions(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.register(define({1: []} | {seq: [1] for seq in range(2, WIDE + 2)}))
    (first,) = runner.waiting
    runner.waiting.clear()
    sender = Hesitant(runner, 99)
    monkeypatch.setattr("flowerapp.dispatch.send", sender)
    engine.send(engine.run(first.flow_id, 1, "w").released)
    assert sender.sizes == [AT_ONCE, AT_ONCE, 7]
    assert sender.left == [WIDE - AT_ONCE, 7, 0]
    assert sent(runner) == dict.fromkeys(range(1, WIDE + 2), 1)


def test_where_the_broker_goes_away_the_rest_is_left_to_the_watcher(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Hesitant(runner, 1)
    monkeypatch.setattr("flowerapp.dispatch.send", sender)
    engine.register(define({seq: [] for seq in range(1, WIDE + 1)}))
    assert unsent() == WIDE - AT_ONCE
    assert watcher.hand_over() == 0
    assert unsent() == WIDE - AT_ONCE
    sender.calls = 99
    assert [watcher.hand_over(), watcher.hand_over(), watcher.hand_over()] == [AT_ONCE, 7, 0]
    assert sent(runner) == dict.fromkeys(range(1, WIDE + 1), 1)


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
