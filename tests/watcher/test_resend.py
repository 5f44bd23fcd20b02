"""Which messages the watcher takes for lost, and sends again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import HistoryEntry, Task, Worker
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.resend import Resend
from tests.attempts import succeed
from tests.engine.sending import ago, sent, silent_flow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def in_broker(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Messages that the broker says it holds, by queue."""
    sizes: dict[str, int] = {}
    monkeypatch.setattr(InlineRunner, "queue_sizes", lambda _, names: {name: sizes.get(name, 0) for name in names})
    return sizes


def test_what_a_queue_has_lost_is_sent_again_after_two_looks(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    flow = silent_flow(runner, 5)
    in_broker["default"] = 3
    resend = Resend()
    assert [resend(), resend()] == [0, 2]
    assert sent(runner) == {1: 1, 2: 1}
    in_broker["default"] = 5
    assert [resend(), resend()] == [0, 0]
    history = HistoryEntry.objects.filter(task_flow=flow, verb="resend").values_list("task_exec_seq", "actor")
    assert sorted(history) == [(1, "watcher"), (2, "watcher")]


def test_what_living_workers_may_just_have_taken_is_not_missed(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    """Unless their queue is empty."""
    Worker.objects.create(pk="w", name="w@here", pid=1, pool="prefork", concurrency=2, queues=["default"])
    silent_flow(runner, 5)
    in_broker["default"] = 3
    resend = Resend()
    assert [resend(), resend(), resend()] == [0, 0, 0]
    in_broker["default"] = 2
    assert [resend(), resend()] == [0, 1]
    in_broker["default"] = 0
    assert [resend(), resend()] == [0, 4]


def test_what_was_just_sent_is_not_sent_again(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    silent_flow(runner, 3, seconds=8)
    resend = Resend()
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
    Task.objects.at(TaskRef(flow.pk, 2)).update(**{"sent_ts": Now(), "resent": False, **columns})
    assert Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1))
    resend = Resend()
    assert [resend(), resend()] == [0, count]
    assert sent(runner) == ({1: 1} if count else {})


def test_a_copy_is_no_sign_that_others_were_overtaken(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    """An older message of the one that runs may have been the one that was taken."""
    in_broker["default"] = 1000
    flow = silent_flow(runner, 9)
    Task.objects.at(TaskRef(flow.pk, 9)).mark_sent()
    assert Task.objects.claim(TaskRef(flow.pk, 9), Process("w", 1))
    resend = Resend()
    assert [resend(), resend()] == [0, 0]


def test_suspend_and_resume_do_not_make_others_seem_overtaken(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    in_broker["default"] = 1000
    first, second = silent_flow(runner, 3), silent_flow(runner, 3)
    engine.suspend(first.pk)
    engine.resume(first.pk)
    runner.sent.clear()
    assert Task.objects.claim(TaskRef(first.pk, 1), Process("w", 1))
    resend = Resend()
    assert [resend(), resend()] == [0, 0]
    assert second.tasks.filter(attempt=0).count() == 3


def test_a_queue_without_workers_hides_no_loss_in_another(
    runner: InlineRunner, in_broker: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowerapp.watcher.duties.resend.SUSPECTS", 3)
    flow = silent_flow(runner, 20)
    Task.objects.filter(task_exec_seq__lte=19).update(queue="unserved")
    in_broker.update(unserved=19, default=0)
    resend = Resend()
    assert [resend(), resend()] == [0, 1]
    assert sent(runner) == {20: 1}
    assert flow.history.get().task_exec_seq == 20


def test_nothing_is_counted_while_the_broker_is_unreachable(
    runner: InlineRunner, in_broker: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = silent_flow(runner, 2)
    monkeypatch.setattr(runner, "connected", lambda: False)
    resend = Resend()
    assert [resend(), resend()] == [0, 0]
    assert not flow.history.exists()


def test_an_overtaken_message_is_remembered(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    in_broker["default"] = 1000
    flow = silent_flow(runner, 2)
    Task.objects.at(TaskRef(flow.pk, 2)).update(sent_ts=Now())
    claim = Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1))
    assert claim
    resend = Resend()
    assert resend() == 0
    succeed(claim, "{}")
    assert resend() == 1


def test_many_of_less_urgency_do_not_hide_one_that_was_overtaken(
    runner: InlineRunner, in_broker: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowerapp.watcher.pages.PAGE", 3)
    in_broker["default"] = 1000
    flow = silent_flow(runner, 12)
    Task.objects.filter(task_exec_seq__lte=10).update(task_priority=19)
    Task.objects.at(TaskRef(flow.pk, 12)).update(sent_ts=Now())
    assert Task.objects.claim(TaskRef(flow.pk, 12), Process("w", 1))
    resend = Resend()
    assert [resend(), resend()] == [0, 1]
    assert sent(runner) == {11: 1}
