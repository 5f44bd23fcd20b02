"""States, priorities, the broker in memory, settings and their checks, flow ids."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import Celery
from django.test import override_settings
from kombu import Connection

from flowerapp import checks, conf, dispatch, memory, states
from flowerapp.dispatch import Link, Message
from flowerapp.engine import uuid7
from flowerapp.states import Status


def test_the_numbers_are_the_originals() -> None:
    assert {each.label: each.value for each in Status} == {
        "Wait": 0,
        "Running": 1,
        "Suspend": 2,
        "Finish": 3,
        "Ignore": 9,
    }
    assert set(Status) == states.OPEN | states.SATISFIED
    assert not states.OPEN & states.SATISFIED


@pytest.mark.parametrize(("nice", "clamped"), [(-100, -20), (-20, -20), (0, 0), (19, 19), (99, 19)])
def test_priorities_are_clamped(nice: int, clamped: int) -> None:
    assert states.clamp_priority(nice) == clamped


def test_forty_values_map_onto_ten_steps_in_order() -> None:
    low = [dispatch.broker_step(nice, highest_first=False) for nice in range(-20, 20)]
    assert low == sorted(low)
    assert {step: low.count(step) for step in low} == dict.fromkeys(range(10), 4)
    assert [dispatch.broker_step(nice, highest_first=True) for nice in range(-20, 20)] == [9 - step for step in low]


def test_a_message_is_made_again_from_its_row() -> None:
    head, after, join = (Link(seq=seq, program="P", queue="q", priority=-3, time_limit=5) for seq in (1, 2, 3))
    canvas = dispatch.canvas_of([after], join)
    assert Message.of("flow", head, canvas) == Message(flow_id="flow", head=head, then=(after,), join=join)
    assert dispatch.canvas_of([], None) is None
    assert Message.of("flow", head, None) == Message(flow_id="flow", head=head)


def test_the_broker_in_memory_takes_the_lowest_number_first_and_the_oldest_of_equals() -> None:
    memory.register()
    with Connection(memory.URL) as connection:
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


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ([], ["flowerapp.E001"]),
        ({"MAX_TASK": 1}, ["flowerapp.E002"]),
        ({"MAX_TASKS": "many"}, ["flowerapp.E003"]),
        ({"MAX_TASKS": True}, ["flowerapp.E003"]),
        ({"RESEND_AFTER": 0, "CHAIN_LENGTH": -1}, ["flowerapp.E003", "flowerapp.E003"]),
        ({"RETENTION_DAYS": -1}, ["flowerapp.E003"]),
        ({"OPEN_API": "no"}, ["flowerapp.E003"]),
        ({"OPEN_API_CLIENTS": "10.0.0.1"}, ["flowerapp.E003"]),
        ({"CELERY_TASKS": "shop.tasks.send"}, ["flowerapp.E003"]),
        ({"MAX_TASKS": 5, "HTTP_ALLOW_PRIVATE": ["localhost"]}, []),
        ({"RETENTION_DAYS": None, "CELERY_TASKS": ("shop.tasks.send",), "OPEN_API": False}, []),
    ],
)
def test_wrong_settings_are_found(given: Any, found: list[str]) -> None:
    with override_settings(FLOWER=given):
        assert [each.id for each in checks.check_settings()] == found
        conf.get()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"priority_steps": list(range(10)), "visibility_timeout": 3600}, []),
        ({"priority_steps": list(range(10))}, []),
        ({"priority_steps": [0, 3, 6, 9], "visibility_timeout": 8}, ["flowerapp.W002", "flowerapp.W006"]),
    ],
)
def test_settings_of_the_hosts_celery_that_cost_are_found(options: dict[str, Any], found: list[str]) -> None:
    app = Celery(set_as_current=False)
    app.conf.update(broker_url="redis://localhost", broker_transport_options=options, worker_prefetch_multiplier=1)
    app.conf.update(CELERY_DB_REUSE_MAX=10)
    assert [each.id for each in checks.celery_warnings(app.conf)] == found


def test_settings_are_read_when_they_are_needed() -> None:
    with override_settings(FLOWER={"MAX_TASKS": 5, "MASK": ["pin"], "UNKNOWN": 1}):
        assert (conf.get().MAX_TASKS, conf.get().MASK) == (5, ("pin",))
    assert conf.get().MAX_TASKS == conf.Settings().MAX_TASKS


def test_flow_ids_sort_by_time() -> None:
    first = uuid7()
    time.sleep(0.002)
    second = uuid7()
    assert str(first) < str(second)
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert len({uuid7() for _ in range(1000)}) == 1000
