"""What the broker is asked about its queues, and what counts as unknown."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES

from flowerapp.core.executor import ALL_STEPS, QueueSize
from flowerapp.core.messages import BROKER_STEPS
from flowerapp.executors.celery import memory_transport, queues
from flowerapp.executors.celery.executor import CeleryExecutor
from flowerapp.selectors import queues as selectors_queues
from tests.services import fresh_rabbitmq, fresh_redis, until

TEN = {"priority_steps": list(range(10)), "queue_order_strategy": "priority"}
SENT = {0: 1, 3: 2, 4: 1, 9: 3}
"""Broker's priority → messages that a test sends with it."""


@contextmanager
def app_on(url: str, **options: Any) -> Iterator[Celery]:
    """An app whose broker has these transport options."""
    app = Celery("sizes", broker=url, set_as_current=False)
    app.conf.update(broker_transport_options=options, task_default_queue="default")
    yield app
    app.close()


def send(app: Celery, queue: str, numbers: dict[int, int]) -> None:
    """Send so many messages with each priority."""
    for priority, number in numbers.items():
        for _ in range(number):
            app.send_task("noop", queue=queue, priority=priority)


def lanes(size: QueueSize) -> dict[tuple[int, ...], int]:
    """Steps of each lane → its messages."""
    assert not size.unknown, size.unknown
    return {lane.steps: lane.messages for lane in size.lanes if lane.messages}


@pytest.fixture
def redis_broker(redis_url: str) -> Iterator[str]:
    """URL of an empty Redis database."""
    with fresh_redis(redis_url) as url:
        yield url


@pytest.fixture
def amqp_broker(amqp_url: str) -> Iterator[str]:
    """URL of a virtual host of RabbitMQ."""
    with fresh_rabbitmq(amqp_url) as url:
        yield url


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (TEN, {(0,): 1, (3,): 2, (4,): 1, (9,): 3}),
        (TEN | {"global_keyprefix": "host:"}, {(0,): 1, (3,): 2, (4,): 1, (9,): 3}),
        ({"global_keyprefix": "{host}."}, {(0, 1, 2): 1, (3, 4, 5): 3, (9,): 3}),
        ({}, {(0, 1, 2): 1, (3, 4, 5): 3, (9,): 3}),
        (TEN | {"sep": ":"}, {(0,): 1, (3,): 2, (4,): 1, (9,): 3}),
        ({"queue_order_strategy": "round_robin"}, {(0, 1, 2): 1, (3, 4, 5): 3, (9,): 3}),
        ({"priority_steps": [0]}, {ALL_STEPS: 7}),
        ({"priority_steps": [3, 5]}, {(3, 4): 3, (0, 1, 2, 5, 6, 7, 8, 9): 4}),
    ],
    ids=["ten steps", "prefix", "coarse with prefix", "default", "separator", "round robin", "one step", "no step 0"],
)
def test_redis_is_counted_by_its_own_lists(
    redis_broker: str, options: dict[str, Any], expected: dict[tuple[int, ...], int]
) -> None:
    with app_on(redis_broker, **options) as app:
        send(app, "mail", SENT)
        sizes = queues.sizes(["mail", "empty"], app)
    assert lanes(sizes["mail"]) == expected
    assert (sizes["mail"].messages, sizes["empty"].messages) == (7, 0)


def test_a_queue_that_redis_cannot_count_is_unknown_and_hides_no_other(redis_broker: str) -> None:
    import redis

    with redis.Redis.from_url(redis_broker) as client, app_on(redis_broker, **TEN) as app:
        client.set("odd", "no list")
        send(app, "mail", {0: 1})
        sizes = queues.sizes(["odd", "mail"], app)
    assert sizes["odd"].messages is None
    assert "WRONGTYPE" in sizes["odd"].unknown
    assert sizes["mail"].messages == 1


