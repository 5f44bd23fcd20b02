"""Unsent tasks are sent in order of urgency, and a queue that refuses them blocks no other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from flowerapp import engine
from flowerapp.core.messages import Message
from flowerapp.engine import dispatching
from flowerapp.models import Task
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.send import send_unsent
from tests.engine.sending import sent, unsent
from tests.engine.support import define

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_most_urgent_are_taken_first(runner: InlineRunner) -> None:
    engine.register(define({seq: [] for seq in range(1, 7)}))
    runner.waiting.clear()
    for seq in range(1, 7):
        Task.objects.filter(task_exec_seq=seq).update(sent_ts=None, task_priority=-seq)
    assert [message.head.seq for message in Task.objects.all().take_unsent(4)] == [6, 5, 4, 3]
    assert [message.head.seq for message in Task.objects.all().take_unsent(4)] == [2, 1]
    assert Task.objects.all().take_unsent(4) == []


def test_a_queue_that_refuses_blocks_no_other(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowerapp.engine.dispatching.SEND_BATCH", 4)
    asked: list[str] = []
    send = runner.send

    def refuse(messages: Sequence[Message]) -> None:
        asked.append(messages[0].head.queue)
        if messages[0].head.queue == "mail":
            raise OSError("PRECONDITION_FAILED")
        send(messages)

    flow = engine.register(define({seq: [] for seq in range(1, 13)}))
    Task.objects.filter(task_exec_seq__lte=8).update(queue="mail", task_priority=-20)
    Task.objects.update(sent_ts=None)
    runner.sent.clear()
    monkeypatch.setattr(runner, "send", refuse)
    assert dispatching.send_unsent() == 4
    assert asked == ["mail", ""]
    assert sent(runner) == dict.fromkeys(range(9, 13), 1)
    assert unsent() == 8
    assert flow.tasks.filter(sent_ts=None).count() == 8


def test_what_resume_cannot_send_is_sent_by_the_watcher(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = engine.register(define({1: [], 2: []}))
    engine.suspend(flow.pk)
    with monkeypatch.context() as beside:
        beside.setattr(runner, "connected", lambda: False)
        engine.resume(flow.pk)
    assert unsent() == 2
    assert send_unsent() == 2
