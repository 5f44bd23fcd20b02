"""The sender of a pool process's task events: what it keeps, and when it sends."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.exceptions import OperationalError

from flowerapp.executors.celery import task_events
from flowerapp.executors.celery.task_events import EventSender
from tests.services import until


class Broker:
    """Takes messages of events, unless it is unreachable."""

    def __init__(self) -> None:
        self.messages: list[list[int]] = []
        self.is_reachable = True
        self.asked = 0

    def publish(self, app: Any, events: list[dict[str, Any]]) -> None:
        """What ``task_events`` calls for each message."""
        self.asked += 1
        if not self.is_reachable:
            raise OperationalError("unreachable")
        self.messages.append([event["number"] for event in events])

    @property
    def numbers(self) -> list[int]:
        """All events in the order in which they came."""
        return [number for message in self.messages for number in message]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(task_events, "_publish", broker.publish)
    return broker


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> EventSender:
    """A sender whose thread does not send: the test does."""
    monkeypatch.setattr(EventSender, "_run", lambda self: None)
    return EventSender()


def add(sender: EventSender, *numbers: int) -> None:
    for number in numbers:
        sender.add("task-started", "a@b", uuid="1", number=number)


def test_events_of_a_moment_are_sent_in_one_message(broker: Broker) -> None:
    sender = EventSender()
    add(sender, *range(100))
    until(lambda: broker.numbers == list(range(100)), 10)
    assert len(broker.messages) == 1
    add(sender, 100)
    until(lambda: broker.numbers == list(range(101)), 10)


def test_the_sender_asks_an_unreachable_broker_again(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although no further event comes."""
    monkeypatch.setattr(task_events, "PAUSE", 0.05)
    broker.is_reachable = False
    sender = EventSender()
    add(sender, 1)
    until(lambda: broker.asked > 1, 10)
    broker.is_reachable = True
    until(lambda: broker.numbers == [1], 10)


def test_what_cannot_be_sent_is_kept_in_order(broker: Broker, silent: EventSender) -> None:
    broker.is_reachable = False
    add(silent, 1, 2)
    assert not silent.flush()
    add(silent, 3)
    broker.is_reachable = True
    assert silent.flush()
    assert broker.numbers == [1, 2, 3]
    assert silent.flush()
    assert broker.numbers == [1, 2, 3]


def test_no_more_than_a_bound_is_kept_and_no_message_is_large(
    broker: Broker, silent: EventSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(silent, *range(task_events.KEPT + 7))
    assert silent.flush()
    assert broker.numbers == list(range(7, task_events.KEPT + 7))
    assert max(map(len, broker.messages)) == task_events.BATCH


def test_the_clock_of_an_event_is_later_than_that_of_the_one_before(
    broker: Broker, silent: EventSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitors order tasks by it; that of the worker's parent came with the message."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(task_events, "_publish", lambda app, events: sent.extend(events))
    monkeypatch.setattr(task_events, "sender", silent)
    request = {task_events.HEADER: 5_000_000, "hostname": "a@b", "task": "flowerapp.Noop", "id": "1", "argsrepr": "()"}
    task_events.TaskEvents(request).begin(request, "default")
    silent.flush()
    assert [event["type"] for event in sent] == ["task-received", "task-started"]
    assert 5_000_000 < sent[0]["clock"] < sent[1]["clock"]
    assert {event["hostname"] for event in sent} == {"a@b"}