def test_a_redis_user_that_may_not_count_gets_unknown(redis_broker: str) -> None:
    import redis

    name, password = f"sizes{secrets.token_hex(4)}", secrets.token_hex(8)
    parts = urlsplit(redis_broker)
    url = urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port or 6379}"))
    with redis.Redis.from_url(redis_broker) as client:
        client.acl_setuser(name, enabled=True, passwords=[f"+{password}"], keys="*", commands=["+@all", "-llen"])
        try:
            with app_on(url, **TEN) as app:
                size = queues.sizes(["mail"], app)["mail"]
        finally:
            client.acl_deluser(name)
    assert size.messages is None
    assert "llen" in size.unknown


def test_rabbitmq_counts_a_queue_as_a_whole_and_one_that_it_has_not_as_empty(amqp_broker: str) -> None:
    name = f"sizes{secrets.token_hex(4)}"
    with app_on(amqp_broker) as app:
        app.conf.task_queue_max_priority = 9
        send(app, name, SENT)
        until(lambda: queues.sizes([name], app)[name].messages == 7)  # RabbitMQ does not confirm what it was sent
        sizes = queues.sizes([name, "missing"], app)
        with app.connection() as connection:
            channel: Any = connection.channel()
            channel.queue_delete(name)
    assert lanes(sizes[name]) == {ALL_STEPS: 7}
    assert sizes["missing"].messages == 0


def test_a_queue_that_rabbitmq_refuses_to_show_is_unknown_and_hides_no_other(amqp_broker: str) -> None:
    """Here one that belongs to another connection; without rights the answer is of the same sort."""
    name = f"sizes{secrets.token_hex(4)}"
    with app_on(amqp_broker) as app, app.connection() as connection:
        channel: Any = connection.channel()
        channel.queue_declare(name, exclusive=True)
        sizes = queues.sizes([name, "missing"], app)
    assert sizes[name].messages is None
    assert "RESOURCE_LOCKED" in sizes[name].unknown
    assert sizes["missing"].messages == 0


def test_a_broker_that_refuses_the_user_is_unknown(amqp_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(amqp_broker)
    netloc = f"stranger:secret-word@{parts.hostname}:{parts.port or 5672}"
    with app_on(urlunsplit(parts._replace(netloc=netloc))) as app:
        monkeypatch.setattr(CeleryExecutor, "queue_sizes", lambda _, names: queues.sizes(names, app))
        monkeypatch.setattr("flowerapp.core.executor._current", CeleryExecutor())
        size = selectors_queues.sizes(["mail"])["mail"]
    assert size.messages is None
    assert "unreachable" in size.unknown
    assert "secret-word" not in size.unknown


class _NotFoundError(Exception):
    reply_code = 404


def test_a_rabbitmq_queue_whose_node_is_down_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Channel:
        @staticmethod
        def queue_declare(name: str, passive: bool) -> None:
            raise _NotFoundError(f"NOT_FOUND - home node 'rabbit@b' of durable queue '{name}' is down or inaccessible")

    with pytest.raises(_NotFoundError):
        queues._of_amqp(Channel(), "mail")


@pytest.mark.parametrize("url", ["filesystem://", "slow://"])
def test_a_transport_that_does_not_count_exactly_is_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSPORT_ALIASES, "slow", "kombu.transport.virtual:Transport")
    with app_on(url) as app:
        connection: Any = app.connection()
        size = queues._size(connection, "mail")
    assert size.messages is None
    assert url.partition(":")[0] in size.unknown


def test_the_broker_in_memory_is_counted_in_its_own_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_transport.register()
    try:
        with app_on(memory_transport.URL) as app:
            send(app, "mail", SENT)
            monkeypatch.setattr(memory_transport, "_serving", False)
            assert queues.sizes(["mail"], app)["mail"].messages is None
            monkeypatch.setattr(memory_transport, "_serving", True)
            sizes = queues.sizes(["mail", "empty"], app)
    finally:
        memory_transport.Transport.forget()
    assert lanes(sizes["mail"]) == {(step,): number for step, number in SENT.items()}
    assert len(sizes["mail"].lanes) == BROKER_STEPS
    assert sizes["empty"].messages == 0


def test_an_unreachable_broker_raises() -> None:
    with app_on("redis://127.0.0.1:1/0") as app, pytest.raises(OperationalError):
        queues.sizes(["mail"], app)
