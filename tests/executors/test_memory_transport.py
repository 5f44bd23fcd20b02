"""The broker in memory."""

from __future__ import annotations

import pytest
from kombu import Connection

from flowerapp.executors.celery import memory_transport


def test_the_broker_in_memory_takes_the_lowest_number_first_and_the_oldest_of_equals() -> None:
    memory_transport.register()
    with Connection(memory_transport.URL) as connection:
        queue = connection.SimpleQueue("priorities")
        for body, priority in (("a", 5), ("b", 0), ("c", 9), ("d", 5), ("e", 0)):
            queue.put(body, priority=priority)
        assert queue.qsize() == 5
        taken = [queue.get(timeout=1) for _ in range(5)]
        for message in taken:
            message.ack()
        assert [message.payload for message in taken] == ["b", "e", "a", "d", "c"]
        with pytest.raises(queue.Empty):
            queue.get(block=False)
        queue.close()
