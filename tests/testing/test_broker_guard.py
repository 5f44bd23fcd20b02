"""A test with ``flower`` reaches no broker, whatever code tries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery
from kombu import Connection

from flowerapp.executors.celery import queues
from flowerapp.executors.celery.broker_guard import BrokerGuardError, guarded
from flowerapp.testing import FlowRunner
from tests.testing import workflows

BROKER = "redis://:secret@127.0.0.1:1/0"


def _app(broker: str = BROKER) -> Celery:
    app = Celery("guarded", broker=broker, set_as_current=False)
    app.conf.task_publish_retry = False
    return app


WAYS: dict[str, Callable[[Celery], object]] = {
    "send_task": lambda app: app.send_task("any"),
    "control": lambda app: app.control.ping(timeout=0.1),
    "connection": lambda app: app.connection_for_write().ensure_connection(max_retries=1),
    "channel": lambda app: app.connection_for_read().default_channel,
    "kombu": lambda app: Connection(str(app.conf.broker_url)).connect(),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_a_broker_is_refused(way: str) -> None:
    with guarded(), pytest.raises(BrokerGuardError, match="may not reach the broker redis://") as error:
        WAYS[way](_app())
    assert "secret" not in str(error.value)


def test_a_broker_in_memory_is_left_alone() -> None:
    app = _app("memory://")
    with guarded():
        app.send_task("any")
    assert queues.sizes(["celery"], app)["celery"].messages == 1


def test_a_connection_that_was_open_before_is_refused_too() -> None:
    app = _app("memory://")
    with app.producer_or_acquire() as producer:
        app.send_task("any", producer=producer)
        producer.connection.transport_cls = "redis"
        producer.connection.transport.driver_type = "redis"
        with guarded(), pytest.raises(BrokerGuardError):
            app.send_task("any", producer=producer)
        producer.connection.transport.driver_type = "memory"


def test_the_guard_ends_with_its_block() -> None:
    before = Connection._establish_connection
    with guarded():
        assert Connection._establish_connection is not before
    assert Connection._establish_connection is before


def test_a_program_that_sends_to_a_broker_fails_and_says_so(
    flower: FlowRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "SENDER", _app())
    flow = flower.run([{"program": "testing.Send"}])
    assert "may not reach the broker redis://" in flower.errors(flow)[1]
