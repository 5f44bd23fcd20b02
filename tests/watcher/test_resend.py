"""Which messages the watcher takes for lost, and sends again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.core.executor import Lane, QueueSize
from flowerapp.core.identity import Process
from flowerapp.core.messages import Marker, TaskRef, broker_step
from flowerapp.models import HistoryEntry, Task, Worker
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.resend import Resend, resend_before
from tests.attempts import succeed
from tests.engine.sending import ago, sent, silent_flow
from tests.engine.support import define

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def in_broker(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Messages that the broker says it holds, by queue."""
    sizes: dict[str, int] = {}

    def answer(_: InlineRunner, names: Iterable[str]) -> dict[str, QueueSize]:
        return {name: QueueSize.of(sizes.get(name, 0)) for name in names}

    monkeypatch.setattr(InlineRunner, "queue_sizes", answer)
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
    monkeypatch.setattr("flowerapp.watcher.duties.resend.MOST_AT_ONCE", 3)
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


# What the broker cannot say


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, QueueSize]:
    """What the broker answers about each queue."""
    sizes: dict[str, QueueSize] = {}
    monkeypatch.setattr(InlineRunner, "queue_sizes", lambda _, names: {name: sizes[name] for name in names})
    return sizes


@pytest.fixture
def markers(monkeypatch: pytest.MonkeyPatch) -> list[Marker]:
    """The markers that were sent."""
    sent_markers: list[Marker] = []
    monkeypatch.setattr(InlineRunner, "send_marker", lambda _, marker: sent_markers.append(marker))
    return sent_markers


def lane(messages: int, *steps: int) -> Lane:
    """A lane of the broker."""
    return Lane(steps=steps, messages=messages)


def test_an_empty_lane_has_lost_its_messages_though_another_is_full(
    runner: InlineRunner, answers: dict[str, QueueSize]
) -> None:
    flow = silent_flow(runner, 8)
    Task.objects.filter(task_exec_seq__gt=5).update(task_priority=19)
    Worker.objects.create(pk="w", name="w@here", pid=1, pool="prefork", concurrency=4, queues=["default"])
    answers["default"] = QueueSize(lanes=(lane(5, 5), lane(0, 9)))
    resend = Resend()
    assert [resend(), resend()] == [0, 3]
    assert sent(runner) == {6: 1, 7: 1, 8: 1}
    assert flow.history.count() == 3


def test_a_lane_that_holds_fewer_messages_than_tasks_has_lost_the_oldest(
    runner: InlineRunner, answers: dict[str, QueueSize]
) -> None:
    """What busy processes run is no room for messages that they might have taken."""
    silent_flow(runner, 8)
    Task.objects.filter(task_exec_seq__gt=3).update(task_priority=19)
    Worker.objects.create(pk="w", name="w@here", pid=1, pool="prefork", concurrency=2, queues=["default"])
    busy = engine.register(define({1: []}), priority=-20)
    assert Task.objects.claim(TaskRef(busy.pk, 1), Process("w", 1))
    answers["default"] = QueueSize(lanes=(lane(4, 5), lane(3, 9)))
    resend = Resend()
    assert [resend(), resend()] == [0, 1]
    assert sent(runner)[4] == 1


def test_tasks_that_were_just_sent_count_as_well(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    """A stream of new messages hides no loss, where the broker counts a queue as a whole."""
    lost_flow, stream = silent_flow(runner, 3), silent_flow(runner, 9)
    stream.tasks.update(sent_ts=ago(1))
    in_broker["default"] = 9
    resend = Resend()
    assert [resend(), resend()] == [0, 3]
    assert set(lost_flow.history.values_list("task_exec_seq", flat=True)) == {1, 2, 3}


def test_tasks_whose_messages_may_be_on_their_way_are_not_counted(
    runner: InlineRunner, in_broker: dict[str, int]
) -> None:
    silent_flow(runner, 3)
    silent_flow(runner, 9).tasks.update(sent_ts=Now())
    in_broker["default"] = 3
    resend = Resend()
    assert [resend(), resend()] == [0, 0]


def test_what_is_suspected_now_and_then_is_sent_again(runner: InlineRunner, in_broker: dict[str, int]) -> None:
    """A busy queue does not say at each look what it lacks; one look alone proves nothing."""
    silent_flow(runner, 3)
    resend, missing = Resend(), []
    for in_broker["default"] in (1, 9, 9, 9, 9, 1, 9, 9, 1):
        missing.append(resend())
    assert missing == [0] * 8 + [2]


def test_coarse_steps_of_the_broker_are_counted_together(runner: InlineRunner, answers: dict[str, QueueSize]) -> None:
    silent_flow(runner, 4)
    Task.objects.filter(task_exec_seq__gt=2).update(task_priority=5)
    answers["default"] = QueueSize(lanes=(lane(0, 0, 1, 2), lane(4, 3, 4, 5, 6), lane(0, 7, 8, 9)))
    resend = Resend()
    assert [resend(), resend()] == [0, 0]


def test_the_message_of_a_task_with_a_slot_is_looked_for_where_it_is(
    runner: InlineRunner, answers: dict[str, QueueSize]
) -> None:
    flow = silent_flow(runner, 2)
    flow.tasks.update(pool="slots", admitted=True, sent_ts=ago(20))
    (message, _) = flow.tasks.all().messages()
    answers["default"] = QueueSize(lanes=(lane(2, broker_step(message.head.priority, highest_first=False)),))
    resend = Resend()
    assert [resend(), resend()] == [0, 0]
    answers["default"] = QueueSize(lanes=(lane(0, 4), lane(2, 5)))
    assert [resend(), resend()] == [0, 2]


def test_an_unknown_size_changes_nothing(
    runner: InlineRunner, answers: dict[str, QueueSize], markers: list[Marker], caplog: pytest.LogCaptureFixture
) -> None:
    flow = silent_flow(runner, 5)
    answers["default"] = QueueSize(unknown="it does not say")
    resend = Resend()
    assert [resend() for _ in range(5)] == [0] * 5
    assert not flow.history.exists()
    assert caplog.text.count("it does not say") == 1


def test_a_broker_that_fails_when_asked_is_unknown_and_others_signs_count(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: InlineRunner, names: Iterable[str]) -> None:
        raise OSError("unreachable")

    monkeypatch.setattr(InlineRunner, "queue_sizes", fail)
    flow = silent_flow(runner, 2)
    Task.objects.at(TaskRef(flow.pk, 2)).update(sent_ts=Now())
    assert Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1))
    resend = Resend()
    assert [resend(), resend()] == [0, 1]


