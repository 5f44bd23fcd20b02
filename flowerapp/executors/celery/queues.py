"""How many messages wait in the broker's queues.

Only transports that count exactly are asked. What any other says, or an error, makes a size unknown, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery
from celery.app import app_or_default

from flowerapp.core.executor import Lane, QueueSize
from flowerapp.core.messages import BROKER_STEPS
from flowerapp.executors.celery import memory_transport

NOT_FOUND = 404
"""The code of RabbitMQ's answer about a queue that it has not, or whose node is down."""


def sizes(names: Iterable[str], app: Celery | None = None) -> dict[str, QueueSize]:
    """The size of each queue of the broker; raises what the broker raises when it does not answer."""
    app = app or app_or_default()
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        return {name: _size(connection, name) for name in names}


def _size(connection: Any, name: str) -> QueueSize:
    kind = str(connection.transport.driver_type)
    if kind not in _COUNTS:
        transport = str(connection.transport_cls or kind)
        return QueueSize(unknown=f"the broker's transport {transport!r} does not report exact numbers of messages")
    try:
        with connection.channel() as channel:
            return _COUNTS[kind](channel, name)
    except Exception as error:  # any of the broker's or its client's: the queue exists, or not, and cannot be counted
        return QueueSize(unknown=f"the broker did not say how many messages it holds: {type(error).__name__}: {error}")


def _of_redis(channel: Any, name: str) -> QueueSize:
    """Redis keeps a list for each priority step of its own; ``channel`` knows their keys, prefix and all."""
    lists: dict[int, list[int]] = {priority: [] for priority in channel.priority_steps}
    for step in range(BROKER_STEPS):
        lists[channel.priority(step)].append(step)
    with channel.conn_or_acquire() as client, client.pipeline() as pipe:
        for priority in lists:
            pipe.llen(channel._q_for_pri(name, priority))
        lengths = pipe.execute()
    lanes = zip(lists.values(), lengths, strict=True)
    return QueueSize(lanes=tuple(Lane(steps=tuple(steps), messages=length) for steps, length in lanes))


def _of_amqp(channel: Any, name: str) -> QueueSize:
    """RabbitMQ counts a queue as a whole. A queue that it has not is empty; one whose node is down is not."""
    try:
        return QueueSize.of(channel.queue_declare(name, passive=True).message_count)
    except Exception as error:
        if getattr(error, "reply_code", None) == NOT_FOUND and "no queue" in str(error):
            return QueueSize.of(0)
        raise


def _of_own_memory(channel: Any, name: str) -> QueueSize:
    """Our transport keeps all in one heap, whose first item is the priority; another process has a heap of its own."""
    if not memory_transport.reachable(memory_transport.URL):
        return QueueSize(unknown="the messages are in the memory of the standalone server's process")
    numbers = Counter(min(priority, BROKER_STEPS - 1) for priority, *_ in tuple(channel._heaps.get(name, ())))
    return QueueSize(lanes=tuple(Lane(steps=(step,), messages=numbers[step]) for step in range(BROKER_STEPS)))


def _of_memory(channel: Any, name: str) -> QueueSize:
    """kombu's in-memory transport has no priorities, and no worker outside this process."""
    return QueueSize.of(channel._size(name))


_COUNTS: dict[str, Callable[[Any, str], QueueSize]] = {
    "redis": _of_redis,
    "amqp": _of_amqp,
    memory_transport.SCHEME: _of_own_memory,
    "memory": _of_memory,
}
"""By the transport's ``driver_type``; Sentinel's is that of Redis."""