def test_markers_find_what_is_lost_where_sizes_are_unknown(
    runner: InlineRunner, answers: dict[str, QueueSize], markers: list[Marker]
) -> None:
    flow = silent_flow(runner, 4)
    Task.objects.filter(task_exec_seq=4).update(task_priority=19)
    Task.objects.filter(task_exec_seq=3).update(sent_ts=Now())
    answers["default"] = QueueSize(unknown="it does not say")
    resend = Resend()
    assert [resend(), resend()] == [0, 0]
    assert {(marker.queue, marker.step) for marker in markers} == {("default", 5), ("default", 9)}
    assert resend_before(next(marker for marker in markers if marker.step == 5)) == 2
    assert sent(runner) == {1: 1, 2: 1}
    assert resend_before(next(marker for marker in markers if marker.step == 9)) == 1
    assert flow.history.filter(verb="resend").count() == 3


def test_a_marker_proves_nothing_about_later_messages_other_queues_and_less_urgent_ones(runner: InlineRunner) -> None:
    flow = silent_flow(runner, 4)
    first = flow.tasks.get(task_exec_seq=1).sent_ts
    assert first is not None
    Task.objects.filter(task_exec_seq__lte=3).update(sent_ts=first)
    Task.objects.filter(task_exec_seq=2).update(queue="other")
    Task.objects.filter(task_exec_seq=3).update(task_priority=19)
    assert resend_before(Marker("default", 5, first.isoformat())) == 1
    assert sent(runner) == {1: 1}


def test_a_backlog_that_does_not_move_gets_ever_fewer_markers(
    runner: InlineRunner, answers: dict[str, QueueSize], markers: list[Marker], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent_flow(runner, 5)
    answers["default"] = QueueSize(unknown="it does not say")
    clock = [0.0]
    monkeypatch.setattr("flowerapp.watcher.markers.time.monotonic", lambda: clock[0])
    resend, times = Resend(), []
    for clock[0] in range(0, 1300, 2):
        before = len(markers)
        resend()
        times += [clock[0]] * (len(markers) - before)
    assert times == [0, 10, 30, 70, 150, 310, 630, 1230]  # at last every 600 s


def test_messages_of_others_in_the_queue_make_its_number_useless(
    runner: InlineRunner, in_broker: dict[str, int], markers: list[Marker]
) -> None:
    silent_flow(runner, 3)
    in_broker["default"] = 50
    resend = Resend()
    assert [resend(), resend()] == [0, 0]
    assert len(markers) == 1
    in_broker["default"] = 3
    assert [resend(), resend()] == [0, 0]
    assert len(markers) == 1


def test_a_queue_that_refuses_its_marker_does_not_stop_the_others(
    runner: InlineRunner, answers: dict[str, QueueSize], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def send_marker(_: InlineRunner, marker: Marker) -> None:
        if marker.queue == "typo":
            raise LookupError("no such queue")
        taken.append(marker.queue)

    monkeypatch.setattr(InlineRunner, "send_marker", send_marker)
    silent_flow(runner, 2)
    Task.objects.filter(task_exec_seq=2).update(queue="typo")
    answers.update(dict.fromkeys(("default", "typo"), QueueSize(unknown="it does not say")))
    Resend()()
    assert taken == ["default"]
